"""``python -m adaptrt.cli.check_adapter NAME``: only imports an adapter and registers it.

Runs in a separate process, since an import can crash, hang, or change the process.
"""

from __future__ import annotations

import sys

from adaptrt.builtins import DEFAULTS
from adaptrt.errors import PluginError
from adaptrt.plugins.session import Session

DONE = "registered"  # printed last: an import that ends the process never gets here

if __name__ == "__main__":
    try:
        Session(DEFAULTS).add_adapter(sys.argv[1])
    except PluginError as error:
        sys.exit(" ".join(str(error).splitlines()))
    sys.stdout.write(DONE)
