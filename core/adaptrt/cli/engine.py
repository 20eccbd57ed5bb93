"""``adaptrt engine``: remove or add the header that Ultralytics puts before a plan."""

from __future__ import annotations

from pathlib import Path

import click

from adaptrt.cli.framework import Command, FileArgument, LazyGroup, general_options, option
from adaptrt.cli.output import echo
from adaptrt.specs.commands import Command as Declared

_TITLE = "Commands"

UNWRAP_EXAMPLES = (("adaptrt engine unwrap yolo.engine -o plain.engine", "a plan that trtexec and Triton can read"),)
WRAP_EXAMPLES = (
    ("adaptrt engine wrap best.engine -o for_ultralytics.engine", 'an engine that YOLO("...engine") can read'),
)


@click.group(
    "engine",
    cls=LazyGroup,
    declared=(
        Declared(name="unwrap", target="adaptrt.cli.engine:unwrap", summary="Remove the header.", section=_TITLE),
        Declared(name="wrap", target="adaptrt.cli.engine:wrap", summary="Add the header.", section=_TITLE),
    ),
)
def engine() -> None:
    """Remove or add the header of Ultralytics engines, which other TensorRT tools cannot read."""


@click.command("unwrap", cls=Command, examples=UNWRAP_EXAMPLES)
@click.argument("file", cls=FileArgument, holds="engine")
@option("-o", "--output", metavar="FILE", help="File to write.  [default: NAME.plan next to FILE]")
@general_options
def unwrap(file: str, output: str | None, verbose: int, quiet: bool, as_json: bool) -> None:
    """Write the plain plan of an engine that Ultralytics exported."""
    from adaptrt.backends.tensorrt.header import unwrap as take_off

    source = Path(file)
    target = _target(source, output, source.with_suffix(".plan"))
    header = _written_whole(target, lambda path: take_off(source, path))
    _show(target, header, verbose=verbose, quiet=quiet, as_json=as_json)


@click.command("wrap", cls=Command, examples=WRAP_EXAMPLES)
@click.argument("file", cls=FileArgument, holds="engine")
@option("-o", "--output", metavar="FILE", help="File to write.  [default: NAME.ultralytics.engine next to FILE]")
@general_options
def wrap(file: str, output: str | None, verbose: int, quiet: bool, as_json: bool) -> None:
    """Write an engine with the header that Ultralytics reads, from the manifest next to FILE."""
    from adaptrt.backends.tensorrt.header import header_of
    from adaptrt.backends.tensorrt.header import wrap as put_on
    from adaptrt.backends.tensorrt.manifest import matching_manifest
    from adaptrt.errors import EngineError

    source = Path(file)
    manifest = matching_manifest(source)
    if manifest is None:
        raise EngineError(
            f"{source.name} has no manifest ({source.name}.json): the names and sizes for the header are unknown.",
            hint="Copy the manifest next to it, or build the engine again.",
        )
    header = header_of(manifest.spec, manifest.product)
    target = _target(source, output, source.with_name(f"{source.stem}.ultralytics.engine"))
    _written_whole(target, lambda path: put_on(source, path, header))
    _show(target, header, verbose=verbose, quiet=quiet, as_json=as_json)


def _target(source: Path, output: str | None, default: Path) -> Path:
    from adaptrt.pipeline.output import require_no_input

    target = Path(output) if output else default
    if target.is_dir():
        target = target / default.name
    require_no_input(target, [source.resolve()])
    return target


def _written_whole(target: Path, write: object) -> dict[str, object]:
    """Write to a temporary file, then rename, so that no partial file appears under the name."""
    from adaptrt.pipeline.output import output_error
    from adaptrt.store.workspace import written_aside

    try:
        with written_aside(target, parents=True) as aside:
            result = write(aside)  # type: ignore[operator]
    except OSError as error:
        raise output_error(error, target.parent) from error
    return result or {}


def _show(target: Path, header: dict[str, object], *, verbose: int, quiet: bool, as_json: bool) -> None:
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json({"path": str(target), "header": header})
    elif not quiet:
        echo(str(target))
        for key, value in header.items() if verbose else ():
            echo(f"  {key}: {value}")
