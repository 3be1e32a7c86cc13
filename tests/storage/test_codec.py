"""What a record is made of: tensors and plain values as files, back to the bit."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlab.storage.codec import Undecodable, decode, dump, encode, from_bytes, load, to_bytes


@pytest.mark.parametrize("raw", [b"", b"\xff" * 8, b"\x64" + b"\0" * 7 + b"{}", to_bytes({"w": torch.ones(2)})[:-1]])
def test_what_is_no_safetensors_file_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no safetensors file"):
        from_bytes(raw)


def test_tensors_that_share_memory_and_views_are_written() -> None:
    w = torch.arange(6.0).reshape(2, 3)
    got = from_bytes(to_bytes({"w": w, "same": w, "turned": w.T, "row": w[1].expand(2, 3)}))
    assert torch.equal(got["turned"], w.T) and torch.equal(got["same"], w) and got["row"].shape == (2, 3)


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool]


@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=5,
    )
)
def test_tensors_come_back_to_the_bit(wanted: dict[str, tuple[torch.dtype, list[int]]]) -> None:
    generator = torch.Generator().manual_seed(0)
    given = {name: (torch.randn(shape, generator=generator) * 9).to(dtype) for name, (dtype, shape) in wanted.items()}
    got = from_bytes(to_bytes(given))
    assert list(got) == sorted(given)
    for name, tensor in given.items():
        assert got[name].dtype == tensor.dtype and torch.equal(got[name], tensor)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner)
    | st.dictionaries(st.integers() | st.tuples(st.text(max_size=2)), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(PLAIN)
def test_plain_values_come_back(value: Any) -> None:
    assert decode(json.loads(json.dumps(encode(value, {}), allow_nan=False)), {}) == value


def test_tables_come_back_with_their_dtypes_index_and_gaps() -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "b": [0.1, float("nan")], "c": ["x", None], "d": [True, False], "e": [None, (1, 2)]}, index=[7, 3]
    )
    got = decode(json.loads(json.dumps(encode(frame, {}), allow_nan=False)), {})
    pd.testing.assert_frame_equal(got, frame, check_exact=True)
    assert decode(encode(pd.DataFrame(), {}), {}).equals(pd.DataFrame())


def test_what_cannot_be_kept_is_named() -> None:
    with pytest.raises(TypeError, match="a/1 is a builtin_function_or_method, which a record cannot hold"):
        encode({"a": [1, print]}, {})


# ---------------------------------------------------------------- a value and its tensors in one file


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and a != a:
        return isinstance(b, float) and b != b
    return type(a) is type(b) and a == b and str(a) == str(b)  # 0.0 and -0.0 are told apart


TENSORS = st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 2), max_size=2)).map(
    lambda asked: torch.ones(asked[1]).to(asked[0])
)
KEYS = st.text(max_size=2) | st.sampled_from(["", "/", "$", "a", "a/b", "a.1", "a.2", "__metadata__"])
NESTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | TENSORS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=4)
    | st.dictionaries(st.integers() | st.tuples(st.text(max_size=2)), inner, max_size=2),
    max_leaves=10,
)  # fmt: skip


@given(NESTS)
def test_any_nest_comes_back_to_the_bit(value: Any) -> None:
    assert same(load(dump(value)), value)


def test_two_tensors_of_one_path_stay_two() -> None:
    value = {"x": torch.zeros(1), "x.2": torch.ones(1), "": {"x": torch.full((1,), 2.0)}, "__metadata__": torch.ones(3)}
    assert same(load(dump(value)), value)


@given(st.binary(max_size=40) | st.integers(0, 140).map(lambda at: dump({"a": [torch.ones(2), 1]})[:at]))
def test_what_is_no_dump_is_refused(raw: bytes) -> None:
    with pytest.raises(Undecodable):
        load(raw)


def test_a_table_keeps_the_names_of_its_index_or_is_refused() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index(["x", "y"], name="site"))
    pd.testing.assert_frame_equal(decode(encode(frame, {}), {}), frame)
    deep = pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["s", "t"]))
    pd.testing.assert_frame_equal(decode(encode(deep, {}), {}), deep)
    with pytest.raises(TypeError, match="two columns of one name"):
        encode(pd.DataFrame([[1, 2]], columns=["a", "a"]), {})
    with pytest.raises(TypeError, match="t is a table that would come back changed"):
        encode({"t": pd.DataFrame({"a": pd.Categorical(["x"], categories=["x", "y"])})}, {})


@pytest.mark.parametrize(
    "value", [{"$": "tensor", "of": "none"}, {"$": "tuple"}, {"$": "dict", "of": [1]}, {"$": "x", "of": 1}]
)
def test_odd_values_are_refused(value: Any) -> None:
    with pytest.raises(Undecodable, match="a record's"):
        decode(value, {})


def test_what_a_file_cannot_hold_is_named() -> None:
    with pytest.raises(TypeError, match="half a character"):
        encode({"a": "\ud800"}, {})
    with pytest.raises(TypeError, match="w is a tensor that a record cannot hold"):
        to_bytes({"w": torch.ones(2, device="meta")})
    with pytest.raises(TypeError, match="__metadata__"):
        to_bytes({"__metadata__": torch.ones(2)})
