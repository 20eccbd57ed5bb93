"""Anchor-based YOLOv5, as the repository ``ultralytics/yolov5`` trains it, rebuilt without that repository."""

# SPDX-License-Identifier: AGPL-3.0-or-later
