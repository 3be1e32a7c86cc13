"""The dials of the shift studio: how severe each kind of shift is at each site."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import ipywidgets as widgets

from fedlab.federation.shift import (
    KINDS,
    AcquisitionShift,
    ConceptShift,
    DocumentationShift,
    LabelShift,
    PracticeShift,
    QuantityShift,
    Shifts,
)
from fedlab.workbench import style
from fedlab.workbench.controls import heading, plain

STEP = 0.05
MOST = 6  # sites to be seen without scrolling
CLASSES = {
    "documentation": DocumentationShift,
    "acquisition": AcquisitionShift,
    "practice": PracticeShift,
    "concept": ConceptShift,
    "label": LabelShift,
    "quantity": QuantityShift,
}
SAID = {
    "documentation": "how it is written down",
    "acquisition": "how it is measured",
    "practice": "who gets measured",
    "concept": "what is called ill",
    "label": "how common it is",
    "quantity": "how many patients",
}
NONE = "All dials are at 0: the hospitals as they are."


class Dials:
    """A list of sites, and the dials of the one that is chosen there.

    The values of all sites are kept here and six sliders show those of one: 186 sites need no thousand widgets.

    Parameters
    ----------
    turned : callable
        Called when a dial has come to rest.

    Attributes
    ----------
    severities : dict of str to dict
        Site to kind to severity 0 … 1; what is 0 is left out.

    Examples
    --------
    >>> dials = Dials(lambda: None)
    >>> dials.offer(["Cleveland", "Hungary"])
    >>> dials.turn("Hungary", label=0.4)
    >>> dials.severities
    {'Hungary': {'label': 0.4}}
    """

    def __init__(self, turned: Callable[[], None]) -> None:
        self.severities: dict[str, dict[str, float]] = {}
        self._turned, self._loading = turned, False
        self.site = widgets.Select(options=[], tooltip="Whose dials are shown", layout={"width": "auto"})
        self.site.observe(lambda change: self._load(), names="value")
        self.sliders = {kind: self._slider(kind) for kind in KINDS}
        self.summary = widgets.HTML()
        self.summary.add_class("fedlab-turned")
        self.box = widgets.VBox(
            [heading("Dials of which site?"), self.site, *(self._with_words(kind) for kind in KINDS), self.summary],
            layout={"flex": "1 1 330px", "min_width": "280px"},
        )

    def _slider(self, kind: str) -> widgets.FloatSlider:
        about = plain((inspect.getdoc(CLASSES[kind]) or kind).split("\n\n")[0])
        slider = widgets.FloatSlider(
            value=0, min=0, max=1, step=STEP, description=kind, tooltip=about, continuous_update=False,
            readout_format=".2f", style={"description_width": "8.5em"}, layout={"width": "auto"},
        )  # fmt: skip
        slider.observe(lambda change: self._set(kind, change["new"]), names="value")
        return slider

    def _with_words(self, kind: str) -> widgets.VBox:
        box = widgets.VBox([self.sliders[kind], widgets.HTML(style.paragraph(SAID[kind], "quiet"))])
        box.add_class("fedlab-dial")
        return box

    def offer(self, sites: Sequence[str]) -> None:
        """Have dials for these sites; those of a site that stays keep their place."""
        chosen = self.site.value
        self.severities = {site: kinds for site, kinds in self.severities.items() if site in sites}
        self.site.rows = max(2, min(len(sites), MOST))  # of one row a browser makes a menu
        self.site.options = list(sites)
        self.site.value = chosen if chosen in sites else next(iter(sites), None)
        self._load()

    def turn(self, site: str, **severity: float) -> None:
        """Turn dials from code, as if by hand; ``turn("Hungary", label=0.4)`` shows Hungary's.

        Raises
        ------
        ValueError
            If there is no such site or kind, or a severity is not in 0 … 1.
        """
        if site not in self.site.options:
            raise ValueError(f"there are no dials for {site!r}; the sites are {', '.join(self.site.options)}")
        for kind, value in severity.items():
            if kind not in CLASSES:
                raise ValueError(f"there is no dial {kind!r}; the dials are {', '.join(KINDS)}")
            CLASSES[kind](value)  # refuses what is out of range
        self.site.value = site
        for kind, value in severity.items():
            self.sliders[kind].value = value

    def reset(self) -> None:
        """Set all dials of all sites to 0, without a word to anybody."""
        self.severities = {}
        self._load()

    def shifts(self, sites: Sequence[str], *, seed: int) -> Shifts | None:
        """Return the shifts of these sites; none if all their dials are at 0."""
        made = {
            site: [CLASSES[kind](self.severities[site][kind]) for kind in KINDS if kind in self.severities[site]]
            for site in sites
            if site in self.severities
        }
        return Shifts(made, seed=seed) if made else None

    def _set(self, kind: str, value: float) -> None:
        if self._loading or self.site.value is None:
            return
        own = self.severities.setdefault(self.site.value, {})
        own[kind] = round(float(value), 2)  # 0.15000000000000002 is no severity that anybody chose
        if not value:
            del own[kind]
        if not own:
            del self.severities[self.site.value]
        self._sum_up()
        self._turned()

    def _load(self) -> None:
        own = self.severities.get(self.site.value, {})
        self._loading = True
        try:
            for kind, slider in self.sliders.items():
                slider.value = own.get(kind, 0.0)
        finally:
            self._loading = False
        self._sum_up()

    def _sum_up(self) -> None:
        rows = [  # a column for each of six kinds would not fit beside the picture
            [site, ", ".join(f"{kind} {own[kind]:.2f}" for kind in KINDS if kind in own)]
            for site, own in sorted(self.severities.items(), key=lambda item: self.site.options.index(item[0]))
        ]
        told = style.table(["site", "severity"], rows, caption="Dials that are turned") if rows else ""
        self.summary.value = told or style.paragraph(NONE, "quiet")
