"""The properties, one function each: an empty string where it holds, else what is wrong and what that means."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from fedlab.algorithms import Algorithm
from fedlab.engine import SGD, Run, TooFewSites
from fedlab.engine.exchange import Exchange
from fedlab.engine.local import LocalTransport
from fedlab.engine.plan import planned
from fedlab.engine.replicas import train_seeds
from fedlab.engine.rounds import Event, Loop, collect
from fedlab.engine.train import begin
from fedlab.models import build
from fedlab.testing.trial import CLOSE, OPTIONS, ROUNDS, Trial, apart, copied, finite, is_tensors, trial_federation


def runs(trial: Trial) -> str:
    """It trains one site at a time, and moves something."""
    run = trial.plain
    if len(run.errors):
        return f"training fails at {', '.join(sorted(set(run.errors['site'])))} ({', '.join(set(run.errors['error']))})"
    if not finite(run):
        return "its model is not finite after three rounds at lr 0.05: look for a division by zero or a missing mean"
    start = run.net.start()
    models = [run.weights, *(m for members in run.models.values() for m in members)]
    if all(torch.equal(m[k], start[k]) for m in models for k in start if k in m):
        return "no tensor has moved from the start: finish or combine gives back what it was given"
    return ""


def in_mode(engine: str) -> Callable[[Trial], str]:
    """It gives in this mode what it gives one site at a time."""

    def agrees(trial: Trial) -> str:
        if engine != "threads" and trial.pools:
            return ""
        try:
            run = trial.run(engine=engine)
        except Exception as error:
            return f"{engine!r} cannot run it: {_remedy(error)}"
        gap, where = apart(trial.plain, run)
        if gap <= CLOSE:
            return ""
        return (
            f"one site at a time and {engine!r} differ by {gap:.1e} ({where}): a half is not a pure function. At a "
            "site, torch.where in place of an if on a tensor, and no .item(); at the server, nothing changed in place"
        )

    return agrees


def beside_other_seeds(trial: Trial) -> str:
    """A seed trained in one stacked pass with others is its own run."""
    federation, options = trial_federation(), {k: v for k, v in OPTIONS.items() if k != "progress"}
    *_, together = train_seeds([federation] * 2, trial.model, trial.alg, seeds=[0, 1], **options)
    gap, where = apart(together[1], trial.run(seed=1))
    if gap <= CLOSE:
        return ""
    return f"beside another seed it differs by {gap:.1e} ({where}): something is shared between runs"


def repeats(trial: Trial) -> str:
    """The same seed gives the same bits, also under another global seed and in a copy that travelled."""
    with _global_seed(4711):
        second = trial.run(copy.deepcopy(trial.alg))
    gap, where = apart(trial.plain, second)
    if gap == 0:
        return ""
    return (
        f"two runs of the same seed differ by {gap:.1e} ({where}): draw from at.key at a site and from rng at the "
        "server, and keep nothing in the algorithm itself"
    )


def order_of_sites(trial: Trial) -> str:
    """The sites in another order change nothing."""
    federation = trial_federation()
    turned = federation.select(*reversed(federation.names))
    gap, where = apart(trial.plain, trial.run(federation=turned))
    return "" if gap == 0 else f"with the sites in another order it differs by {gap:.1e} ({where})"


def global_generators(trial: Trial) -> str:
    """The generators of torch, NumPy and Python are left as they were found."""
    before = _generators()
    trial.run()
    moved = [name for name, state in _generators().items() if state != before[name]]
    if not moved:
        return ""
    return f"it draws from the global generator of {', '.join(moved)}: another run would change by it"


def survives_a_failed_site(trial: Trial) -> str:
    """A site that raises in the second round is left out, and the run goes on."""
    federation, cls = trial_federation(), type(trial.alg)
    last = sorted(federation.sites, key=lambda site: site.name)[-1]

    def finish(self: Any, vars: Any, at: Any) -> Any:
        if at.round == 2 and float(at.n) == len(last.train):
            raise LookupError("a site that fails")
        return cls.finish(self, vars, at)

    try:
        run = trial.run(trial.variant(finish=finish), federation)
    except RuntimeError as error:
        if not isinstance(error, TooFewSites):
            return f"combine fails where a site is missing ({error}): what is kept for a site is found by state[…][who]"
        if trial.alg.quorum(len(federation.sites)) == len(federation.sites) and error.run.records:
            return ""  # it says that it needs them all
        return "one failed site of five stops the run: combine must make do with the sites in who"
    if len(run.records) != ROUNDS or not finite(run):
        return "after a round in which a site failed the model is not finite: divide by those that answered"
    return ""


def resumes(trial: Trial) -> str:
    """Saved after two rounds and read again, it goes on as if nothing had been."""
    kept = _interrupted(trial)
    if isinstance(kept, str):
        return kept
    gap, where = apart(trial.plain, kept)
    if gap == 0:
        return ""
    return (
        f"resumed after two rounds it differs by {gap:.1e} ({where}): keep in remember's and begin's tensors all that "
        "outlives a round"
    )


def messages(trial: Trial) -> str:
    """What is sent has the size that the algorithm's description says."""
    alg, run = trial.alg, trial.run(dtype="float32")
    inputs = 2 * len(run.federation.sites[0].rows.x[0])
    told = alg.describe(build(trial.model, inputs, 1), sites=len(run.federation.sites), inputs=inputs)
    if trial.pools:
        return ""
    for where, direction in (("to a site", "down"), ("from a site", "up")):
        said = int(told.loc[told["where"] == where, "bytes"].sum())
        sent = run.ledger.query("purpose == 'train' and direction == @direction and status == 'ok'")["bytes"]
        preparation = _preparation(alg, run, direction)
        if set(sent) != {said + preparation}:
            return (
                f"it sends {sorted(set(sent))} bytes {direction} in a round, and describe() says {said + preparation}"
            )
    return ""


def momentum(trial: Trial) -> str:
    """Where the sites step with momentum it learns too, and does not run away."""
    options: dict[str, Any] = {"rounds": 12, "local_epochs": 5, "engine": "auto", "dtype": "float32"}
    plain, heavy = (
        trial.run(**options, lr=lr, optimizer=SGD(momentum=rho)).history.groupby("round")["log_loss"].mean()
        for lr, rho in ((0.05, 0.0), (0.005, 0.9))  # as far in the long run
    )
    worst = 2 * max(plain.max(), plain.iloc[0])
    if heavy.iloc[-1] <= worst:
        return ""
    return (
        f"with momentum .9 at a tenth of the rate its log loss on valid ends at {heavy.iloc[-1]:.2g}, without at "
        f"{plain.iloc[-1]:.2g}: a formula that divides by steps and rate holds for plain SGD alone. Divide by how "
        "often the gradients count, fedlab.algorithms.fednova.reach(at.steps, at.momentum), and say needs_sgd = True"
    )


# ---------------------------------------------------------------------- how it is done


def _remedy(error: Exception) -> str:
    """Say what helps against the errors that stacking raises."""
    text = str(error)
    if "data-dependent" in text or ".item()" in text:
        return "an if on a tensor, or .item(), cannot be stacked over sites: use torch.where"
    if "randomness" in text:
        return (
            "it draws from torch's generator: use at.noise(shape), which is the site's own and the same in every mode"
        )
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def _preparation(alg: Algorithm, run: Run, direction: str) -> int:
    """Bytes of the preparation, where an algorithm sends whole models besides (Ensemble), and not as the model."""
    if not alg.alone or alg.one_model is False:
        return 0
    each: int = sum(
        v.numel() * v.element_size() for k, v in run.models["site 0"][0].items() if k.startswith("prepare.")
    )
    return each * (len(run.federation.sites) if direction == "down" else 1)


def _interrupted(trial: Trial) -> Run | str:
    """Train with all that is kept passed through a file's form after the second round."""
    options = {k: v for k, v in OPTIONS.items() if k != "progress"}
    run = begin(planned(trial_federation(), trial.model, trial.alg, {**options, "engine": "sequential"}))
    transport = LocalTransport(run, stop=lambda: False)
    loop = Loop(run, Exchange(transport, ledger=run.ledger_book))
    steps, answer = loop.steps(), None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            break
        answer = loop.answer(step)
        if isinstance(step, Event) and step.round == 2:
            held = {name: work.state for name, work in {**transport.work, **transport.trainers}.items()}
            for what in (loop.state, *(state.get("memory", {}) for state in held.values())):
                if not is_tensors(what):
                    return "it keeps something that is no tensor: it could be neither saved nor sent to a hospital"
            loop.state, loop.params = copied(loop.state), copied(loop.params)
            for work in {**transport.work, **transport.trainers}.values():
                work.state = copied(work.state)
    collect(loop)
    return run


def _generators() -> dict[str, str]:
    return {
        "torch": str(torch.get_rng_state().tolist()),
        "numpy": str(np.random.get_state()),
        "Python's random": str(random.getstate()),
    }


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Set the global generators, and put them back."""
    held = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(held[0])
        np.random.set_state(held[1])
        random.setstate(held[2])
