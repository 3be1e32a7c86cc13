"""``fedlab fetch``: one file after the other, and one that fails keeps none of the others."""

from __future__ import annotations

import typer

from fedlab.cli.wrong import Wrong


def bring(names: list[str]) -> list[str]:
    """Fetch the files of these recipes (none named: of all); print one line a file.

    Returns
    -------
    list of str
        Which ones failed, as ``recipe/file``.
    """
    import data_recipes
    from data_recipes import files

    known = data_recipes.recipes()
    for name in names:
        need(name, list(known))
    failed = []
    for name in dict.fromkeys(names) or known:
        for part in [[file] for file in known[name].FILES] or [[]]:
            try:
                for step in files.fetch(name, part):
                    typer.echo(str(step))
            except (ValueError, OSError) as error:
                typer.secho(f"{name}: {error}", err=True, fg="red")
                failed.append(f"{name}/{part[0].name}" if part else name)
    return failed


def need(name: str, known: list[str]) -> None:
    """Refuse a recipe that there is not."""
    if name not in known:
        from difflib import get_close_matches

        near = get_close_matches(name, known, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise Wrong(f"there is no recipe {name!r}{meant}; the recipes are {', '.join(known)}.")
