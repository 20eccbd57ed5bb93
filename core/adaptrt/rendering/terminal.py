"""A report on the terminal: one table of checks, the files, and the next commands to run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from adaptrt.errors import in_shell
from adaptrt.quantities import duration, file_size
from adaptrt.rendering.findings import print_findings
from adaptrt.rendering.formatting import (
    SHORT_LINKS,
    display_path,
    image_input,
    limit_text,
    missing_of,
    value_text,
    verdict,
    verdict_word,
    worst,
)
from adaptrt.rendering.printable import UNPRINTABLE, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import ConsoleOptions

    from adaptrt.report import Check, Link, Report

_LONG_NAME = 45  # of 80 columns, beside the size and the verdict
VERDICT_STYLES = {"verified": "bold green", "partly verified": "bold yellow", "not verified": "bold"}
_COLORS = {"passed": "green", "failed": "red", "not run": "dim"}


class PrintableConsole(Console):
    """A console that escapes control characters in text; rich's own codes (colors, the cursor of live bars) stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or not UNPRINTABLE.search(segment.text):
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def stdout_console() -> Console:
    return PrintableConsole(file=sys.stdout, highlight=False, soft_wrap=False)


def stderr_console() -> Console:
    return PrintableConsole(file=sys.stderr, highlight=False, soft_wrap=False)


def print_summary(console: Console, report: Report, *, verbose: bool = False, image: Path | None = None) -> None:
    """The summary of a successful conversion."""
    console.print()
    if report.cached:
        console.print(Text(f"From the cache: an identical conversion ran on {report.cached}.", style="bold"))
        console.print()
    console.print(checks_table(report, every=verbose))
    console.print()
    console.print(Text(verdict(report), style=VERDICT_STYLES[verdict_word(report)]))
    for reason in missing_of(report):
        console.print(Text(f"  missing: {reason}"))
    if taken := image_input(report.spec):
        console.print(Text(taken, style="dim"))
    for built in report.artifacts:
        if built.summary:
            console.print(Text(f"{built.name}: {built.summary}", style="dim"))
    console.print(Text(_time_spent(report), style="dim"))
    print_graph_check(console, report, every=verbose)
    if verbose:
        console.print(Group(*_changes(report)))
    console.print()
    console.print(files_table(report))
    commands = next_commands(report, image)
    if commands:
        console.print()
        console.print(Text("Next", style="bold"))
    for command in commands:
        console.print(Text(f"  {command}"), soft_wrap=True)


def print_graph_check(console: Console, report: Report, *, every: bool = False) -> None:
    """The findings in the model's code, if any."""
    shown = [finding for finding in report.findings if every or finding.severity != "info"]
    if shown:
        console.print()
        console.print(Text("In the model's code", style="bold"))
        print_findings(console, shown, hidden=len(report.findings) - len(shown))


def checks_table(report: Report, *, every: bool = False) -> Table:
    """Each link with its worst check, or with each of its checks, in a separate row below it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    table.add_column("link and worst check" if not every else "link and checks", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    for link in report.links:
        style = "dim" if link.status == "not run" else ""
        name = Text(f"{link.number} {SHORT_LINKS.get(link.number, link.name)}", style=style)
        table.add_row(name, Text(link.status, style=_COLORS[link.status]), "", "")
        checks = link.checks if every else [check for check in [worst(link)] if check is not None]
        if not checks:
            table.add_row(_indented(Text(link.reason, style="dim")), "", "", "")
        for check in checks:
            name, *cells = _check_cells(check, link, every)
            table.add_row(_indented(name), "", *cells)
    return table


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2))


def _check_cells(check: Check, link: Link, every: bool) -> tuple[Text, Text, Text]:
    color = "" if check.passed else "red"
    name = Text(check.title, style=color)
    if not every and len(link.checks) > 1:
        name.append(f" (of {len(link.checks)})", style="dim")
    return name, Text(value_text(check), style=color), Text(limit_text(check), style="dim")


def _time_spent(report: Report) -> str:
    proof = sum(stage.seconds for stage in report.stages if stage.verifying)
    text = f"Converted in {duration(report.seconds - proof)}"
    return f"{text}, verified in {duration(proof)}." if proof else f"{text}."


def _changes(report: Report) -> list[RenderableType]:
    """Patches and passes, for ``-v``."""
    tables: list[RenderableType] = []
    if report.patches:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("patch", "calls", "reason"):
            table.add_column(title, overflow="fold")
        for patch in report.patches:
            table.add_row(Text(patch.target), str(patch.calls), Text(patch.reason, style="dim"))
        tables += [Text(), table]
    if report.passes:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("graph pass", "nodes", "reason"):
            table.add_column(title, overflow="fold")
        for record in report.passes:
            nodes = f"{record.nodes_before} → {record.nodes_after}"
            table.add_row(Text(record.name), nodes, Text(record.note or record.reason, style="dim"))
        tables += [Text(), table]
    return tables


def files_table(report: Report) -> Table:
    """What was written, with sizes."""
    table = Table(box=None, pad_edge=False, show_header=False)
    paths = [display_path(record.path) for record in report.files.values()] + list(map(display_path, report.reports))
    # a name is in one piece, to be copied: rather the hash, which reports have too, is cut off; a longer path is folded
    table.add_column(overflow="fold", no_wrap=max(map(len, paths), default=0) <= _LONG_NAME)
    table.add_column(justify="right", no_wrap=True, style="cyan")
    table.add_column(no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    for record in report.files.values():
        word = record.verdict.word if record.verdict is not None else ""
        table.add_row(
            Text(display_path(record.path)),
            file_size(record.bytes),
            Text(word, style=VERDICT_STYLES.get(word, "")),
            Text(f"sha256 {record.sha256[:12]}", no_wrap=True, overflow="ellipsis"),
        )
    for path in map(Path, report.reports):
        table.add_row(Text(display_path(path)), file_size(path.stat().st_size), "", "")
    return table


def next_commands(report: Report, image: Path | None) -> list[str]:
    """What to run now, ready to paste."""
    verified = [one.name for one in report.artifacts if one.status == "passed"]
    kinds = (*verified, "onnx", "reduced", *(one.name for one in report.artifacts))
    written = next((report.files[kind] for kind in kinds if kind in report.files), None)
    if written is None:
        return []
    name = in_shell(display_path(written.path))
    commands = [f"adaptrt inspect {name}"]
    if written.runs and report.spec is not None and report.spec.image is not None:
        commands.insert(0, f"adaptrt predict {name} {in_shell(display_path(image)) if image else 'image.jpg'}")
    return commands
