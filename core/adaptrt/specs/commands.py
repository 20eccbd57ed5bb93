"""The commands of ``adaptrt``: how they are declared and found."""

from __future__ import annotations

from dataclasses import dataclass

from adaptrt.specs.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of ``adaptrt``, declared by an entry point of the group ``adaptrt.commands``: ``name = module:COMMAND``.

    ``target`` is the click command, ``"package.module:attribute"``, imported when the command is called or its help
    is requested; ``adaptrt --help`` imports only the module with the declaration. ``summary`` is its line in the list
    of commands, ``section`` the heading above it. Within a section the lowest ``order`` comes first.
    """

    name: str
    target: str
    summary: str
    section: str = "Extensions"
    order: int = 1000


COMMANDS: Registry[Command] = Registry("adaptrt.commands", "command", Command, core_first=True)
