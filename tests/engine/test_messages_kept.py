"""The messages of a run, kept where they are asked for."""

from __future__ import annotations

import pytest
import torch

import fedlab
from fedlab.algorithms.payload import declared
from fedlab.federation import Federation


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_a_run_keeps_its_messages_with_their_round(engine: str, uneven: Federation) -> None:
    run = fedlab.train(uneven, "logistic", "scaffold", rounds=3, engine=engine, keep_messages=True, progress=False)
    ledger = run.ledger
    assert [tuple(each[:4]) for each in run.messages] == list(
        ledger[["round", "purpose", "site", "direction"]].itertuples(index=False, name=None)
    )
    assert [declared(each.content)[0] for each in run.messages] == ledger["bytes"].tolist()
    ups = [
        m.content["model"]["weight"] for m in run.messages if (m.round, m.purpose, m.direction) == (2, "train", "up")
    ]
    downs = [m.content["model"]["weight"] for m in run.messages if (m.purpose, m.direction) == ("train", "down")]
    assert len(ups) == 3 and not torch.equal(ups[0], ups[1]) and not torch.equal(downs[0], downs[-1])


def test_what_was_sent_stays_as_it_was(uneven: Federation) -> None:
    run = fedlab.train(uneven, rounds=2, keep_messages=True, progress=False)
    first = next(m for m in run.messages if m.purpose == "train" and m.direction == "up")
    before = first.content["model"]["weight"].clone()
    run.weights["weight"] += 1
    assert torch.equal(first.content["model"]["weight"], before)


def test_without_being_asked_nothing_is_kept(uneven: Federation) -> None:
    assert fedlab.train(uneven, rounds=2, progress=False).messages == []
