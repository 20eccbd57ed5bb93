"""Images and a small network for the benchmarks of batch jobs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

SIZE = (240, 320)
DIFFERENT = 20


def write_images(folder: Path, count: int) -> list[Path]:
    """``count`` JPEG files of 240 x 320 pixels, of which 20 have different content; the others are links to them."""
    from adaptrt.vision.images import encode_jpeg

    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True, parents=True)
    paths = [folder / f"{index:07d}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        if path.exists():
            continue
        if index < DIFFERENT:
            blocks = rng.integers(0, 256, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
            path.write_bytes(encode_jpeg(np.kron(blocks, np.ones((8, 8, 1), np.uint8))))
        else:
            os.link(paths[index % DIFFERENT], path)
    return paths


def write_network(path: Path, size: int = 64) -> None:
    """A network that averages each image, small so that what surrounds it decides: [B, 3, size, size] to [B, 3]."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["images"], ["y"])],
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, 1, 1])],
    )
    write_model(graph, path, "1:8", size)


def write_model(graph: Any, path: Path, batch: str, size: int) -> None:
    """The ONNX file of ``graph``, with a spec: ``images`` [batch, 3, size, size], predictions are its outputs."""
    import onnx
    from onnx import helper

    from adaptrt.specs import METADATA_KEY, DecoderSpec, ImageTransform, InputSpec, ModelSpec, parse_batch

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    spec = ModelSpec((InputSpec.image(size, size, batch=parse_batch(batch)),), image=ImageTransform(), decoder=DecoderSpec("raw"))  # fmt: skip
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, str(path))
