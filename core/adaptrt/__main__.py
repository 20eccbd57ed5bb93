"""``python -m adaptrt``: the command ``adaptrt``, also where its script is not on the path, or not installed."""

from __future__ import annotations

import sys

from adaptrt.cli.main import main

sys.exit(main())
