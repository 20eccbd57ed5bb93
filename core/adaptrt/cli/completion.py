"""``adaptrt completion``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, general_options
from adaptrt.cli.output import echo, echo_json

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from adaptrt.specs.registry import Registry

EXAMPLES = (
    ("adaptrt completion bash > ~/.local/share/bash-completion/completions/adaptrt", "bash, for new shells"),
    ("adaptrt completion zsh > ~/.zfunc/_adaptrt", "zsh, with ~/.zfunc in fpath"),
    ("adaptrt completion fish > ~/.config/fish/completions/adaptrt.fish", "fish"),
)


@click.command("completion", cls=Command, examples=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@general_options
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str, as_json: bool, **_: Any) -> None:
    """Print the SHELL code that completes commands, options, adapters and files."""
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None  # click has the three shells of the choice
    script = kind(root.command, {}, "adaptrt", "_ADAPTRT_COMPLETE").source()
    if as_json:
        echo_json({"shell": shell, "script": script})
    else:
        echo(script)


def complete_precisions(_ctx: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """The names of the installed precisions."""
    from adaptrt.specs.precisions import PRECISIONS

    return _beginning(text, PRECISIONS)


def complete_decoders(_ctx: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """The names of the installed decoders."""
    from adaptrt.specs.decoders import DECODERS

    return _beginning(text, DECODERS)


def _beginning(text: str, registry: Registry[Any]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in registry.names() if name.startswith(text)]


def complete_adapters(_ctx: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """The installed adapters whose names begin with ``text``; none of them is imported."""
    from click.shell_completion import CompletionItem

    from adaptrt.plugins.discovery import ADAPTERS, find_candidates

    found = find_candidates(ADAPTERS)
    return [CompletionItem(one.name, help=one.summary) for one in found if one.name.startswith(text)]
