"""Named tensors as the bytes of a ``.safetensors`` file, and back: numbers alone, nothing in it is ever run."""

from __future__ import annotations

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Return the content of a ``.safetensors`` file.

    Examples
    --------
    >>> import torch
    >>> from_bytes(to_bytes({"w": torch.tensor([1.5, 2.0])}))["w"].tolist()
    [1.5, 2.0]
    """
    apart = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}  # no shared memory
    return safetensors.torch.save(apart)


def from_bytes(raw: bytes) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file, in the order of their names.

    Raises
    ------
    ValueError
        If that is not what it is, e.g. cut short.
    """
    try:
        return dict(sorted(safetensors.torch.load(raw).items()))
    except SafetensorError as error:
        raise ValueError(f"the weights are no safetensors file ({error})") from error
