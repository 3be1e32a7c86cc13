"""Learning curves over seeds: how much of a curve is luck."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from fedlab.engine import Run
from fedlab.engine.spread import MIDDLE
from fedlab.figures.curves import frame_of, plain, scored, setting_of, what_is_little
from fedlab.figures.drawable import check_kind
from fedlab.figures.theme import foot, head, label, style


def seed_bands(runs: Sequence[Run], metric: str | None = None, *, rounds: int | None = None) -> go.Figure:
    """Draw for each hospital the mean over seeds, and the band that holds their middle 80 %.

    Parameters
    ----------
    runs : sequence of Run
        One a seed, finished or not; of one that has stopped early the last round goes on counting.
    metric : str, optional
        One of the two that a run computes after each round, ``run.scored``; default: the one that chooses.
    rounds : int, optional
        How far the axis of rounds goes: a live curve grows into it.

    Examples
    --------
    >>> import fedlab
    >>> *_, last = fedlab.stream(fedlab.load("heart_disease"), rounds=3, seeds=4)
    >>> [trace.name for trace in seed_bands(last.runs).data if trace.showlegend is not False]
    ['Cleveland', 'Hungary', 'Switzerland', 'Long Beach']
    """
    many = isinstance(runs, Sequence) and len(runs) > 0 and all(isinstance(run, Run) for run in runs)
    check_kind(runs if many else None, Sequence, "the runs of several seeds, event.runs of fedlab.stream(…, seeds=10)")
    metric = scored(runs[0].history, metric)
    first, each = runs[0], over_rounds(runs, metric)
    last = int(each.index.max()) if len(each) else 0
    figure = go.Figure(layout=frame_of(metric, rounds or max(last, 1)))
    for site, place in first.federation.places.items():
        if site in each.columns:
            _add_site(figure, place, each[site], site)
    head(figure, f"How does each hospital do, over {len(runs)} seeds?", setting_of(first))
    if not len(each):
        return foot(figure, ["No round has finished yet."])
    seeds = ", ".join(str(run.settings.seed) for run in runs[:12]) + (", …" if len(runs) > 12 else "")
    return foot(figure, [f"Line: mean over seeds {seeds}. Band: the middle 80 % of them. A seed is a split of the "
                         "patients, a start and a batch order.", *what_is_little(figure, runs, metric)])  # fmt: skip


def over_rounds(runs: Sequence[Run], metric: str) -> pd.DataFrame:
    """Return the scores on ``valid``: one row a round, columns (site, seed's number)."""
    parts = {number: run.history.pivot(index="round", columns="site", values=metric) for number, run in enumerate(runs)}
    return pd.concat(parts, axis=1).ffill().swaplevel(axis=1) if parts else pd.DataFrame()


def _add_site(figure: go.Figure, number: int, scores: pd.DataFrame, site: str) -> None:
    look, x = style(number), scores.index.tolist()
    low, high = (plain(scores.quantile(q, axis=1)) for q in MIDDLE)
    figure.add_scatter(
        x=x + x[::-1], y=high + low[::-1], fill="toself", fillcolor=look.colour, opacity=0.18, mode="lines",
        line=dict(width=0), hoverinfo="skip", showlegend=False, legendgroup=site, name=f"{label(site)}, band",
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=plain(scores.mean(axis=1)), name=label(site), mode="lines+markers", legendgroup=site,
        line=dict(color=look.colour, dash=look.dash, width=2),
        marker=dict(symbol=look.symbol, size=8, maxdisplayed=9),
        customdata=list(zip(low, high, strict=True)),
        hovertemplate="%{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
    )  # fmt: skip
