"""A table of one's own on the command line: which file, which columns, how it is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedlab.cli.wrong import Wrong
from fedlab.federation import Federation

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")


@dataclass(frozen=True)
class Table:
    """A file with one row per patient, and which columns are what."""

    file: Path
    site: str
    label: str
    group: str | None = None
    features: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    task: str | None = None
    sep: str | None = None

    @classmethod
    def check(cls, named: str, known: Sequence[str], *, site: str | None, label: str | None, group: str | None,
              features: str | None, classes: str | None, task: str | None,
              sep: str | None) -> Table | None:  # fmt: skip
        """Return the table that is named, or None if it is a recipe; refuse what is neither or lacks its columns."""
        options = {"--site": site, "--label": label, "--group": group, "--features": features, "--classes": classes,
                   "--task": task, "--sep": sep}  # fmt: skip
        given = [option for option, value in options.items() if value is not None]
        file = Path(named)
        if named in known or not (file.is_file() or named.lower().endswith(SUFFIXES)):
            if given:
                raise Wrong(f"{given[0]} is for a table of your own, and {named!r} is none: name its file, my.csv.")
            return None
        if not file.is_file():
            raise Wrong(f"there is no file {named}.")
        separator = _separator(file, sep)
        if site is None or label is None:
            columns = ", ".join(map(repr, read(file, separator, nrows=0).columns[:30]))
            raise Wrong(
                f"{named}: say with --site which column names the hospital, and with --label which is to be predicted; "
                f"its columns are {columns}."
            )
        return cls(file, site, label, group, _listed(features), _listed(classes), task, sep)

    def load(self) -> Federation:
        """Read it.

        Raises
        ------
        Wrong
            For what is no table, or a table without what is needed, in one sentence.
        """
        table = read(self.file, _separator(self.file, self.sep))
        try:
            return Federation.from_frame(
                table,
                site=self.site,
                label=self.label,
                group=self.group,
                features=self.features,
                classes=self._levels(table),
                task=self.task,
                name=self.file.name.split(".")[0],
                source=f"The table {self.file.name}, {len(table):,} rows",
            )
        except (ValueError, TypeError, KeyError) as error:
            raise Wrong(f"{self.file}: {_in_options(error)}") from None

    def _levels(self, table: pd.DataFrame) -> list[Any] | None:
        """Return the classes as the label's column has them: 0 and 1 are numbers there, and words on a command line."""
        if self.classes is None:
            return None
        there = {_word(level): level for level in table[self.label].dropna().unique()} if self.label in table else {}
        return [there.get(word, word) for word in self.classes]

    def words(self) -> list[str]:
        """Return it as words of a command."""
        said = [str(self.file), "--site", self.site, "--label", self.label]
        said += ["--group", self.group] if self.group else []
        said += ["--features", ",".join(self.features)] if self.features else []
        said += ["--classes", ",".join(self.classes)] if self.classes else []
        said += ["--task", self.task] if self.task else []
        return said + (["--sep", self.sep] if self.sep else [])


def read(file: Path, sep: str, **options: Any) -> pd.DataFrame:
    """Read a file of separated values, or say in one sentence why it cannot be."""
    try:
        return pd.read_csv(file, sep=sep, encoding="utf-8-sig", **options)
    except UnicodeDecodeError as error:
        raise Wrong(f"{file} is not UTF-8 text (byte {error.start}): save it as CSV in UTF-8.") from None
    except pd.errors.EmptyDataError:
        raise Wrong(f"{file} is empty.") from None
    except (pd.errors.ParserError, ValueError, TypeError) as error:
        raise Wrong(f"{file} cannot be read as a table ({' '.join(str(error).split())}): is --sep right?") from None
    except OSError as error:
        raise Wrong(f"{file} cannot be read ({error.strerror or error}).") from None


def _in_options(error: Exception) -> str:
    """Return what ``Federation.from_frame`` says, with this command's options in the place of its arguments."""
    text = str(error.args[0]) if error.args else type(error).__name__
    text = text.replace("pandas.read_csv(…, sep=';')", "--sep ';'")
    text = re.sub(r"\b(site|label|group|features|classes|task)=(?=[;:,.\s]|$)", r"--\1", text)
    text = re.sub(r"\b(site|label|group|features|classes|task)=", r"--\1 ", text)
    return text if text.endswith(".") else f"{text}."


def _separator(file: Path, sep: str | None) -> str:
    if sep is None:
        return "\t" if ".tsv" in file.name.lower() else ","
    return {"\\t": "\t", "tab": "\t"}.get(sep, sep)


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(","))


def _word(level: Any) -> str:
    return str(int(level)) if isinstance(level, float) and level.is_integer() else str(level)
