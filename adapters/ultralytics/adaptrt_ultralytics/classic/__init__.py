"""Anchor-based YOLOv5 models trained with the repository ``ultralytics/yolov5``, rebuilt without that repository."""

# SPDX-License-Identifier: AGPL-3.0-or-later
