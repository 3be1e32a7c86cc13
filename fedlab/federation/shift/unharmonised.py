"""The kind of difference that nobody sees in a tensor: other documentation, and nobody harmonised it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from fedlab.federation.documentation import Fault, draw_faults
from fedlab.federation.shift.readings import Readings, with_values
from fedlab.federation.site import Feature, Site

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation


@dataclass(frozen=True)
class DocumentationShift(Readings):
    """Other documentation, and nobody harmonised it: what a model then sees.

    Other units, a number where nothing was measured, codes that mean something else, as
    :func:`fedlab.federation.documentation.draw_faults` draws them. It can be undone, where no real value is equal to
    the number that stands for *not measured* (draws are outside the data dictionary's range).

    Parameters
    ----------
    severity : float
        Of the columns that can have such a fault, two thirds have one at severity 1.
    features : tuple of str
    """

    name: ClassVar[str] = "documentation"

    def faults(self, features: Sequence[Feature], rng: np.random.Generator) -> list[Fault]:
        """Return the faults that it plants among these features."""
        chosen = [feature for feature in features if not self.features or feature.name in self.features]
        return draw_faults(chosen, self.severity, rng, kinds=("unit", "sentinel", "codes", "order"))

    def apply(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Write as the site writes."""
        return self._rewritten(site, federation, rng, back=False)

    def undo(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Write as was agreed, to rounding."""
        return self._rewritten(site, federation, rng, back=True)

    def _rewritten(self, site: Site, federation: Federation, rng: np.random.Generator, *, back: bool) -> Site:
        blocks = {feature.name: (feature, at) for feature, at in self.hit(site, federation)}
        self.need_raw(federation)
        x = site.rows.x.double().clone()
        for fault in self.faults(federation.features, rng):
            feature, at = blocks[fault.column]
            x[:, at] = _faulty(x[:, at], feature, fault, back=back)
        return with_values(site, x.numpy())


def _faulty(block: Tensor, feature: Feature, fault: Fault, *, back: bool) -> Tensor:
    """Write a feature's columns with the fault, or take it ``back``."""
    details = fault.details
    if fault.kind == "unit":
        factor, offset = float(details["factor"]), float(details["offset"])
        return (block - offset) / factor if back else block * factor + offset
    if fault.kind == "sentinel":
        value = float(details["value"])
        return torch.where(block == value, torch.nan, block) if back else block.nan_to_num(value)
    codes = list(feature.codes or {})
    # Another code book is read by position: who writes from the other end is read the wrong way round.
    book = details["map"] if fault.kind == "order" else dict(zip(codes, codes[::-1], strict=True))
    pairs = [(new, old) if back else (old, new) for old, new in book.items()]
    if feature.kind == "number":
        out = block.clone()
        for old, new in pairs:
            out[block == float(old)] = float(new)
        return out
    if block.shape[1] == 1:  # of two codes, one column
        return 1 - block
    order = torch.empty(len(codes), dtype=torch.int64)
    for old, new in pairs:
        order[codes.index(new)] = codes.index(old)
    return block[:, order]
