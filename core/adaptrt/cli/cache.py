"""``adaptrt cache``: results of earlier conversions and builds."""

from __future__ import annotations

import re
from typing import Any

import click

from adaptrt.cli.framework import Command, LazyGroup, general_options, option
from adaptrt.cli.output import echo
from adaptrt.specs.commands import Command as Declared

_TITLE = "Commands"

LS_EXAMPLES = (("adaptrt cache ls", "list cached results, most recently used first"),)
PRUNE_EXAMPLES = (
    ("adaptrt cache prune", "remove everything except timing caches"),
    ("adaptrt cache prune --older-than 30d --timing", "remove results not used for 30 days, including timing caches"),
    ("adaptrt cache prune --max-size 5G", "keep the 5 GiB used most recently"),
)
_AGE = re.compile(r"(\d+)\s*([dhm])")
_SECONDS = {"d": 86400, "h": 3600, "m": 60}


@click.group(
    "cache",
    cls=LazyGroup,
    declared=(
        Declared(name="ls", target="adaptrt.cli.cache:ls", summary="List cached results.", section=_TITLE),
        Declared(name="prune", target="adaptrt.cli.cache:prune", summary="Remove cached results.", section=_TITLE),
    ),
)
def cache() -> None:
    """Manage cached files, engines and kernel timings."""


@click.command("ls", cls=Command, examples=LS_EXAMPLES)
@general_options
def ls(verbose: int, quiet: bool, as_json: bool) -> None:
    """List cached results, most recently used first."""
    from adaptrt.quantities import file_size

    content = _content()
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json(content)
        return
    if quiet:
        return
    for entry in content["entries"]:
        echo(f"{entry['used']}  {file_size(entry['bytes']):>9}  {entry['kind']:<10}  {entry['title']}")
        if verbose:
            echo(f"    {entry['key']}: {', '.join(entry['files'])}")
    for timing in content["timing"]:
        echo(f"{timing['used']}  {file_size(timing['bytes']):>9}  {'timings':<10}  {timing['title']}")
    total = file_size(content["bytes"])
    echo(f"{len(content['entries'])} results, {len(content['timing'])} timing caches, {total} in {content['folder']}")


@click.command("prune", cls=Command, examples=PRUNE_EXAMPLES)
@option("--older-than", metavar="AGE", help="Remove only results not used for this long: 30d, 12h, 10m.")
@option("--max-size", metavar="SIZE", help="Keep the most recently used, up to this size: 5G, 500M.")
@option("--timing", is_flag=True, help="Also remove timing caches; later builds measure again.")
@general_options
def prune(older_than: str | None, max_size: str | None, timing: bool, verbose: int, quiet: bool, as_json: bool) -> None:
    """Remove cached results: all, or those not used recently."""
    from adaptrt.quantities import file_size
    from adaptrt.specs import parse_workspace
    from adaptrt.store.cache import Store, default_timing_folder

    age = _age(older_than) if older_than is not None else None
    limit = parse_workspace(max_size, "--max-size") if max_size is not None else (0 if age is None else 1 << 62)
    store = Store()
    before = store.entries()
    entries, size = store.prune(limit, age)
    timings = list(default_timing_folder().glob("*.cache")) if timing else []
    for path in timings:
        size += path.stat().st_size
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json({"entries": entries, "timing": len(timings), "bytes": size, "folder": str(store.folder)})
    elif not quiet:
        for entry in before if verbose else ():
            if store.find(entry.key) is None:
                echo(f"  {entry.kind}  {entry.title}")
        echo(f"{entries} results and {len(timings)} timing caches removed, {file_size(size)} freed.")


def _content() -> dict[str, Any]:
    import datetime

    from adaptrt.store.cache import Store, default_timing_folder

    def day(seconds: float) -> str:
        return datetime.datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="minutes")

    store = Store()
    timing = [
        {"title": path.stem, "bytes": path.stat().st_size, "used": day(path.stat().st_mtime)}
        for path in sorted(default_timing_folder().glob("*.cache"))
    ]
    return {
        "folder": str(store.folder),
        "bytes": store.size() + sum(int(str(one["bytes"])) for one in timing),
        "entries": [
            {
                "key": entry.key,
                "kind": entry.kind,
                "title": entry.title,
                "files": list(entry.files),
                "bytes": entry.bytes,
                "created": day(entry.created),
                "used": day(entry.used),
            }
            for entry in store.entries()
        ],
        "timing": timing,
    }


def _age(text: str) -> float:
    from adaptrt.errors import UsageError

    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"Invalid value for --older-than: {text!r}.", hint="For example: 30d, 12h or 10m.")
    return int(match[1]) * _SECONDS[match[2]]
