"""Record the options of Polygraphy's commands, for the test of docs/how-to/coming-from.md, which runs without it.

    python tools/polygraphy_options.py tests/support/surfaces/polygraphy_0.53.6.json.xz

Run it with the interpreter of an environment that has Polygraphy. The options are those that the help of each command lists.
"""

from __future__ import annotations

import json
import lzma
import re
import subprocess
import sys
from pathlib import Path

COMMANDS = (
    "run",
    "convert",
    "inspect model",
    "surgeon sanitize",
    "surgeon extract",
    "debug precision",
    "debug reduce",
    "check lint",
)
PROGRAM = "from polygraphy.tools import main; main()"


def options_of(command: str) -> list[str]:
    words = [sys.executable, "-c", PROGRAM, *command.split(), "--help"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    # an option begins its line; its other names follow, each after a comma and their placeholders
    lines = re.findall(r"^  (-\S.*)$", text, re.MULTILINE)
    return sorted({name for line in lines for name in re.findall(r"(?:^|, )(--?[A-Za-z0-9][A-Za-z0-9-]*)", line)})


def main(output: Path) -> None:
    text = json.dumps({command: options_of(command) for command in COMMANDS}, separators=(",", ":"), sort_keys=True)
    output.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
