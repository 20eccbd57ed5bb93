"""Every command by name."""

from __future__ import annotations

import click

from adaptrt.cli.main import cli
from adaptrt.specs.commands import COMMANDS


def command_of(name: str) -> click.Command:
    """``convert``, or ``engine unwrap`` in a group."""
    found: click.Command | None = cli
    for word in name.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word)
    assert found is not None
    return found


def leaves() -> list[str]:
    """Every command; those of a group with the group's name before."""
    names: list[str] = []
    for name in COMMANDS.core_names():
        command = command_of(name)
        inner = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else None
        names += [name] if inner is None else [f"{name} {word}" for word in inner]
    return names
