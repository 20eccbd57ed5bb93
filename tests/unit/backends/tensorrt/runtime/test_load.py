"""adaptrt.load on an engine: manifest first, then images in and predictions out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fake_gpu
import numpy as np
import pytest

import adaptrt
from adaptrt.backends.tensorrt.build.precision_report import make_precision_report
from adaptrt.backends.tensorrt.manifest import LibraryRecord, Manifest, manifest_path
from adaptrt.errors import BuildError, EngineError, ModelError
from adaptrt.predictions import Values
from adaptrt.specs import BuildOptions, Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec
from adaptrt.store.hashing import file_sha256

SPEC = ModelSpec(
    inputs=(InputSpec.image(16, 16, batch=Dim(2, 4, 8, "batch")),),
    outputs=(OutputSpec("output0"), OutputSpec("sums")),
    image=ImageTransform(),
)


@pytest.fixture
def engine(make_bench, tensorrt_version) -> Path:
    bench = make_bench()
    write_manifest(bench.path, tensorrt_version)
    return bench.path


def write_manifest(path: Path, version: str, **changes: object) -> None:
    manifest = Manifest(
        plan_sha256=file_sha256(path),
        plan_bytes=path.stat().st_size,
        onnx="best.onnx",
        onnx_sha256="",
        tensorrt=version,
        cuda="12.9",
        driver=None,
        gpu="Pretend",
        capability="9.0",
        precision="fp32",
        spec=SPEC,
        precision_report=make_precision_report(
            '{"Layers": []}', "fp32", plan_bytes=1, float32_bytes=1, weight_bytes=None
        ),
        rebuild="adaptrt build best.onnx",
    )
    manifest_path(path).write_text(replace(manifest, **changes).to_json())


def test_images_in_predictions_out(engine):
    images = [np.full((16, 16, 3), value, np.uint8) for value in (0, 51, 255)]
    with adaptrt.load(engine) as model:
        assert model.warnings == []
        found = model(images)
    assert all(isinstance(one, Values) for one in found)
    for image, one in zip(images, found, strict=True):
        np.testing.assert_allclose(one.arrays["output0"], image.transpose(2, 0, 1) / 255 * 2 + 1, rtol=1e-6)


def test_images_can_be_preprocessed_on_the_cpu(engine):
    with adaptrt.load(engine, cpu_images=True) as model:
        (found,) = model(np.full((16, 16, 3), 255, np.uint8))
        assert model.runner.image_batch(SPEC, 2) is None
        assert not model.runner.warnings
    np.testing.assert_allclose(found.arrays["output0"], 3)


def test_one_image_fills_the_smallest_batch(engine):
    with adaptrt.load(engine) as model:
        (found,) = model(np.full((16, 16, 3), 255, np.uint8))
    np.testing.assert_allclose(found.arrays["output0"], 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensorrt": "10.3.0"}, "was built with TensorRT 10.3.0 for sm_90"),
        ({"capability": "8.9"}, "for sm_89"),
        ({"plan_bytes": 10_000}, "truncated"),
        ({"plan_sha256": "0" * 64}, "is not the engine that"),
        ({"host_code": True, "options": BuildOptions(version_compatible=True)}, "host code"),
    ],
)
def test_what_cannot_run_here_is_said_before_tensorrt_is_asked(engine, tensorrt_version, changes, message):
    write_manifest(engine, tensorrt_version, **changes)
    with pytest.raises(EngineError, match=message):
        adaptrt.load(engine)


def test_a_plugin_library_may_lie_elsewhere(engine, tensorrt_version, tmp_path):
    """What the error says to do helps: the library that is given is looked at and loaded, not the one that is gone."""
    write_manifest(engine, tensorrt_version, plugin_libs=[LibraryRecord("/built/there/my.so", "0" * 64)])
    with pytest.raises(EngineError, match="requires the plugin library /built/there/my.so") as caught:
        adaptrt.load(engine)
    assert caught.value.hint.endswith('specify its path: plugin_libs="/built/there/my.so".')
    moved = tmp_path / "my.so"
    moved.write_bytes(b"no library")
    with pytest.raises(BuildError, match=r"my\.so cannot be loaded"):
        adaptrt.load(engine, plugin_libs=[moved])


def test_a_foreign_plan_has_no_spec(engine):
    manifest_path(engine).unlink()
    with pytest.raises(ModelError, match=r"no manifest \(best.engine.json\)"):
        adaptrt.load(engine)


def test_another_gpu_of_the_same_kind_is_a_warning(engine, tensorrt_version):
    write_manifest(engine, tensorrt_version, gpu="Another")
    with adaptrt.load(engine) as model:
        assert any("Another" in warning for warning in model.warnings)


def test_a_lean_runtime_runs_a_version_compatible_engine(monkeypatch, tmp_path, images):
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    plan = fake_gpu.affine_plan(host_code=True)
    fake_gpu.install(monkeypatch, fake_gpu.Gpu(), plan, "10.16.1", module="tensorrt_lean_bindings")
    path = tmp_path / "best.engine"
    path.write_bytes(plan.stored)
    write_manifest(path, "8.6.0", host_code=True, options=BuildOptions(version_compatible=True))
    x = images()
    with TensorRTRunner(path, allow_host_code=True) as runner:
        np.testing.assert_array_equal(runner.run({"images": x})["output0"], 2 * x + 1)
    write_manifest(path, "10.16.1")
    with pytest.raises(EngineError, match="version-compatible engines only"):
        TensorRTRunner(path)


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({}, "fp32"),
        ({"options": BuildOptions(tf32=True)}, "tf32"),
        ({"precision": "int8", "options": BuildOptions(tf32=True)}, "int8"),
        (None, None),
    ],
)
def test_the_precision_of_products(make_bench, tensorrt_version, changes, precision):
    """What the peak of the GPU is measured in; a foreign engine does not say."""
    bench = make_bench()
    if changes is not None:
        write_manifest(bench.path, tensorrt_version, **changes)
    runner = bench.open()
    assert runner.precision == precision
    if precision is None:
        with pytest.raises(EngineError, match="is not measured in an unknown precision"):
            runner.measure_peak()
