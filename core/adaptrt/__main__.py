"""``python -m adaptrt``: the ``adaptrt`` command, for when its script is not installed or not on the path."""

from __future__ import annotations

import sys

from adaptrt.cli.main import main

sys.exit(main())
