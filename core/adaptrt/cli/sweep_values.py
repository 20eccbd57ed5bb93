"""Whether the conversions of a sweep accept their options, before the first of them runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import click

from adaptrt.cli.bench import bench
from adaptrt.cli.config_file import use_options
from adaptrt.cli.convert import convert
from adaptrt.cli.given import read_given
from adaptrt.cli.request import request_from_flags
from adaptrt.errors import AdaptrtError, UsageError

if TYPE_CHECKING:
    from adaptrt.sweep.bench import BenchPlan
    from adaptrt.sweep.plan import Cell


def require_values(cells: Sequence[Cell], words: Mapping[str, Sequence[str]], file: str) -> None:
    """Reject a model, and a value of an axis, that no conversion accepts. Of values that only conflict, other combinations run.

    ``words``: further arguments by conversion.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        for key in (("", cell.model), *cell.values.items()):
            groups.setdefault(key, []).append(cell)
    by_name = {cell.name: cell for cell in cells}
    rejection = cache(lambda name: _rejection(by_name[name], words[name], f"{file}: {name}"))
    for group in groups.values():
        first = rejection(group[0].name)
        if first is not None and all(rejection(cell.name) is not None for cell in group):
            raise first


def require_bench_values(plan: BenchPlan, file: str) -> None:
    """Reject a value that ``adaptrt bench`` does not accept."""
    with _naming(f"{file}: [bench]", bench):
        bench.make_context("bench", ["converted.onnx", *plan.words, "-q"])


def _rejection(cell: Cell, words: Sequence[str], where: str) -> UsageError | None:
    """Why ``adaptrt convert`` would end at once; ``None`` if it would begin."""
    ctx, given = click.Context(convert, info_name="convert"), [*words, "-q"]
    try:
        with ctx, _naming(where, convert):
            read_given(ctx, convert, given)
            use_options(ctx, cell.options, where)
            convert.parse_args(ctx, given)
            request_from_flags({**ctx.params, "adapter": ctx.params["adapter"] or ""}, command="")
    except UsageError as error:
        return error
    except AdaptrtError:  # such as a broken plugin
        return None
    return None


@contextmanager
def _naming(where: str, command: click.Command) -> Iterator[None]:
    """Errors with the place of the option."""
    try:
        yield
    except click.UsageError as error:
        raise UsageError(f"{where}: {error.format_message()}", hint=f"See: adaptrt {command.name} --help") from error
    except UsageError as error:
        if not error.message.startswith(where):
            error.message = f"{where}: {error.message}"
        raise
