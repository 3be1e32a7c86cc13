"""Each kind of planted difference, along its dial."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedlab.federation import (
    AcquisitionShift,
    ConceptShift,
    DocumentationShift,
    Federation,
    LabelShift,
    PracticeShift,
    QuantityShift,
    Shifts,
)
from tests.federation.wards import DIALS, column, shifted, ward


def rises(values: list[float], *, by: float) -> bool:
    return bool((np.diff(values) >= 0).all()) and values[-1] - values[0] >= by


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("towards", [0, 1])
def test_label_moves_the_prevalence(classes: int, towards: int) -> None:
    before = ward(600, classes=classes)
    sites = [shifted(before, LabelShift(dial, towards=before.task.classes[towards])) for dial in DIALS]
    assert rises([float((site.rows.y == towards).double().mean()) for site in sites], by=0.4)
    assert all(int((site.rows.y == towards).sum()) == int((before["A"].rows.y == towards).sum()) for site in sites)
    assert all(len(rows.y.unique()) == classes for rows in (sites[-1].train, sites[-1].valid, sites[-1].test))


def test_label_moves_the_odds_fiftyfold() -> None:
    y = ward(12_000)["A"].rows.y.double().mean()
    after = shifted(ward(12_000), LabelShift(1.0)).rows.y.double().mean()
    assert float(after / (1 - after) / (y / (1 - y))) == pytest.approx(50, rel=0.05)


def test_quantity_takes_patients_away_and_keeps_the_rest_alike() -> None:
    before = ward(600, visits=2)
    sites = [shifted(before, QuantityShift(dial)) for dial in DIALS]
    assert rises([1 - len(site) / 300 for site in sites], by=0.9)
    groups = [{*site.rows.group.tolist()} for site in sites]
    assert all(less <= more for more, less in zip(groups, groups[1:], strict=False))
    share = [float(site.rows.y.double().mean()) for site in sites[:4]]
    assert max(share) - min(share) < 0.05


def test_acquisition_in_spreads() -> None:
    before = ward(4000)
    height = column(before, before["A"], "height")
    sites = [shifted(before, AcquisitionShift(dial)) for dial in DIALS]
    moved = [abs(column(before, site, "height").mean() - height.mean()) / height.std() for site in sites]
    assert rises(moved, by=0.9) and moved[-1] < 2.2
    noisy = [shifted(before, AcquisitionShift(dial, gain=0, offset=0)) for dial in DIALS]
    error = [(column(before, site, "height") - height).std() / height.std() for site in noisy]
    assert np.allclose(error, np.array(DIALS), atol=0.06)
    for site in sites:
        untouched = [before.columns.index(name) for name in before.columns if name not in ("height", "lactate")]
        assert torch.equal(site.rows.x[:, untouched].nan_to_num(-1), before["A"].rows.x[:, untouched].nan_to_num(-1))
        assert torch.equal(site.rows.x.isnan(), before["A"].rows.x.isnan())


def test_practice_measures_those_who_look_odd() -> None:
    before = ward(4000)
    sites = [shifted(before, PracticeShift(dial, never=0.0)) for dial in DIALS]
    assert rises([float(site.rows.x.isnan().double().mean()) for site in sites], by=0.3)
    lost = [site.rows.x.isnan() for site in sites]
    assert all(bool((more | ~less).all()) for less, more in zip(lost, lost[1:], strict=False))
    height = column(before, before["A"], "height")
    for site in sites[1:]:
        kept = column(before, site, "height")
        gone = height[np.isnan(kept)]
        assert gone.std() < height.std() < np.nanstd(kept)
    block = [k for k, name in enumerate(before.columns) if name.startswith("ward=")]
    holes = lost[-1][:, block]
    assert bool((holes.all(1) == holes.any(1)).all()) and 0.5 < float(holes.double().mean()) < 0.7


def test_practice_never_measures_whole_features() -> None:
    before = ward()
    assert column(before, before["A"], "unmeasured").size
    for dial, count in [(0.2, 0), (0.6, 2), (1.0, 3)]:
        site = shifted(before, PracticeShift(dial, missing=0.0, never=0.5))
        empty = [name for name in before.columns if np.isnan(column(before, site, name)).all()]
        features = {name.split("=")[0] for name in empty}
        assert len(features | {"unmeasured"}) in (count, count + 1)
    chosen = shifted(before, PracticeShift(1.0, never=0.9, features=("height",)))
    assert np.isnan(column(before, chosen, "height")).mean() == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("how", ["noise", "threshold"])
@pytest.mark.parametrize("towards", ["healthy", "ill"])
def test_concept_changes_labels_in_one_direction(how: str, towards: str, hospitals: Federation) -> None:
    wanted, before = hospitals.task.classes.index(towards), hospitals["Cleveland"].rows.y
    last = before
    for dial in DIALS:
        shifts = Shifts({"Cleveland": [ConceptShift(dial, towards=towards, how=how)]})
        site = hospitals.shift(shifts)["Cleveland"]
        changed = site.rows.y != before
        assert int(changed.sum()) == int(0.5 * dial * int((before != wanted).sum()))
        assert bool((site.rows.y[changed] == wanted).all()) and bool((site.rows.y[last == wanted] == wanted).all())
        last = site.rows.y


def test_a_threshold_moves_those_on_the_border(hospitals: Federation) -> None:
    site = hospitals["Cleveland"]
    slope = site.rows.x[:, hospitals.columns.index("oldpeak")]  # the deeper, the more likely ill
    change = {}
    for how in ("noise", "threshold"):
        after = hospitals.shift(Shifts({"Cleveland": [ConceptShift(0.4, how=how)]}))["Cleveland"].rows.y
        change[how] = float(slope[after != site.rows.y].mean())
    assert change["threshold"] > change["noise"] + 0.2


def test_documentation_is_what_a_model_sees() -> None:
    before = ward()
    changed = []
    for dial in DIALS:
        site = shifted(before, DocumentationShift(dial), seed=1)
        a, b = site.rows.x.nan_to_num(-77), before["A"].rows.x.nan_to_num(-77)
        changed.append(int((a != b).any(0).sum()))
    assert rises(changed, by=3)
    only = shifted(before, DocumentationShift(1.0, features=("lactate",)))
    assert torch.equal(only.rows.x[:, 2:].nan_to_num(), before["A"].rows.x[:, 2:].nan_to_num())
