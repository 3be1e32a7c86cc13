"""From tensors to sites: rows and class numbers, copied, and refused where they are something else."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fedlab.federation.bags import Bags
from fedlab.federation.frame import MOST_CODES
from fedlab.federation.names import printable
from fedlab.federation.problems import Problems
from fedlab.federation.site import Examples, check_alike
from fedlab.federation.values import in_case_only, text, word
from fedlab.tasks import Classification, Regression, Task

SHOWN = 8  # so many labels stand in a message

TABLE = "or make the federation of a table, Federation.from_frame, which reads texts, dates and empty cells"


class Read(NamedTuple):
    """The rows of each site, and how many classes the widest one-hot labels have (0 where none are one-hot)."""

    rows: dict[str, Examples]
    columns: int


def by_site(given: Any, what: str, holds: str) -> dict[str, Any]:
    """Return a mapping's entries by the names of the sites, of one spelling, as a table's are: 3 for 3.0.

    Parameters
    ----------
    given : mapping
        By site name, a text or a whole number.
    what : str
        The parameter, for the messages.
    holds : str
        What stands at each name, for the messages.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        For what is no name, and for names that read as one: a mapping's entries cannot be joined.

    Examples
    --------
    >>> by_site({" A": 1, 2: 3}, "sites", "(x, y)")
    {'A': 1, '2': 3}
    >>> by_site({"A": 1, "A ": 3}, "sites", "(x, y)")
    Traceback (most recent call last):
    ValueError: sites names 'A' and 'A ', which read as one hospital, 'A': join their entries, or rename one
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is a {type(given).__name__}: give a mapping of site name to {holds}")
    written: dict[str, Any] = {}
    for name in given:
        called = _site_name(name, what)
        if called in written:
            raise ValueError(
                f"{what} names {written[called]!r} and {name!r}, which read as one hospital, {called!r}: join their "
                "entries, or rename one"
            )
        written[called] = name
    if pairs := in_case_only(written):
        one, other = pairs[0]
        raise ValueError(
            f"{what} names {one!r} and {other!r}, which differ in small and capital letters alone: one hospital or "
            "two? Write one of them another way"
        )
    return {called: given[name] for called, name in written.items()}


def of_sites(given: Any, sites: Mapping[str, Any], what: str, holds: str) -> dict[str, Any]:
    """Return an entry for each site, or refuse a mapping that lacks one."""
    found = by_site(given, what, holds)
    for site in sites:
        if site not in found:
            there = ", ".join(map(repr, itertools.islice(found, SHOWN))) or "none"
            raise ValueError(f"{what} has no entry for site {site!r} (there are: {there}): give {holds} of every site")
    return found


def read_sites(
    sites: Any, bags: Any, groups: Mapping[str, ArrayLike] | None, *, task: Task | str | None = None
) -> Read:
    """Return each site's rows, in memory of their own but for :class:`~fedlab.federation.bags.Bags` that are given.

    Labels are class numbers, or what the task says that they are.
    """
    if bags is not None and sites is not None:
        raise ValueError("sites and bags= are both given: of a federation the rows are bags at every site, or at none")
    what, holds = ("sites", "(x, y)") if bags is None else ("bags=", "(bags, y)")
    given = by_site(sites if bags is None else bags, what, holds)
    read = _rows if bags is None else _bags
    if not given:
        raise ValueError("there are no sites")
    whose = None if groups is None else of_sites(groups, given, "groups=", "whose each row is")
    rows, columns, problems = {}, 0, Problems()
    for site, held in given.items():
        with problems:
            x, y, wide = _read_site(site, held, read, holds, task)
            group = np.arange(len(y)) if whose is None else _whose(whose[site], site, len(y))
            rows[site], columns = Examples(x, y, group), max(columns, wide)
    problems.raise_all()
    check_alike(rows)
    dtypes = {held.x.dtype for held in rows.values()}
    if len(dtypes) > 1 and bags is None:
        rows = {site: Examples(held.x.double(), held.y, held.group) for site, held in rows.items()}
    return Read(rows, columns)


def read_task(read: Read, task: Task | str | None = None) -> Task:
    """Return the task, by default of as many classes as the largest label says, or one-hot labels have columns.

    Raises
    ------
    TypeError
        If ``task`` is none.
    ValueError
        If no row of any site has one of the classes, if they are more than twenty, or if one-hot labels have more
        columns than the task has classes.
    """
    if task == "regression":
        return Regression.of(torch.cat([held.y for held in read.rows.values()]), name="quantity")
    if isinstance(task, Task) and not isinstance(task, Classification):
        return task
    if task is not None:
        if not isinstance(task, Task):
            given = repr(task) if isinstance(task, str) else f"a {type(task).__name__}"
            raise TypeError(
                f"task is {given}: give the names of the classes, Classification((…)), or of a measured quantity "
                '"regression"'
            )
        if read.columns > len(task.classes):
            raise ValueError(
                f"the one-hot labels have {read.columns} columns, and the task {len(task.classes)} classes "
                f"({', '.join(task.classes[:SHOWN])}): leave out a column, or name a class for each"
            )
        return task
    there = sorted({k for held in read.rows.values() for k in held.y.unique().tolist()})
    top = max([1, *there, read.columns - 1])
    absent = next(k for k in itertools.count() if k not in set(there)) if top > 1 else top + 1
    if absent <= top:
        hot = f" (the one-hot labels have {read.columns} columns)" if top == read.columns - 1 else ""
        raise ValueError(
            f"the labels are {_some(there)}, and no row has class {absent}{hot}: number the classes "
            "0, 1, …, or say what they are, task=Classification((…))"
        )
    if top >= MOST_CODES:
        raise ValueError(
            f"the labels have {top + 1} different values: a class label has at most {MOST_CODES}. If they are classes, "
            'say what they are, task=Classification((…)); of a measured quantity say task="regression"'
        )
    return Classification(tuple(str(k) for k in range(top + 1)))


def class_numbers(y: Tensor, site: str) -> Tensor:
    """Return the number of each row's class, int64 [n], of labels [n], [n, 1] or one-hot [n, classes].

    Raises
    ------
    ValueError
        For anything that is no class number: a share, a negative number, several classes of a row.

    Examples
    --------
    >>> [class_numbers(torch.tensor(y), "A").tolist() for y in ([[0, 1], [1, 0]], [1.0, 0.0], [[1], [0]])]
    [[1, 0], [1, 0], [1, 0]]
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2:
        if not (((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all()):
            raise ValueError(
                f"site {site!r} has labels of shape {list(y.shape)} that are not one-hot (one 1 in each row): give the "
                "number of each row's class, shape [n]"
            )
        return y.long().argmax(1)
    if y.ndim != 1:
        raise ValueError(f"site {site!r} has labels of shape {list(y.shape)}: give the number of each row's class, [n]")
    if y.is_floating_point():
        if empty := int(y.isnan().sum()):
            raise ValueError(_unlabelled(site, empty))
        odd = y[~(y == y.round()) | (y.abs() > 2**53)]
        if len(odd):
            raise ValueError(
                f"site {site!r} has the label {odd[0].item():g}, which is no class number: soft labels and measured "
                'quantities cannot be learnt as classes. Round them, or say task="regression"'
            )
    if len(y) and float(y.min()) < 0:
        raise ValueError(f"site {site!r} has the label {y.min().item():g}: classes are numbered 0, 1, …")
    return y.long()


def measured(y: Tensor, site: str, *, width: int = 1) -> Tensor:
    """Return what was measured of each row, float64 [n] of labels [n] or [n, 1], or [n, width] where it is several.

    Raises
    ------
    ValueError
        For another number of them a row, and missing or infinite ones.
    """
    if width == 1 and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if tuple(y.shape[1:]) != ((width,) if width > 1 else ()):
        give = f"{width} numbers a row, [n, {width}]" if width > 1 else "one quantity a row, [n]"
        raise ValueError(f"site {site!r} has labels of shape {list(y.shape)}: give {give}")
    if y.is_floating_point() and (empty := int(y.isnan().reshape(len(y), -1).any(1).sum())):
        raise ValueError(_unlabelled(site, empty))
    if not bool(y.double().isfinite().all()):
        raise ValueError(f"site {site!r} has infinite labels: leave those rows out, or correct them")
    return y.double()


def _site_name(name: Any, what: str) -> str:
    """Return how a site is called: a text in one form, without blanks around it; a whole number as a text."""
    is_number = not isinstance(name, bool) and isinstance(name, numbers.Real) and float(name).is_integer()
    if not isinstance(name, str) and not is_number:
        raise ValueError(f"{what} names a hospital {name!r}, a {type(name).__name__}: give it a name, a text")
    if isinstance(name, str):
        printable(name, "site name")
    called = word(name)
    if not called:
        raise ValueError(f"{what} names a hospital {name!r}: give it a name that can be read")
    return called


def _read_site(
    site: str, held: Any, read: Callable[[Any, str], Tensor], holds: str, task: Task | str | None
) -> tuple[Tensor, Tensor, int]:
    """Return a site's rows, their labels, and how many columns its one-hot labels have."""
    if not isinstance(held, Sequence) or isinstance(held, (str, bytes)) or len(held) != 2:
        raise ValueError(f"site {site!r} is given as a {type(held).__name__}: give its rows and their labels, {holds}")
    x, y = read(held[0], site), _labels(held[1], site)
    classes = task != "regression" and (not isinstance(task, Task) or isinstance(task, Classification))
    width = task.width if isinstance(task, Task) else 1
    labels = class_numbers(y, site) if classes else measured(y, site, width=width)
    if len(x) != len(labels):
        raise ValueError(f"site {site!r} has {len(x)} rows in x and {len(labels)} labels in y: give one label a row")
    return x, labels, y.shape[1] if y.ndim == 2 and y.shape[1] > 1 and classes else 0


def _bags(given: Any, site: str) -> Any:
    """Return bags, each [instances, width]: those of a list copied, ``Bags`` as they are."""
    if isinstance(given, Bags):
        return given
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise ValueError(
            f"site {site!r} has bags that are a {type(given).__name__}: give a list of them, each [instances, width], "
            "or Bags(flat, offsets); of a padded tensor and its mask, Bags.where(x, mask)"
        )
    with _naming(site):
        return Bags.of([_tensor(bag, f"site {site!r} has a bag", "give floats") for bag in given])


@contextmanager
def _naming(site: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if str(error).startswith("site "):
            raise
        raise ValueError(f"site {site!r}: {error}") from None


def _rows(given: Any, site: str) -> Tensor:
    """Return what was measured, in floats (double where float32 has too few digits), or pictures of bytes."""
    if isinstance(given, Bags):
        raise ValueError(f"site {site!r} has bags: give those of every site as bags={{name: (bags, y)}}")
    where = f"site {site!r} has x"
    if _masked(given).any():
        given = given.astype(np.float64).filled(np.nan)
    x = _tensor(given, where, f"give floats, nan where nothing was measured, {TABLE}")
    if x.ndim < 2 or not x.shape[1:].numel():
        raise ValueError(
            f"{where} of shape {list(x.shape)}: give [rows, features]"
            + (", a single feature as x.reshape(-1, 1)" if x.ndim == 1 else "")
        )
    if x.is_floating_point() or (x.dtype == torch.uint8 and x.ndim > 2):
        return x
    for floats in (x.float(), x.double()):
        if bool((floats.to(x.dtype) == x).all()):
            return floats
    raise ValueError(
        f"{where} with whole numbers of more than 2**53, which floats do not hold: two of them could become one. Are "
        "they identifiers? Leave them out"
    )


def _labels(given: Any, site: str) -> Tensor:
    """Return the labels as they are, numbers."""
    where, number = f"site {site!r} has y", f"number the classes 0, 1, …, {TABLE}"
    if isinstance(given, Tensor):
        return _tensor(given, where, number)
    labels = _array(given, where, number)
    if empty := int((np.asarray(pd.isna(labels)) | _masked(given)).sum()):
        raise ValueError(_unlabelled(site, empty))
    return _numbers(labels, where, number)


def _masked(given: Any) -> NDArray[np.bool_]:
    """Return which cells of a masked array count as not there; none of anything else."""
    return np.ma.getmaskarray(given) if isinstance(given, np.ma.MaskedArray) else np.zeros((), dtype=np.bool_)


def _unlabelled(site: str, empty: int) -> str:
    rows = "1 row" if empty == 1 else f"{empty} rows"
    return f"site {site!r} has no label in {rows} of y: leave those rows out, or have them labelled"


def _array(given: Any, where: str, remedy: str) -> NDArray[Any]:
    """Return an array of its own memory."""
    if isinstance(given, Tensor):
        given = given.detach().cpu().numpy()
    try:
        return np.array(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{where} that is no array of numbers ({error}): {remedy}") from error


def _tensor(given: Any, where: str, remedy: str) -> Tensor:
    """Return a tensor of numbers that shares no memory with what was given, or refuse what holds something else."""
    if not isinstance(given, Tensor):
        return _numbers(_array(given, where, remedy), where, remedy)
    if given.is_complex():
        raise ValueError(f"{where} of complex numbers: give what is measured, e.g. .abs(), or .real and .imag apart")
    if given.is_nested or given.is_quantized or given.is_meta:
        raise ValueError(f"{where} that is no plain tensor: {remedy}")
    plain = given.detach().cpu()
    plain = plain.clone() if plain.layout == torch.strided else plain.to_dense()
    unsigned = plain.dtype in (torch.uint16, torch.uint32, torch.uint64)
    if unsigned:
        return _numbers(plain.numpy(), where, remedy)
    short = plain.is_floating_point() and plain.dtype not in (torch.float16, torch.float32, torch.float64)
    return plain.float() if short else plain


def _numbers(array: NDArray[Any], where: str, remedy: str) -> Tensor:
    """Return an array as a tensor, of a dtype that torch can calculate with."""
    kind = array.dtype.kind
    if kind == "c":
        raise ValueError(f"{where} of complex numbers: give what is measured, e.g. np.abs, or .real and .imag apart")
    if kind not in "biuf":
        called = {"O": "objects", "U": "texts", "S": "texts", "T": "texts", "M": "dates", "m": "durations"}
        raise ValueError(f"{where} of {called.get(kind, str(array.dtype))}, not of numbers: {remedy}")
    if kind == "u" and array.dtype.itemsize > 1:
        if array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise ValueError(f"{where} with the number {array.max()}, which is too large to be kept: {remedy}")
        array = array.astype(np.int64)
    if kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape))


def _whose(given: Any, site: str, rows: int) -> NDArray[Any]:
    """Return whose row each is; a text without blanks around it."""
    remedy = "say whose each row is, one number or text a row"
    whose = _array(given, f"groups={site!r} holds something", remedy)
    if whose.shape != (rows,):
        raise ValueError(
            f"groups={site!r} has shape {list(whose.shape)} for the {rows} rows of site {site!r}: {remedy}"
        )
    # an array of a list of texts and None or nan has the texts 'None' and 'nan': what is missing is asked of the cells
    each = np.fromiter(given, dtype=object, count=rows) if isinstance(given, Sequence) else whose
    nobody = np.asarray(pd.isna(each)) | _masked(given)
    if whose.dtype.kind in "OUST":
        nobody = nobody | np.array([isinstance(who, (str, bytes)) and not who.strip() for who in each.tolist()], bool)
    if nobody.any():
        count = int(nobody.sum())
        raise ValueError(
            f"groups={site!r} has {count} row{'s' if count > 1 else ''} of nobody: say whose each row is, or leave "
            f"{'them' if count > 1 else 'it'} out"
        )
    return np.array([text(who) for who in whose.tolist()], dtype=str) if whose.dtype.kind in "OUT" else whose


def _some(labels: Sequence[int]) -> str:
    return ", ".join(map(str, labels[:SHOWN])) + (", …" if len(labels) > SHOWN else "")
