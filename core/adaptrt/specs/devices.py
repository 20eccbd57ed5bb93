"""Names of devices."""

from __future__ import annotations

import re
from typing import Any

FORM = "cpu, cuda or cuda:0"


def is_device(name: Any) -> bool:
    """Whether this is the name of a device that core knows, as the command line accepts it."""
    return isinstance(name, str) and re.fullmatch(r"cpu|cuda(:[0-9]+)?", name) is not None
