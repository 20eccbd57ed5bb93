"""Engines of a few layers for tests on a GPU, made with TensorRT's own network API.

::

    python tests/support/small_engines.py FOLDER     all of them, for machines that have the lean runtime only
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Shape = tuple[int, ...]
WIDE = ((1, 3, 16, 16), (4, 3, 64, 64), (8, 3, 256, 256))


@dataclass(frozen=True)
class SmallEngine:
    """``images`` float32 [B, 3, H, W] to ``output0`` = 2 images + 1 and ``sums`` [B]; with ``found``, the places over 0.5."""

    profiles: tuple[tuple[Shape, Shape, Shape], ...] = (WIDE,)
    sharing: bool = True
    version_compatible: bool = False
    found: bool = False


ENGINES = {
    "affine": SmallEngine(),
    "portable": SmallEngine(version_compatible=True),
    "unshared": SmallEngine(sharing=False),
    "found": SmallEngine(found=True, version_compatible=True),
    "profiles": SmallEngine(profiles=(((1, 3, 64, 64), (1, 3, 64, 64), (1, 3, 64, 64)), WIDE)),
    "static": SmallEngine(profiles=(((2, 3, 64, 64), (2, 3, 64, 64), (2, 3, 64, 64)),)),
}


def build_small_engine(path: Path, wanted: SmallEngine) -> Path:
    from adaptrt.backends.tensorrt.build.builder import create_builder, make_logger, network_flags
    from adaptrt.backends.tensorrt.generations import import_tensorrt

    tensorrt = import_tensorrt(builder=True)
    trt, features = tensorrt.trt, tensorrt.generation
    said: list[str] = []
    logger = make_logger(trt, lambda severity, text: said.append(f"{severity}: {text}"))
    builder = create_builder(trt, logger)
    network = builder.create_network(network_flags(trt, features))
    _affine(trt, network, wanted)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 28)
    config.builder_optimization_level = 0
    config.set_tactic_sources(0)
    if features.sharing_preview:
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, wanted.sharing)
    if wanted.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    for low, opt, high in wanted.profiles:
        if low != high or len(wanted.profiles) > 1:
            profile = builder.create_optimization_profile()
            profile.set_shape("images", low, opt, high)
            config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, "\n".join(said[-5:])
    path.write_bytes(memoryview(plan))
    return path


def _affine(trt: Any, network: Any, wanted: SmallEngine) -> None:
    lows, highs = [p[0] for p in wanted.profiles], [p[2] for p in wanted.profiles]
    shape = tuple(-1 if min(sizes) != max(sizes) else sizes[0] for sizes in zip(*lows, *highs, strict=True))
    images = network.add_input("images", trt.float32, shape)

    def constant(value: float) -> Any:
        return network.add_constant((1, 1, 1, 1), trt.Weights(np.full((1, 1, 1, 1), value, np.float32))).get_output(0)

    def binary(first: Any, second: Any, operation: Any) -> Any:
        return network.add_elementwise(first, second, operation).get_output(0)

    operations = trt.ElementWiseOperation
    doubled = binary(images, constant(2), operations.PROD)
    outputs = {"output0": binary(doubled, constant(1), operations.SUM)}
    outputs["sums"] = network.add_reduce(images, trt.ReduceOperation.SUM, 0b1110, False).get_output(0)
    if wanted.found:
        outputs["found"] = network.add_non_zero(binary(images, constant(0.5), operations.GREATER)).get_output(0)
    for name, tensor in outputs.items():
        tensor.name = name
        network.mark_output(tensor)


def main(folder: str) -> None:
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    build: Callable[[Path, SmallEngine], Path] = build_small_engine
    for name, wanted in ENGINES.items():
        build(target / f"{name}.engine", wanted)


if __name__ == "__main__":
    main(sys.argv[1])
