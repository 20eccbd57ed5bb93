"""The versions of mmdet that the patches support, and those that they were tested with."""

from __future__ import annotations

REQUIRES = "mmdet>=3.3,<3.4"
TESTED = "mmdet>=3.3,<=3.3.0"
