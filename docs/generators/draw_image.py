"""Writes docs/images/detected.jpg, the image of the README: two images of ``make demo`` and what was found in them.

make demo && .venv/bin/python docs/generators/draw_image.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import adaptrt
from adaptrt.specs import task_named
from adaptrt.vision.images import read_image

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo"
IMAGES = ("000006.jpg", "000008.jpg")
GAP = 12


def main() -> None:
    with adaptrt.load(DEMO / "yolov5n_shapes.onnx") as model:
        drawn = []
        for name in IMAGES:
            image = read_image(DEMO / "images" / name)
            drawn.append(task_named(model.spec.task).draw(image, model(image)[0]))
    height = max(image.shape[0] for image in drawn)
    gap = np.full((height, GAP, 3), 255, np.uint8)
    strip = np.concatenate([drawn[0], gap, drawn[1]], axis=1)
    cv2.imwrite(str(ROOT / "docs" / "images" / "detected.jpg"), strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
