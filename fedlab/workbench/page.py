"""What no widget can do in the page itself: scroll something into sight, and copy text.

A sanitised ``<button onclick>`` does nothing, but what an Output widget shows is trusted, JavaScript too.
"""

from __future__ import annotations

import json
import secrets

import ipywidgets as widgets

ONCE = """(() => {
  const token = %(token)s;  // a page that is loaded again shows its outputs again: not what they did
  if (sessionStorage.getItem(token)) return;
  sessionStorage.setItem(token, "done");
  const find = name => document.querySelector("." + name);
  %(code)s
})()"""
SCROLL = """find(%(place)s)?.scrollIntoView({block: "nearest"});"""
COPY = """
  const text = find(%(place)s)?.querySelector("pre"), button = find(%(button)s);
  if (!text || !button) return;
  const select = () => {
    const range = document.createRange();
    range.selectNodeContents(text);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  const say = words => { button.lastChild.textContent = words; };
  const write = navigator.clipboard ? navigator.clipboard.writeText(text.textContent) : Promise.reject();
  write.catch(() => { select(); if (!document.execCommand("copy")) throw new Error("not allowed"); })
    .then(() => say("Copied"), () => { select(); say("Press Ctrl+C"); });"""


class Page:
    """Runs a few lines of JavaScript where the panel is shown.

    Attributes
    ----------
    output : Output
        To be put into the panel; nothing of it is to be seen.
    """

    def __init__(self) -> None:
        self.output = widgets.Output(layout={"height": "0", "margin": "0", "overflow": "hidden"})

    def scroll_to(self, place: str) -> None:
        """Bring the element of this class into sight."""
        self._run(SCROLL % {"place": json.dumps(place)})

    def copy(self, place: str, button: str) -> None:
        """Copy the code in the element of one class and say so on the button of the other.

        Where the browser does not allow it the code is selected.
        """
        self._run(COPY % {"place": json.dumps(place), "button": json.dumps(button)})

    def _run(self, code: str) -> None:
        script = ONCE % {"token": json.dumps(f"fedlab-{secrets.token_hex(8)}"), "code": code}
        data = {"application/javascript": script, "text/plain": ""}
        self.output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
