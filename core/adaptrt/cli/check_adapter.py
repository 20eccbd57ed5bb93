"""``python -m adaptrt.cli.check_adapter NAME``: imports an adapter and registers it, and nothing else.

A process of its own, since an import can crash, hang, or change the process it runs in.
"""

from __future__ import annotations

import sys

from adaptrt.builtins import DEFAULTS
from adaptrt.errors import PluginError
from adaptrt.plugins.session import Session

DONE = "registered"  # the last word: an import that ends the process says nothing

if __name__ == "__main__":
    try:
        Session(DEFAULTS).add_adapter(sys.argv[1])
    except PluginError as error:
        sys.exit(error.message)
    sys.stdout.write(DONE)
