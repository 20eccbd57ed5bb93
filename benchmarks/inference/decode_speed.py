"""Decoding the raw output of one image: adaptrt (numpy) compared with Ultralytics' ``non_max_suppression`` (torch), in one run.

::

    python -m benchmarks.inference.decode_speed [--json keep]

Both sides convert the raw output to boxes in pixels of the original image, at conf 0.25 and iou 0.7. Ultralytics does not
read classic outputs, so for ``yolo_anchor`` it gets the same candidates in its own layout, with objectness already
multiplied in, which adaptrt does within the measured time. Torch uses one thread, like numpy: on a busy machine, its
threads would wait for each other longer than the decoding takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torchvision  # noqa: F401 -- Ultralytics takes its NMS, the faster one, where somebody imported it
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

from adaptrt.predictions import ImageMeta
from adaptrt.specs import ImageTransform, InputSpec, ModelSpec
from adaptrt.specs.decoders import find_decoder
from benchmarks.common.results import arguments, finish, machine, table

SPEC = ModelSpec((InputSpec.image(640, 640),), image=ImageTransform())
META = ImageMeta((1080, 810), (640, 640), scale=(640 / 1080, 640 / 1080), offset=(0.0, 80.0))
CASES = [("yolo", 8400), ("yolo_anchor", 25200)]
CANDIDATES = [0, 50, 200, 1000]  # above conf; a photograph of COCO has 20 to 200
REPEATS, INNER = 30, 5


def raw_output(positions: int, candidates: int, classes: int = 80) -> np.ndarray:
    """float32 [1, 4 + classes, positions]: ``candidates`` positions above 0.25, in clusters of about eight."""
    rng = np.random.default_rng(positions + candidates)
    objects = max(1, candidates // 8)
    raw = np.empty((4 + classes, positions))
    which = rng.integers(0, objects, positions)
    raw[:2] = rng.uniform(0, 640, (2, objects))[:, which] + rng.normal(0, 3, (2, positions))
    raw[2:4] = rng.uniform(15, 250, (2, objects))[:, which] * rng.uniform(0.92, 1.08, (2, positions))
    raw[4:] = 0.02 * rng.random((classes, positions))
    seen = rng.choice(positions, candidates, replace=False)
    raw[4 + rng.integers(0, classes, objects)[which[seen]], seen] = rng.uniform(0.3, 0.95, candidates)
    return raw[None].astype(np.float32)


def anchored(raw: np.ndarray) -> np.ndarray:
    """The same candidates as [1, positions, 5 + classes]; objectness is 1 where a class was found, else 0.05."""
    objectness = np.where(raw[:, 4:].max(axis=1, keepdims=True) > 0.25, 1, 0.05)
    return np.concatenate((raw[:, :4], objectness, raw[:, 4:]), axis=1).transpose(0, 2, 1).astype(np.float32, order="C")


def milliseconds(*functions: Callable[[], object]) -> list[float]:
    """The median time of each; measured alternately, so that other load on the machine affects all of them."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(REPEATS):
        for function, kept in zip(functions, times, strict=True):
            started = time.perf_counter()
            for _ in range(INNER):
                function()
            kept.append((time.perf_counter() - started) / INNER * 1000)
    return [statistics.median(kept) for kept in times]


def measure(name: str, positions: int, candidates: int) -> dict[str, object]:
    raw = raw_output(positions, candidates)
    given = raw if name == "yolo" else anchored(raw)
    decoder, tensor = find_decoder(name), torch.from_numpy(raw)
    params = decoder.params()

    def ours() -> object:
        return decoder.decode({"output0": given}, [META], SPEC, params)

    def theirs() -> torch.Tensor:
        (found,) = non_max_suppression(tensor, params.conf, params.iou)
        found[:, :4] = scale_boxes((640, 640), found[:, :4], META.original_size)
        return found

    found = len(decoder.decode({"output0": given}, [META], SPEC, params)[0])
    assert found == len(theirs())
    mine, other = milliseconds(ours, theirs)
    return {
        "decoder": name,
        "shape": list(given.shape),
        "candidates": candidates,
        "detections": found,
        "adaptrt_ms": round(mine, 3),
        "ultralytics_ms": round(other, 3),
        "ratio": round(mine / other, 3),
    }


def main() -> None:
    options = arguments(__doc__).parse_args()

    torch.set_num_threads(1)
    rows = [measure(name, positions, count) for name, positions in CASES for count in CANDIDATES]
    table(
        ["decoder", "raw output", "candidates", "found", "ours ms", "ultralytics ms", "ratio"],
        [list(row.values()) for row in rows],
    )
    where = {**machine("numpy", "torch", "torchvision", "ultralytics"), "torch threads": torch.get_num_threads()}
    finish("decode_speed", options.json, {"machine": where, "rows": rows})


if __name__ == "__main__":
    main()
