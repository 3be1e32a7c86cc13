"""Start a Ray cluster, run a command with RAY_ADDRESS set to it, end the cluster; used by ``on_ray.py``."""

from __future__ import annotations

import os
import subprocess
import sys

import ray

from fedlab.engine.simulator import unhurried

if __name__ == "__main__":
    unhurried()  # else Ray gives itself 15 seconds, which a busy machine needs for less
    started = ray.init(address="local", num_cpus=2, logging_level="error", log_to_driver=False, include_dashboard=False)
    try:
        env = os.environ | {"RAY_ADDRESS": started.address_info["gcs_address"]}
        code = subprocess.run(sys.argv[1:], env=env, check=False).returncode
    finally:
        ray.shutdown()
    sys.exit(code)
