"""``adaptrt sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, complete_files, general_options, option
from adaptrt.cli.output import echo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.specs.executors import RunsCommands
    from adaptrt.sweep.plan import Cell

PLAN, RUN = "Plan", "Execution"

EXAMPLES = (
    ("adaptrt sweep sweep.toml -o sweep/ --jobs 2", "two conversions at a time; sweep/index.html shows all results"),
    ("adaptrt sweep sweep.toml -o sweep/ --jobs 2", "repeat the command to resume after an interruption"),
    (
        "adaptrt sweep sweep.toml -o sweep/ --gpus 0,1 --memory 8",
        "one conversion on each GPU, with 8 GB available to each",
    ),
    ("adaptrt sweep sweep.toml --executor ray --address auto --jobs 16", "on a Ray cluster; requires adaptrt-ray"),
    ("adaptrt sweep sweep.toml --dry-run", "list the conversions"),
)


@click.command("sweep", cls=Command, examples=EXAMPLES)
@click.argument("file", metavar="SWEEP.toml", shell_complete=complete_files)
@option("-o", "--output", metavar="DIR", default="sweep", show_default=True, section=PLAN, help="Folder of the results: one folder for each conversion, and index.html.")  # fmt: skip
@option("--dry-run", is_flag=True, section=PLAN, help="List the conversions, and run none.")
@option("--code", metavar="VALUE", multiple=True, section=PLAN, help="Allow a value in the file that names code: repeat it here, such as net.py:Net.")  # fmt: skip
@option("--jobs", type=click.IntRange(min=1), metavar="N", default=1, show_default=True, section=RUN, help="Conversions at a time.")  # fmt: skip
@option("--memory", type=click.FloatRange(min=0), metavar="GB", default=0.0, section=RUN, help="Start another conversion only if this much memory is available.")  # fmt: skip
@option("--gpus", metavar="LIST", default="", section=RUN, help="GPUs to use, one for each conversion at a time: 0,1.")
@option("--executor", metavar="NAME", default="processes", show_default=True, section=RUN, help="Where to run the conversions: processes, or ray (adaptrt-ray).")  # fmt: skip
@option("--executor-set", "executor_pairs", metavar="KEY=VALUE", multiple=True, section=RUN, help="An option of the executor.")  # fmt: skip
@option("--address", metavar="ADDRESS", section=RUN, help="Short for --executor-set address=ADDRESS: the cluster to run on.")  # fmt: skip
@option("--retry-failed", is_flag=True, section=RUN, help="Also rerun failed conversions.")
@general_options
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    file: str,
    output: str,
    dry_run: bool,
    code: tuple[str, ...],
    jobs: int,
    memory: float,
    gpus: str,
    executor: str,
    executor_pairs: tuple[str, ...],
    address: str | None,
    retry_failed: bool,
    quiet: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Run every conversion that a file describes, each in a separate process with a log, and compare the results.

    The file has [options] of adaptrt convert, [[models]] with a source each, [axes]: lists of values for options, of which every
    combination runs, and [bench]: options of adaptrt bench, to measure latency afterwards. If repeated, the command runs only
    conversions that have no result or have changed. The exit code is 9 if any failed.
    """
    from adaptrt.cli.output import echo_json
    from adaptrt.cli.sweep_values import require_bench_values, require_values
    from adaptrt.conversion_file import read_conversion
    from adaptrt.errors import VerificationError, in_shell
    from adaptrt.rendering.sweeps import sweep_table, write_sweep
    from adaptrt.specs.executors import CommandLimits
    from adaptrt.sweep.bench import bench_of
    from adaptrt.sweep.plan import PAGE, cells_of
    from adaptrt.sweep.run import LOG, SweepRequest, run_sweep
    from adaptrt.sweep.table import rows_of

    content = read_conversion(
        Path(file), "adaptrt sweep takes a TOML file of models and options.", '[[models]], then source = "best.pt"'
    )
    cells = cells_of(content, file)
    bench = bench_of(content, file)
    chosen, own = _executor(executor, (*executor_pairs, *([f"address={address}"] if address else [])))
    _require_known(cells, file)
    words = {cell.name: _repeated_code(cell, code, file) for cell in cells}
    require_values(cells, words, file)
    if bench is not None:
        require_bench_values(bench, file)
    if dry_run:
        if as_json:
            echo_json({"conversions": [{"name": cell.name, "options": dict(cell.options)} for cell in cells]})
        else:
            for cell in cells:
                echo(cell.name)
        return
    request = SweepRequest(
        cells=cells,
        output=Path(output),
        limits=CommandLimits(
            jobs=jobs,
            memory=round(memory * 1e9),
            gpus=tuple(word.strip() for word in gpus.split(",") if word.strip()),
        ),
        executor=chosen,
        own=own,
        bench=bench,
        retry_failed=retry_failed,
        words=words,
        progress=(lambda _: None) if quiet else lambda text: echo(text, err=True),
    )
    rows = rows_of(run_sweep(request))
    write_sweep(rows, Path(output) / PAGE, Path(file).name)
    if as_json:
        echo_json({"conversions": [vars(row) for row in rows]})
    elif not quiet:
        from adaptrt.rendering.terminal import stdout_console

        stdout_console().print(sweep_table(rows))
        echo(f"Written: {Path(output) / PAGE}")
    failed = [row for row in rows if row.status == "failed"]
    if failed:
        echo(f"{len(failed)} of {len(rows)} conversions failed: {failed[0].name}: {failed[0].text}", err=True)
        log = Path(output) / failed[0].name / LOG
        echo(f"--retry-failed runs them again. To see the log: cat {in_shell(log)}", err=True)
        ctx.exit(VerificationError.exit_code)


def _executor(name: str, pairs: Sequence[str]) -> tuple[RunsCommands, Any]:
    """The executor, if it runs commands, and its options."""
    from adaptrt.cli.running_flags import own_options
    from adaptrt.errors import UsageError
    from adaptrt.options import parse_pairs
    from adaptrt.specs.executors import EXECUTORS, RunsCommands

    chosen = EXECUTORS.find(name)
    if not isinstance(chosen, RunsCommands):
        raise UsageError(f"The executor {name!r} runs images only.", hint="Omit --executor, or use processes or ray.")
    return chosen, own_options(name, chosen.options, parse_pairs(pairs))


def _require_known(cells: Sequence[Cell], file: str) -> None:
    """Reject an unknown option here, before every conversion does."""
    from adaptrt.cli.config_file import options_by_name
    from adaptrt.cli.convert import convert
    from adaptrt.errors import UsageError, did_you_mean
    from adaptrt.toml_lines import place_of

    known = options_by_name(convert)
    unknown = next((key for cell in cells for key in cell.options if key not in known), None)
    if unknown is not None:
        raise UsageError(
            f"{place_of(file, unknown)}: unknown key {unknown!r}.", hint=did_you_mean(unknown, list(known))
        )


def _repeated_code(cell: Cell, code: Sequence[str], file: str) -> list[str]:
    """What the command line of a conversion has to name again; a ``UsageError`` if ``--code`` does not."""
    from adaptrt.conversion_file import code_in
    from adaptrt.errors import UsageError
    from adaptrt.toml_lines import place_of

    words = []
    for name, value in code_in(cell.options):
        if value not in code:
            raise UsageError(
                f"{place_of(file, name.rpartition('.')[2])}: {name} names code, {value!r}, which is accepted only if the command line names it too.",
                hint=f"If you trust it, add --code {value}",
            )
        if name.startswith("set."):
            words.append(f"--set={name.removeprefix('set.')}={value}")
        else:
            words.append(value if name == "source" else f"--{name}={value}")
    return words
