"""``adaptrt package``: a command for each packager, with an option for each field of its dataclass."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, FileArgument, LazyGroup, general_options, option
from adaptrt.cli.output import echo
from adaptrt.cli.shared_flags import in_order
from adaptrt.specs.commands import Command as Declared
from adaptrt.specs.packagers import PACKAGERS

if TYPE_CHECKING:
    from adaptrt.specs.packagers import Packager

_TITLE, _OWN = "Formats", "Format"


class _Packages(LazyGroup):
    """The packagers of core and of installed distributions."""

    subject = "format"

    def declared(self) -> Mapping[str, Declared]:
        return {
            one.name: Declared(name=one.name, target="", summary=one.summary, section=_TITLE) for one in PACKAGERS.all()
        }

    def find(self, name: str) -> Declared | None:
        return self.declared().get(name)

    def install_hint(self, name: str) -> str | None:
        return PACKAGERS.install_hint(name)

    def load(self, declared: Declared) -> click.Command:
        return _command_of(PACKAGERS.find(declared.name))


@click.group("package", cls=_Packages)
def package() -> None:
    """Write the files that another server or pipeline needs to run a converted model."""


def _command_of(packager: Packager) -> click.Command:
    fields = dataclasses.fields(packager.options) if packager.options else ()

    def run(*, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
        own = {field.name: flags.pop(field.name) for field in fields}
        _run(packager, own, verbose=verbose, quiet=quiet, as_json=as_json, **flags)

    run.__doc__ = type(packager).__doc__
    hints = typing.get_type_hints(packager.options) if packager.options else {}
    image = option("--image", metavar="FILE", help="Image for the warm-up sample.  [default: noise]")
    command: Any = in_order(
        click.argument("file", cls=FileArgument),
        option("-o", "--output", metavar="DIR", required=True, help="Folder to write to."),
        option("--name", metavar="NAME", help="Name of the model.  [default: that of FILE]"),
        *([image] if getattr(packager, "uses_sample", True) else []),
        option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, help="Default of a decoder parameter: conf=0.4 ..."),
        option("--overwrite", is_flag=True, help="Replace files of the same names."),
        *(_option_of(field, hints[field.name]) for field in fields),
        general_options,
    )(run)  # fmt: skip
    examples: Any = getattr(packager, "examples", ())
    made: click.Command = click.command(packager.name, cls=Command, examples=examples)(command)
    return made


def _option_of(field: dataclasses.Field[Any], kind: Any) -> Any:
    name, about = "--" + field.name.replace("_", "-"), field.metadata
    if kind is bool:
        return option(name, field.name, is_flag=True, section=_OWN, help=about["help"])
    choices = about.get("choices")
    return option(
        name,
        field.name,
        type=click.Choice(choices) if choices else kind,
        metavar=None if choices else about.get("metavar", "VALUE"),
        default=None if field.default == "" else field.default,
        show_default=field.default != "",
        section=_OWN,
        help=about["help"],
    )


def _run(
    packager: Packager,
    own: Mapping[str, Any],
    *,
    file: str,
    output: str,
    name: str | None,
    image: str | None = None,
    pairs: tuple[str, ...],
    overwrite: bool,
    verbose: int,
    quiet: bool,
    as_json: bool,
) -> None:
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.options import fill_options, parse_pairs
    from adaptrt.packaging.package import package as write

    given = {key: value for key, value in own.items() if value is not None}
    options = fill_options(packager.options, given) if packager.options else None
    with redirect_stdout_to_stderr(verbose):
        written = write(
            packager,
            Path(file),
            Path(output),
            options=options,
            name=name,
            image=Path(image) if image is not None else None,
            params=parse_pairs(pairs),
            overwrite=overwrite,
        )
    if as_json:
        echo_json({"folder": output, "files": [str(path) for path in written.files], "notes": list(written.notes)})
    elif not quiet:
        for path in written.files:
            echo(str(Path(output) / path))
        for note in written.notes:
            echo(f"Note: {note}")
