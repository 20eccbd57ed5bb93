"""Preprocessing an image to an input tensor: adaptrt (OpenCV and numpy) compared with Ultralytics' predict, in one run.

::

    python -m benchmarks.inference.preprocess_speed [--json keep]

Both sides start from the decoded image and end with float32 [1, 3, 640, 640]; the two arrays are asserted to be
equal.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ultralytics
from ultralytics.data.augment import LetterBox

from adaptrt.specs import ImageTransform, InputSpec, ModelSpec
from adaptrt.vision.images import ImageArray, read_image
from adaptrt.vision.opencv import cv2
from adaptrt.vision.transforms import transform_batch
from benchmarks.common.results import arguments, finish, machine, table

ASSETS = Path(ultralytics.__file__).parent / "assets"
SPEC = ModelSpec((InputSpec.image(640, 640),), image=ImageTransform())
REPEATS = 200


def ultralytics_input(bgr: ImageArray) -> torch.Tensor:
    """The steps of ``ultralytics.engine.predictor.BasePredictor.preprocess`` for one image."""
    image = torch.from_numpy(LetterBox((640, 640), auto=False, stride=32)(image=bgr)).unsqueeze(0)
    return image.permute(0, 3, 1, 2).contiguous().flip(1).float().div_(255)


def measure(name: str, rgb: ImageArray) -> dict[str, Any]:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    assert np.array_equal(transform_batch([rgb], SPEC)[0]["images"], ultralytics_input(bgr).numpy())
    ours, theirs = [], []
    for _ in range(REPEATS):  # in turns, so that what slows the machine slows both
        started = time.perf_counter()
        transform_batch([rgb], SPEC)
        between = time.perf_counter()
        ultralytics_input(bgr)
        ours.append(between - started)
        theirs.append(time.perf_counter() - between)
    mine, other = 1000 * statistics.median(ours), 1000 * statistics.median(theirs)
    return {
        "image": name,
        "size": list(rgb.shape[:2]),
        "adaptrt_ms": round(mine, 3),
        "ultralytics_ms": round(other, 3),
        "ratio": round(mine / other, 3),
    }


def main() -> None:
    options = arguments(__doc__).parse_args()

    torch.set_num_threads(1)
    bus = read_image(ASSETS / "bus.jpg")
    images = {
        "bus.jpg": bus,
        "zidane.jpg": read_image(ASSETS / "zidane.jpg"),
        "bus.jpg, 4K": cv2.resize(bus, (3840, 2160)),
        "bus.jpg, 640x640": cv2.resize(bus, (640, 640)),
    }
    rows = [measure(name, rgb) for name, rgb in images.items()]
    table(
        ["image", "height x width", "ours ms", "ultralytics ms", "ratio"],
        [[row["image"], " x ".join(map(str, row["size"])), *list(row.values())[2:]] for row in rows],
    )
    where = {**machine("numpy", "torch", "opencv-python", "ultralytics"), "torch threads": torch.get_num_threads()}
    finish("preprocess_speed", options.json, {"machine": where, "rows": rows})


if __name__ == "__main__":
    main()
