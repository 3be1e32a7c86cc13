"""What a record is made of: tensors and plain values as files, back to the bit."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlab.storage.codec import decode, encode, from_bytes, to_bytes


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
