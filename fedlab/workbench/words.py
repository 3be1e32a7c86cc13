"""What the panel says: progress, failures and endings as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from fedlab.engine import Run, TooFewSites
from fedlab.study.words import listed, words


def time_left(seconds: float) -> str:
    """Say roughly how long it takes still.

    Examples
    --------
    >>> time_left(3.2), time_left(0.4), time_left(200)
    ('about 3 s left', 'less than 1 s left', 'about 3 min left')
    """
    if seconds < 1:
        return "less than 1 s left"
    return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"


def progress(done: int, rounds: int, seconds: float) -> str:
    """Say where a run stands after ``done`` rounds that took ``seconds``.

    Examples
    --------
    >>> progress(7, 30, 1.0)
    'Round 7 of 30, about 3 s left.'
    """
    return f"Round {done} of {rounds}, {time_left(seconds / done * (rounds - done))}."


def failures(failed: dict[str, list[tuple[int, str]]]) -> str:
    """Say which sites did not answer, when and why (the class of the error is all that leaves a site).

    Examples
    --------
    >>> failures({"Hungary": [(3, "NotFinite"), (4, "NotFinite")]})
    'Hungary failed in 2 rounds, last in round 4 (its numbers were not finite).'
    """
    said = []
    for site, times in failed.items():
        last, error = times[-1]
        when = f"in round {last}" if len(times) == 1 else f"in {len(times)} rounds, last in round {last}"
        said.append(f"{site} failed {when} ({cause(error)}).")
    return " ".join(said)


def cause(error: str) -> str:
    """Say in words what the class of a site's error means."""
    return "its numbers were not finite" if "finite" in error.lower() else error


def ending(runs: Sequence[Run], rounds: int, seconds: float, *, stopped: bool) -> str:
    """Say how a run, or one a seed, ended and what is left of it."""
    if not runs:
        return "Stopped before the first round was over; panel.run is as it was."
    done = len(runs[0].records)
    if stopped and done < rounds:
        return f"Stopped after {done} of {rounds} rounds; they are kept in panel.run. {reported(runs)}"
    return f"Finished: {done} round{'s' * (done != 1)} in {seconds:.1f} s. {reported(runs)}"


def reported(runs: Sequence[Run]) -> str:
    """Say which round is reported; of several seeds each has its own."""
    run = runs[0]
    if not run.chosen:
        return ""
    score = words(run.scored[0]).name
    if run.algorithm.alone and not run.algorithm.one_model:
        return f"Each hospital reports the round with its own best {score} on valid."
    if len(runs) > 1:
        return f"Each seed reports its own round with the best {score} on valid."
    return f"Round {max(run.chosen.values())} had the best {score} on valid."


def failure(error: BaseException, run: Run | None) -> str:
    """Say why a run broke off, what helps, and what is left of it."""
    done = 0 if run is None else len(run.records)
    before = "The round before is" if done == 1 else f"The {done} rounds before are"
    kept = f" {before} kept in panel.run." if done else ""
    if isinstance(error, TooFewSites) and error.run is not None:
        ledger = error.run.ledger
        bad = ledger[ledger["status"] != "ok"]
        last = bad[bad["round"] == bad["round"].max()]
        if len(last) and last["status"].str.lower().str.contains("finite").all():
            sites = listed(sorted(set(last["site"])))
            return (
                f"Training broke off in round {last['round'].max()}: the numbers of {sites} were no longer finite; "
                f"try a smaller learning rate.{kept}"
            )
    return f"Training broke off: {sentence(error)}{kept}"


def sentence(error: BaseException) -> str:
    """Return an error's text as a sentence; errors of fedlab say the remedy themselves."""
    text = str(error).strip() or type(error).__name__
    if not isinstance(error, (ValueError, OSError, TypeError, ImportError, TooFewSites)):
        text = f"{type(error).__name__}: {text}"
    return text if text.endswith((".", "!", "?")) else f"{text}."
