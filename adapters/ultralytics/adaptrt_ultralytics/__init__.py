"""adaptrt adapters for Ultralytics YOLO. Importing this imports neither torch nor ultralytics."""

# SPDX-License-Identifier: AGPL-3.0-or-later
