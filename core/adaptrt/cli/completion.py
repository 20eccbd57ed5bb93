"""``adaptrt completion``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adaptrt.cli.framework import Command
from adaptrt.cli.output import echo

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXAMPLES = (
    ('eval "$(adaptrt completion bash)"', "in ~/.bashrc; zsh: the same in ~/.zshrc"),
    ("adaptrt completion fish > ~/.config/fish/completions/adaptrt.fish", "fish"),
)


@click.command("completion", cls=Command, examples=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print the SHELL code that completes commands, options, adapters and files."""
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None  # click has the three shells of the choice
    echo(kind(root.command, {}, "adaptrt", "_ADAPTRT_COMPLETE").source())


def complete_precisions(_ctx: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """The names of the installed precisions."""
    from click.shell_completion import CompletionItem

    from adaptrt.specs.precisions import PRECISIONS

    return [CompletionItem(name) for name in PRECISIONS.names() if name.startswith(text)]


def complete_decoders(_ctx: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """The names of the installed decoders."""
    from click.shell_completion import CompletionItem

    from adaptrt.specs.decoders import DECODERS

    return [CompletionItem(name) for name in DECODERS.names() if name.startswith(text)]


def complete_adapters(_ctx: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """The installed adapters whose names begin with ``text``; none of them is imported."""
    from click.shell_completion import CompletionItem

    from adaptrt.plugins.discovery import ADAPTERS, find_candidates

    found = find_candidates(ADAPTERS)
    return [CompletionItem(one.name, help=one.summary) for one in found if one.name.startswith(text)]
