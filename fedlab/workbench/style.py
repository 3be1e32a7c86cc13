"""How the panels look: in JupyterLab's own variables, so that light and dark both work, and only in ``.fedlab``."""

from __future__ import annotations

import html
from collections.abc import Sequence

CSS = """<style>
.fedlab { color: var(--jp-ui-font-color1, #212121); font-size: var(--jp-ui-font-size1, 13px); max-width: 1080px;
  border: 1px solid var(--jp-border-color2, #c0c0c0); border-radius: 4px; padding: 10px 14px; overflow: hidden; }
.fedlab select { --jp-widgets-dropdown-arrow: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 18 18'%3E%3Cpath fill='%237b7b7b' d='M4 7l5 5 5-5z'/%3E%3C/svg%3E"); }
.fedlab-style { display: none; }
.fedlab-group { flex: 1 1 270px; min-width: 250px; padding-right: 12px; overflow: hidden; }
.fedlab .fedlab-group:nth-child(2) .widget-label { min-width: 5em; text-align: left; }
.fedlab .fedlab-group:nth-child(3) .widget-label { min-width: 9.5em; text-align: left; }
.fedlab .widget-toggle-buttons { display: flex; flex-flow: row wrap; align-items: center; gap: 2px 8px;
  padding-left: 2px; }
.fedlab h4 { margin: 4px 0 2px; font-size: var(--jp-ui-font-size1, 13px); color: var(--jp-ui-font-color1, #212121); }
.fedlab p { margin: 2px 0; line-height: 1.35; }
.fedlab .widget-html-content { overflow-wrap: anywhere; line-height: 1.35; }
.fedlab .fedlab-quiet { color: var(--jp-ui-font-color2, #666); }
.fedlab .fedlab-sites { max-height: 190px; overflow-y: auto; }
.fedlab .widget-checkbox label, .fedlab .widget-checkbox { max-width: 100%; }
.fedlab .fedlab-stale { border-left: 4px solid var(--jp-warn-color1, #b26a00); padding: 4px 8px;
  background: var(--jp-layout-color2, #eee); }
.fedlab .fedlab-old { opacity: 0.5; }
.fedlab .fedlab-alert p { border-left: 4px solid var(--jp-error-color1, #d32f2f); padding: 4px 8px;
  background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #212121); }
.fedlab .fedlab-dial .widget-html { margin: -8px 2px 2px calc(8.5em + 16px); min-height: 0; }
.fedlab .fedlab-dial .noUi-handle:focus { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
.fedlab table { border-collapse: collapse; margin: 2px 0 4px; color: var(--jp-ui-font-color1, #212121); }
.fedlab caption { text-align: left; padding: 4px 0; color: var(--jp-ui-font-color2, #666); }
.fedlab th, .fedlab td { padding: 3px 12px 3px 0; text-align: right; font-variant-numeric: tabular-nums;
  border-bottom: 1px solid var(--jp-border-color2, #c0c0c0); white-space: nowrap; }
.fedlab th:first-child, .fedlab td:first-child { text-align: left; }
.fedlab td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 8em; max-width: 22em; }
.fedlab th { font-weight: 600; }
.fedlab .fedlab-turned th, .fedlab .fedlab-turned td { text-align: left; vertical-align: top; }
.fedlab .fedlab-turned td:last-child { white-space: normal; }
.fedlab .fedlab-scroll { max-height: 330px; overflow: auto; }
.fedlab pre { overflow-x: auto; padding: 8px; margin: 2px 0; border: 1px solid var(--jp-border-color2, #c0c0c0);
  background: var(--jp-layout-color1, #fff); color: var(--jp-content-font-color1, #212121);
  font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px); line-height: 1.35; }
.fedlab button:focus-visible, .fedlab input:focus-visible, .fedlab select:focus-visible, .fedlab pre:focus-visible {
  outline: 2px solid var(--jp-brand-color1, #1976d2) !important; outline-offset: 1px; }
.fedlab button:disabled { opacity: 0.55; }
@media (prefers-reduced-motion: reduce) { .fedlab * { transition: none !important; animation: none !important; } }
</style>"""


def paragraph(text: str, kind: str = "") -> str:
    """Return a sentence as HTML; whatever the data say is text, never markup.

    Examples
    --------
    >>> paragraph("round 7 < 30")
    '<p>round 7 &lt; 30</p>'
    """
    return f'<p class="fedlab-{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def live(text: str) -> str:
    """Return a status line that a screen reader speaks when it changes."""
    return f'<div role="status" aria-live="polite">{paragraph(text)}</div>' if text else ""


def alarm(text: str) -> str:
    """Return a sentence that says what is wrong and what helps."""
    return f'<div role="alert">{paragraph(text)}</div>' if text else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, notes: Sequence[str] = ()) -> str:
    """Return a table that scrolls when it is long, and its notes.

    Examples
    --------
    >>> table(["site"], [["Cleveland"]], caption="who").count("<tr>")
    2
    """
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    below = "".join(paragraph(note, "quiet") for note in notes)
    return (
        f'<div class="fedlab-scroll" tabindex="0"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{below}"
    )


def code(text: str, caption: str) -> str:
    """Return Python as text that can be selected and copied."""
    return f'{paragraph(caption, "quiet")}<pre tabindex="0">{html.escape(text)}</pre>'
