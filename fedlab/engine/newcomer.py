"""A hospital that joins when the training is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import PREPARATION, Tensors, fixed
from fedlab.engine.batches import Job
from fedlab.engine.site import SiteWork, one_thread
from fedlab.engine.work import travels
from fedlab.federation import Site

if TYPE_CHECKING:
    from fedlab.engine.run import Run


def join(run: Run, site: Site, *, rounds: int) -> list[Tensors]:
    """Return the models that it predicts with, after so many rounds on its own rows; nothing goes back."""
    in_range("rounds", rounds, 0)
    if not run.records:
        raise ValueError("no round has finished yet: there is nothing to join")
    alg, settings = run.algorithm, run.settings
    work = SiteWork.of(
        site, alg=alg, net=run.net.copy(), optimizer=settings.optimizer, prepared=run.federation.prepared
    )
    buffers = {k.removeprefix(PREPARATION): v for k, v in run.weights.items() if fixed(k)}
    work.prepare({} if alg.alone else buffers)
    model = travels(alg, run.weights)
    work.settle({**run.net.start(), **model})  # what starts from a model starts from the shared one
    with one_thread():
        for number in range(1, rounds + 1):
            work.train(model, run.extra, _job(run, number, rounds))
        return work.predictors(model, run.extra, _job(run, rounds, rounds))


def _job(run: Run, number: int, rounds: int) -> Job:
    s = run.settings
    clock = s.local_steps or (run.steps_per_round if run.algorithm.clocked else 0)
    return Job(
        round=number, rounds=rounds, lr=s.lr, batch_size=s.batch_size, local_epochs=s.local_epochs, seed=s.seed,
        shuffle=s.shuffle, clock=clock, clip=s.clip or 0.0,
    )  # fmt: skip
