"""JPEG files that the GPU decodes on request: files it does not take are decoded by the CPU, or its error names them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import fake_gpu
import host_kernels
import numpy as np
import pytest

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.errors import DependencyError, ImageError, UsageError
from adaptrt.pipeline.batches import BatchPipeline
from adaptrt.pipeline.processing import Processing
from adaptrt.vision.images import read_image, write_image
from adaptrt.vision.transforms import transform_batch

TAIL = (3, 32, 48)


@pytest.fixture
def tensorrt_version() -> str:
    return "10.16.1"  # images do not depend on the generation


@pytest.fixture
def bench(make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    images = fake_gpu.Tensor("images", "float32", [((1, *TAIL), (2, *TAIL), (8, *TAIL))])
    bench = make_bench(fake_gpu.Plan([images], [fake_gpu.Tensor("same", shape=lambda x: x, compute=lambda x: x)]))
    host_kernels.install(monkeypatch, bench.gpu)
    return bench


@pytest.fixture
def decoded(bench: Any, on_device: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for nvImageCodec, which inverts every image to be told from OpenCV; the names that it was given."""
    names: list[str] = []

    class CodeStream:
        def __init__(self, name: str) -> None:
            data = Path(name).read_bytes()
            if not data.startswith(b"\xff\xd8"):
                raise RuntimeError("Could not create code stream")
            self.codec_name, (self.height, self.width) = "jpeg", (32, 48)
            self.name = name

    class Decoder:
        def __init__(self, **options: Any) -> None:
            assert options["device_id"] == 0

        def decode(self, streams: list[CodeStream], *, params: Any, cuda_stream: int) -> list[Any]:
            names.extend(Path(stream.name).name for stream in streams)
            found = []
            for stream in streams:
                try:
                    found.append(on_device(bench.gpu, 255 - read_image(stream.name)))
                except ImageError:
                    found.append(None)
            return found

    module = ModuleType("nvidia.nvimgcodec")
    vars(module).update(
        Decoder=Decoder, CodeStream=CodeStream, DecodeParams=SimpleNamespace, ColorSpec=SimpleNamespace(SRGB=1)
    )
    monkeypatch.setitem(sys.modules, "nvidia", ModuleType("nvidia"))
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", module)
    return names


def spec() -> ModelSpec:
    axes = (Dim(1, 2, 8, "batch"), *map(Dim.fixed, TAIL))
    return ModelSpec(inputs=(InputSpec("images", (axes,)),), image=ImageTransform())


def pixels(count: int) -> list[Any]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 40, 60, 3), np.uint8))


def test_jpeg_files_of_a_batch_are_decoded_on_the_gpu(bench: Any, decoded: list[str], tmp_path: Path) -> None:
    first, second, third, fourth = pixels(4)
    files = [
        write_image(tmp_path / name, image) for name, image in (("a.jpg", first), ("b.png", second), ("c.JPEG", third))
    ]
    given = [files[0], files[1], str(files[2]), fourth]
    pipeline = BatchPipeline(bench.open(gpu_jpeg=True), Processing(spec()))
    (result,) = pipeline.results([given], spec())
    assert decoded == ["a.jpg", "c.JPEG"]
    expected = [255 - read_image(files[0]), second, 255 - read_image(files[2]), fourth]
    found = np.stack([one.arrays["same"] for one in result.predictions])
    np.testing.assert_array_equal(found, transform_batch(expected, spec())[0]["images"])


def test_files_that_it_does_not_take_go_to_the_cpu(bench: Any, decoded: list[str], tmp_path: Path) -> None:
    good = write_image(tmp_path / "a.jpg", pixels(1)[0])
    renamed = tmp_path / "png.jpg"
    renamed.write_bytes(write_image(tmp_path / "b.png", pixels(2)[1]).read_bytes())
    pipeline = BatchPipeline(bench.open(gpu_jpeg=True), Processing(spec()))
    (result,) = pipeline.results([[renamed, good]], spec())
    expected = [pixels(2)[1], 255 - read_image(good)]
    found = np.stack([one.arrays["same"] for one in result.predictions])
    np.testing.assert_array_equal(found, transform_batch(expected, spec())[0]["images"])
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(good.read_bytes()[:40])
    for bad in (damaged, tmp_path / "missing.jpg"):
        with pytest.raises(ImageError, match=bad.name):
            list(pipeline.results([[good, bad]], spec()))


def test_it_must_be_installed_and_the_gpu_must_resize(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(DependencyError, match="nvImageCodec") as raised:
        bench.open(gpu_jpeg=True)
    assert "adaptrt[jpeg]" in str(raised.value.hint)
    with pytest.raises(UsageError, match="gpu_jpeg"):
        bench.open(gpu_jpeg=True, images="cpu")
