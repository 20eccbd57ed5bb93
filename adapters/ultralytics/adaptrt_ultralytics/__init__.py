"""adaptrt adapters for Ultralytics YOLO. Importing this imports neither torch nor ultralytics."""

# SPDX-License-Identifier: AGPL-3.0-or-later

import os

# read when ultralytics is imported; it would otherwise install missing packages with pip
os.environ.setdefault("YOLO_AUTOINSTALL", "False")
