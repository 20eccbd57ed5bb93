"""The reference page of other tools' commands and options, and their equivalents."""

from __future__ import annotations

from adaptrt.cli import habits, yolo_lines


def other_tools_page() -> str:
    """What the command line answers to the commands and options of other tools."""
    lines = [
        "<!-- Written by `make docs` out of core/adaptrt/cli/habits.py: change it there. -->\n",
        "# Options of other tools\n",
        "If you type one of these, `adaptrt` prints its own command, ready to paste. See [Coming from another tool](../how-to/coming-from.md).",
        "",
        "| command | of | in adaptrt |",
        "|---|---|---|",
        *(
            f"| `{name}` | yolo, or scripts of YOLOv5 | `adaptrt {here}` |"
            for name, here in yolo_lines.COMMANDS.items()
        ),
        *(f"| `{name}` | {tool} | `adaptrt {here}` |" for name, (tool, here) in habits._COMMANDS.items()),
        "",
        "| option | of | in adaptrt |",
        "|---|---|---|",
        *(f"| `{flag}` | {tool} | {quoted(here)} |" for flag, (tool, here) in habits._FLAGS.items()),
        "",
        "| argument of `yolo` | in adaptrt |",
        "|---|---|",
        "| `model=` | the file, the first argument |",
        "| `source=` | the images, after the file |",
        *(
            f"| `{word}=` | {', or '.join(f'`{here}`' for here in heres)} |".replace("{}", "VALUE")
            for word, heres in yolo_lines.VALUES.items()
        ),
        *(f"| `{word}=True` | {f'`{on}`' if on else 'the default'} |" for word, (on, _) in yolo_lines.SWITCHES.items()),
    ]
    return "\n".join(lines) + "\n"


def quoted(here: str) -> str:
    """An option as code; a sentence stays one."""
    return f"`{here}`" if here.startswith(("--", "adaptrt ", "-o")) and "," not in here else here
