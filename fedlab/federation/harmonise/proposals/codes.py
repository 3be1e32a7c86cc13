"""Another code book, or the same codes in another order: which mapping fits what else is known of the patients."""

from __future__ import annotations

from itertools import pairwise

from fedlab.federation.harmonise.changes import Change
from fedlab.federation.harmonise.proposals.alike import direction, fit, why
from fedlab.federation.harmonise.proposals.column import CERTAIN, Column, Found, Proposal, Question, Undecided
from fedlab.federation.harmonise.proposals.mapping import MOST, in_order, weigh
from fedlab.federation.harmonise.summaries import SENTINELS

MEANINGS = (
    {"m", "male", "man", "männlich", "masculin", "h"},
    {"f", "female", "woman", "w", "weiblich", "féminin"},
    {"yes", "y", "true", "t", "ja", "oui", "positive", "pos"},
    {"no", "n", "false", "nein", "non", "negative", "neg"},
)
SWAPPED = 0.03  # columns whose codes are in another order, before anything is seen
TURNED = 4.0  # logarithm: how much better another order fits what differs between the codes
IN_ORDER = 0.6  # code books that keep the order of the other one
Book = dict[str, str]
ODD = frozenset(f"{v:g}" for v in SENTINELS if v != 0 and v != 9)


def find(column: Column) -> Found:
    """Find sites with another code book or order, as agreed or as most have it."""
    if column.kind != "category":
        return []
    levels = {s: [v for v in column.levels(s) if v not in ODD or _agreed(column, v)] for s in column.told}
    levels = {s: sorted(v, key=_natural) for s, v in levels.items() if v}
    same, known, tie = _book(column, levels)
    if tie:
        why = f"as many sites have other codes ({', '.join(levels[same[0]])} at {same[0]}): "
        return [Undecided(s, column.name, why + "a data dictionary tells which are meant")
                for s in levels if s not in same]  # fmt: skip
    found: Found = []
    for site in (s for s in levels if s not in same):
        own = levels[site]
        if len(own) > len(known) and {*own} - {*known} in ({"0"}, {"9"}):
            found.append(Undecided(site, column.name, "one code more than elsewhere: a code, or 'not measured'?"))
        elif (done := _other_book(column, site, own, known, same)) is not None:
            found.append(done)
    return found + _orders(column, {s: [v for v in levels[s] if v in known] for s in same}, known)


def _orders(column: Column, own: dict[str, list[str]], known: list[str]) -> Found:
    """Find the site whose order is the surest to be another one, then judge the rest without it."""
    left = dict(own)
    found: Found = []
    while True:
        each = {s: _order(column, s, left[s], known, [p for p in left if p != s]) for s in left}
        sure = {s: done for s, done in each.items() if isinstance(done, Proposal)}
        if not sure:
            break
        first = max(sure, key=lambda s: sure[s].confidence)
        found.append(sure[first])
        del left[first]
    return found + [done for done in each.values() if done is not None]


def _agreed(column: Column, level: str) -> bool:
    return column.entry is not None and level in (column.entry.codes or {})


def _coded(book: list[str]) -> bool:
    """Tell whether a book consists of numbers or single letters; words are other categories, not another book."""
    return all(len(code) == 1 or _natural(code)[0] == 0 for code in book)


def _natural(level: str) -> tuple[int, float, str]:
    try:
        return 0, float(level), level
    except ValueError:
        return 1, 0.0, level


def _book(column: Column, levels: dict[str, list[str]]) -> tuple[list[str], list[str], bool]:
    """Return the sites that use the agreed codes (else the most common ones), the codes, and whether nobody can say."""
    if column.entry is not None and column.entry.codes:
        known = list(column.entry.codes)
        return [s for s, own in levels.items() if _shared(own, known) > 0.5], known, False
    books: list[list[str]] = []
    for site, own in levels.items():
        mates = next((book for book in books if _shared(own, levels[book[0]]) > 0.5), None)
        mates.append(site) if mates is not None else books.append([site])
    books.sort(key=len, reverse=True)
    if not books:
        return [], [], False
    known = sorted({level for site in books[0] for level in levels[site]}, key=_natural)
    return books[0], known, len(books) > 1 and len(books[1]) == len(books[0])


def _shared(own: list[str], known: list[str]) -> float:
    return len({*own} & {*known}) / min(len(own), len(known))


def _other_book(
    column: Column, site: str, own: list[str], known: list[str], peers: list[str]
) -> Proposal | Question | Undecided | None:
    """Propose the likeliest mapping into the known codes, if it is much likelier than any other."""
    if len(own) > len(known):
        return Undecided(site, column.name, f"{len(own)} codes ({', '.join(own)}) where {len(known)} are known")
    spelled = _by_meaning(column, own, known)
    if spelled is not None and set(spelled) <= set(known):
        return None  # the same codes, of which few are met here
    if spelled is not None:
        return Proposal(Change(site, column.name, "codes", {"map": spelled}), "the same words, spelled otherwise", 0.98)
    if len(own) < 2 or not (_coded(own) or _coded(known)):
        where = "is at no other site: other patients, or another code? A data dictionary tells"
        where = where if column.entry is None else "is not among the codes agreed"
        return Undecided(site, column.name, f"{', '.join(own)} {where}")
    if len(known) > MOST:
        return Undecided(site, column.name, f"other codes ({', '.join(own)}), too many to weigh every mapping")
    kept = in_order(len(own), len(known))
    weighed = weigh(fit(column, site, own, known, peers), dict.fromkeys(kept, IN_ORDER / len(kept)))
    best = [known[k] for k in weighed.best]
    change = Change(site, column.name, "codes", {"map": dict(zip(own, best, strict=True))})
    evidence = f"codes {', '.join(own)} where the others have {', '.join(known)}; {why(column, site, own, best, peers)}"
    if weighed.share >= CERTAIN and not {*own} & {*known}:  # codes in common: other patients of the same book
        return Proposal(change, evidence, weighed.share)
    ask = f"Ask {site} what its codes {', '.join(own)} of {column.name!r} mean: another mapping fits about as well"
    return Question(site, column.name, (change, None), ask, evidence)


def _order(
    column: Column, site: str, own: list[str], known: list[str], peers: list[str]
) -> Proposal | Question | Undecided | None:
    """Propose to permute a site's codes where its own order fits far less well than others do."""
    if len(own) < 2 or len(known) > MOST or not peers:
        return None
    names = own + [code for code in known if code not in own]  # so that the identity is 0, 1, 2, …
    backwards = tuple(names.index(known[-1 - known.index(code)]) for code in own)
    prior = {tuple(range(len(own))): 1 - SWAPPED, backwards: SWAPPED / 2}
    weighed = weigh(fit(column, site, own, names, peers), prior)
    if weighed.stays > 0.5:
        return None
    best = [names[k] for k in weighed.best]
    book = (
        dict(zip(known, reversed(known), strict=True))
        if weighed.best == backwards
        else dict(zip(own, best, strict=True))
    )
    change = Change(site, column.name, "order" if len(known) > 2 else "codes", {"map": book})
    evidence = why(column, site, own, best, peers)
    if len(peers) < 2:
        return Undecided(
            site,
            column.name,
            f"{change.words} would make two sites agree ({evidence}): nobody can say who is to change",
        )
    if weighed.best == tuple(range(len(own))):
        why_not = "another order of its codes is likelier than none, but no single one is: ask what they mean"
        return Undecided(site, column.name, f"{why_not} ({evidence})")
    turned = direction(column, site, own, names, peers, weighed.best)
    rising = all(_natural(a) < _natural(b) for a, b in pairwise(book[code] for code in own if code in book))
    if rising and len(own) > 2:
        return None  # the order is as agreed: more of them are frail, or fewer
    unsure = [code for code, share in zip(own, weighed.each, strict=True) if share < CERTAIN]
    if unsure or 1 - weighed.stays < CERTAIN or turned < TURNED:  # other patients explain that too
        ask = f"Ask {site} what its codes {', '.join(own)} of {column.name!r} mean: those agreed, or in another order?"
        doubt = f"; if another order it is, of {', '.join(unsure)} it is unsure which is which" if unsure else ""
        return Question(site, column.name, (change, None), ask, evidence + doubt)
    return Proposal(change, evidence, 1 - weighed.stays)


def _by_meaning(column: Column, own: list[str], known: list[str]) -> Book | None:
    """Map codes of the same meaning; None unless all find one."""
    told = (column.entry.codes or {}) if column.entry is not None else {}

    def words(code: str) -> set[str]:
        here = {code.lower(), told.get(code, code).lower()}
        return here | set().union(*(m for m in MEANINGS if here & m))

    book = {code: [k for k in known if words(code) & words(k)] for code in own}
    if any(len(found) != 1 for found in book.values()) or len({f[0] for f in book.values()}) < len(own):
        return None
    return {code: found[0] for code, found in book.items()}
