"""The atlas as a map: which cell is whose, what is luck, and ink that can be read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest

import fedlab
from fedlab.federation import Federation
from fedlab.figures import atlas_map
from fedlab.figures.atlas import DARK_FROM, SCALE
from fedlab.study import Study
from fedlab.study.words import few
from tests.figures.drawn import contrast, luminance, notes_of

SITES = ["Cleveland", "Hungary", "Switzerland", "Long Beach"]


def between(scale: Sequence[tuple[float, str]], share: float) -> str:
    """The colour at ``share`` of a scale."""
    share = min(max(share, 0.0), 1.0)
    (a, low), (b, high) = next((p, q) for p, q in zip(scale, scale[1:], strict=False) if p[0] <= share <= q[0])
    t = (share - a) / (b - a)
    mixed = [round((1 - t) * int(low[i : i + 2], 16) + t * int(high[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{c:02x}" for c in mixed)


def test_a_crowded_map_has_no_numbers_that_lie_on_each_other(atlas: pd.DataFrame) -> None:
    one = atlas[(atlas["train"] == "all sites") & (atlas["arm"] == "fedavg") & (atlas["test"] == "Cleveland")]
    crowd = pd.concat([one.assign(test=f"hospital {k}") for k in range(13)])
    figure = atlas_map(crowd)
    assert not [a for a in figure.layout.annotations if a.xref != "paper"] and figure.layout.xaxis.tickangle == -90


def test_a_row_for_each_model_and_a_frame_at_home(atlas: pd.DataFrame, hospitals: Federation) -> None:
    figure = atlas_map(atlas, "auc", federation=hospitals)
    rows = figure.layout.yaxis.ticktext
    assert list(rows[:4]) == [f"{site} alone" for site in SITES]
    assert any(row.startswith("all, FedAvg") for row in rows) and any("never saw it" in row for row in rows)
    assert [text.split("<br>")[0] for text in figure.layout.xaxis.ticktext] == SITES
    found = atlas.query("metric == 'auc'").set_index(["arm", "train", "test"])["value"]
    assert figure.data[0].z[1][0] == pytest.approx(found["isolated", "Hungary", "Cleveland"])
    frames = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert [frame.x0 + 0.46 for frame in frames] == pytest.approx([0, 1, 2, 3])
    assert [frame.y0 + 0.43 for frame in frames] == pytest.approx([0, 1, 2, 3])


def test_the_atlas_says_what_is_luck(atlas: pd.DataFrame, hospitals: Federation) -> None:
    notes = notes_of(atlas_map(atlas, federation=hospitals))
    assert (
        f"† Switzerland: {few(hospitals)['Switzerland']}" in notes and "95 % interval over its test patients" in notes
    )
    assert "None where it cannot be told, as with fewer than twenty patients of a class" in notes
    assert "test patients in its rarest class" in notes_of(atlas_map(atlas))


def test_darker_is_better_also_for_a_loss(atlas: pd.DataFrame) -> None:
    up, down = (atlas_map(atlas, metric).data[0].colorscale for metric in ("auc", "log_loss"))
    assert up[0][1] == down[-1][1] and up[-1][1] == down[0][1]


def test_the_scale_falls_in_luminance_so_that_grey_tells_the_same(atlas: pd.DataFrame) -> None:
    lights = [luminance(colour) for _, colour in atlas_map(atlas).data[0].colorscale]
    assert lights == sorted(lights, reverse=True)


def test_ink_stands_out_from_its_cell(atlas: pd.DataFrame) -> None:
    figure = atlas_map(atlas)
    heat = figure.data[0]
    inks = [a for a in figure.layout.annotations if a.xref != "paper"]
    assert len(inks) == sum(v is not None for line in heat.z for v in line)
    for share in (i / 200 for i in range(201)):
        ink = "#ffffff" if share > DARK_FROM else "#000000"
        assert contrast(luminance(ink), luminance(between(SCALE, share))) >= 4.5, share
    for ink in inks:
        share = (heat.z[int(ink.y)][int(ink.x)] - heat.zmin) / (heat.zmax - heat.zmin)
        assert contrast(luminance(ink.font.color), luminance(between(heat.colorscale, share))) >= 4.5, share


def test_an_atlas_of_a_study_has_intervals_over_seeds_and_no_value_is_said(study: Study, lopsided: Federation) -> None:
    assert "Mean over 2 seeds (splits). Small: 95 % interval over the seeds." in notes_of(atlas_map(study.atlas()))
    table = fedlab.atlas(lopsided, rounds=2, resamples=20, progress=False)
    figure = atlas_map(table, federation=lopsided)
    assert "no value" in [a.text for a in figure.layout.annotations] and "NaN" not in figure.to_json()
    nothing = table.assign(value=float("nan"), low=float("nan"), high=float("nan"))
    assert all(v is None for line in atlas_map(nothing).data[0].z for v in line)
    with pytest.raises(ValueError, match="no row of metric"):
        atlas_map(table[table["metric"] != "auc"], "auc")


def test_luck_is_said_only_of_what_hangs_on_the_few(hospitals: Federation) -> None:
    atlas = fedlab.atlas(hospitals, seeds=1, rounds=2, resamples=20, unseen=None, progress=False)

    def notes(metric: str) -> str:
        return " ".join(str(note.text) for note in atlas_map(atlas, metric=metric).layout.annotations)

    assert "mostly luck" in notes("auc")
    assert "mostly luck" not in notes("accuracy") and "not in the title" in notes("accuracy").replace("<br>", " ")
