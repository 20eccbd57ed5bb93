"""Writes docs/images/detected.jpg, the picture of the README: two pictures of ``make demo`` and what was found in them.

make demo && .venv/bin/python docs/draw_picture.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import adaptrt
from adaptrt.vision.drawing import draw_predictions
from adaptrt.vision.pictures import read_image

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
PICTURES = ("000006.jpg", "000008.jpg")
GAP = 12


def main() -> None:
    with adaptrt.load(DEMO / "yolov5n_shapes.onnx") as model:
        drawn = []
        for name in PICTURES:
            picture = read_image(DEMO / "images" / name)
            drawn.append(draw_predictions(picture, model(picture)[0]))
    height = max(picture.shape[0] for picture in drawn)
    gap = np.full((height, GAP, 3), 255, np.uint8)
    strip = np.concatenate([drawn[0], gap, drawn[1]], axis=1)
    cv2.imwrite(str(ROOT / "docs" / "images" / "detected.jpg"), strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
