"""What is installed here, and the traps of an environment that look like a broken fedlab."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from fedlab.report.versions import DISTRIBUTION, version

ALWAYS = ("torch", "numpy", "pandas", "scipy", "scikit-learn", "plotly", "pooch")
EXTRAS = {"jupyterlab": "lab", "ipywidgets": "lab", "flwr": "ray", "ray": "ray"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``state`` is ``ok``, ``note`` or ``warning``; ``said`` ends with the remedy, if any."""

    state: str
    what: str
    said: str


def findings() -> list[Finding]:
    """Look at everything; nothing here is imported but what answers."""
    return [
        Finding("ok", "python", f"{platform.python_version()} on {platform.system()}, {sys.executable}"),
        *packages(),
        *names(),
        *interpreter(),
        *kernel(),
    ]


def install_line(extra: str = "") -> str:
    """Return the line that installs fedlab here, from the checkout where it is one."""
    source = checkout()
    wanted = f"[{extra}]" if extra else ""
    python = f'"{sys.executable}" -m pip install'
    return f'{python} -e "{source}{wanted}"' if source else f'{python} "{DISTRIBUTION}{wanted}"'


def checkout() -> Path | None:
    """Return the folder of an editable install."""
    try:
        told = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    where = json.loads(told or "{}")
    if not where.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlparse(where["url"]).path))


def packages() -> list[Finding]:
    """Versions, and how to get what is not there."""
    own = version(DISTRIBUTION)
    kept = checkout()
    if own:
        found = [Finding("ok", "fedlab", own + (f", from the checkout {kept}" if kept else ""))]
    else:
        said = f"this is a folder of files, not an installation: {install_line()}"
        found = [Finding("warning", "fedlab", said)]
    for name in ALWAYS:
        number = version(name)
        said = number or f"missing: {install_line()}"
        found.append(Finding("ok" if number else "warning", name, said))
    for name, extra in EXTRAS.items():
        number = version(name)
        state = "ok" if number else ("warning" if extra == "lab" else "note")
        found.append(Finding(state, name, number or f"not here (extra {extra!r}): {install_line(extra)}"))
    return found


# --------------------------------------------------------------------------- who else is called fedlab


def names() -> list[Finding]:
    """Another package of our import name: `fedlab` on the package index is someone else's."""
    found = []
    others = sorted({d.metadata["Name"] for d in metadata.distributions() if _claims(d)})
    if others:
        said = f"also installed by {', '.join(others)}, someone else's: {_uninstall(others)}"
        found.append(Finding("warning", "import fedlab", said))
    here = Path(__file__).resolve().parents[1]
    source = checkout()
    if source and (source / "fedlab").resolve() != here:
        said = f"comes from {here}, but installed is {source / 'fedlab'}: leave that folder, or {install_line()}"
        found.append(Finding("warning", "import fedlab", said))
    for shadow in (Path.cwd() / "fedlab.py", Path.cwd() / "fedlab"):
        if shadow.exists() and shadow.resolve() != here:
            said = f"{shadow} hides it from Python started in this folder: rename it"
            found.append(Finding("warning", "import fedlab", said))
    return found or [Finding("ok", "import fedlab", str(here))]


def _claims(distribution: metadata.Distribution) -> bool:
    name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
    if name == DISTRIBUTION:
        return False
    files = distribution.files or ()
    return name == "fedlab" or any(file.parts[:1] in (("fedlab",), ("fedlab.py",)) for file in files)


def _uninstall(others: list[str]) -> str:
    line = f'"{sys.executable}" -m pip uninstall {" ".join(others)}'
    return f"{line}, then {install_line()} --force-reinstall --no-deps"


# --------------------------------------------------------------------------- which Python runs what


def interpreter() -> list[Finding]:
    """Which environment this Python is, and whether the shell thinks so too."""
    found = []
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if active and Path(active).resolve() != Path(sys.prefix).resolve():
        said = f"the shell has {active} active, but fedlab runs in {sys.prefix}: `python` there is another one"
        found.append(Finding("warning", "environment", said))
    elif sys.prefix == sys.base_prefix and not os.environ.get("CONDA_PREFIX"):
        said = f"{sys.prefix} is no virtual environment: what other projects install here may disturb"
        found.append(Finding("note", "environment", said))
    else:
        found.append(Finding("ok", "environment", sys.prefix))
    if " " in sys.executable:
        said = f"has a space: everything works but engine='ray' ({sys.executable}); Ray needs a folder without one"
        found.append(Finding("warning", "path", said))
    return found


def kernel() -> list[Finding]:
    """Whether the kernel that JupyterLab starts by default is this Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return []  # JupyterLab is missing, and that has been said
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return [Finding("warning", "kernel", f"JupyterLab finds no kernel python3: {install_line('lab')}")]
    starts = str(spec.argv[0])
    if os.path.isabs(starts) and _folder(starts) != _folder(sys.executable):
        said = (
            f"`Python 3` in JupyterLab is {starts}, another environment ({spec.resource_dir}): "
            f'"{sys.executable}" -m ipykernel install --sys-prefix --name python3'
        )
        return [Finding("warning", "kernel", said)]
    return [Finding("ok", "kernel", "`Python 3` in JupyterLab is this Python")]


def _folder(executable: str) -> str:
    # The folder tells environments apart; the file in it is a link to the Python that they were made with.
    return os.path.realpath(os.path.dirname(executable))
