"""Flower's messages carry any nest to the bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")

from fedlab.engine.batches import Job
from fedlab.engine.flower import pack, unpack

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))) * 50
    return numbers.abs().to(draw(st.sampled_from(DTYPES)))


WORDS = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | WORDS | tensors()
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "a/b", "a/b.1", "a/b'", "", "..", "~1", "$", "plain", "nest", "0", "w.x", "ü"])
NESTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(NAMES, inner, max_size=3)
        | st.dictionaries(st.integers(0, 3), inner, max_size=2)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and torch.equal(one, other)
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, NESTS, max_size=4))
def test_any_nest_travels(payload: dict[str, Any]) -> None:
    packed = pack(payload, purpose="train")
    assert same(unpack(packed), payload) and packed["plain"]["purpose"] == "train"


def test_two_nests_that_write_one_path_stay_apart() -> None:
    sent = {"a/b.2": torch.tensor(1), "a/b": torch.tensor(2), "a": {"b": torch.tensor(3)}, "a/b'": torch.tensor(4)}
    assert same(unpack(pack(sent)), sent)


def test_a_rounds_work_order_and_what_shares_memory_travel() -> None:
    job = Job(round=2, rounds=9, lr=0.1, batch_size=8, local_epochs=1, seed=3)
    whole = torch.arange(12.0).reshape(3, 4)
    back = unpack(pack({"job": job, "model": {"w": whole.T, "v": whole[1], "g": torch.ones(2, requires_grad=True)}}))
    assert back["job"] == job and same(back["model"]["w"], whole.T) and same(back["model"]["v"], whole[1])
    back["model"]["v"] += 1  # what came is the receiver's own
    assert whole[1, 0] == 4


def test_what_no_message_can_carry_is_named() -> None:
    with pytest.raises(TypeError, match="model/w is a function"):
        pack({"model": {"w": lambda: None}})
