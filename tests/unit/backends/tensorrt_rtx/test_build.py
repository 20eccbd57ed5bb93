"""Real builds with TensorRT-RTX: the parser and builder of TensorRT 11, through the builder that TensorRT shares."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt.backends.tensorrt.manifest import Manifest, find_manifest
from adaptrt.backends.tensorrt_rtx.backend import BACKEND
from adaptrt.errors import BuildError, ShapeError, UsageError
from adaptrt.specs import BuildOptions

CAPABILITIES = ("8.0", "8.6", "8.9", "12.0", "12.1")


def manifest_of(folder: Path) -> Manifest:
    found = find_manifest(folder / "best.rtx.engine")
    assert found is not None
    return found


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("model.onnx", "build-message.json"))


@pytest.mark.parametrize(
    ("precision", "batch", "share"),
    [
        ("fp32", "batch", 1.0),
        ("fp32", 2, 1.0),
        ("fp16", "batch", 0.5),
        pytest.param("fp16", 2, 0.5, marks=pytest.mark.full),
        ("bf16", "batch", 0.5),
        ("int8", "batch", 0.25),
        pytest.param("int8", 2, 0.25, marks=pytest.mark.full),
    ],
)
def test_precisions(
    network: Callable[..., Path],
    request_for: Callable[..., Any],
    tmp_path: Path,
    precision: str,
    batch: int | str,
    share: float,
) -> None:
    shape = "1..8@4x4x16x16" if batch == "batch" else "2x4x16x16"
    built = BACKEND.build(request_for(network(precision, batch), [shape], precision))
    assert next(iter(built.files.values())) == tmp_path / "best.rtx.engine"
    assert left_over(tmp_path) == ["best.rtx.engine", "best.rtx.engine.json"]
    manifest = manifest_of(tmp_path)
    assert manifest.plan_bytes == (tmp_path / "best.rtx.engine").stat().st_size > 10_000
    assert (manifest.product, manifest.compute_capabilities) == ("rtx", CAPABILITIES)
    assert re.fullmatch(r"1\.\d+\.\d+.*", manifest.tensorrt)
    assert (manifest.gpu, manifest.capability, manifest.driver) == ("", "", None)
    report = manifest.precision_report
    assert report.layers[precision] >= 2  # both convolutions
    assert report.plan_share == pytest.approx(share, abs=0.03)  # what the builder says its weights take
    assert not report.inspected
    if precision != "fp32":
        assert "layers of the strongly typed network compute in" in report.evidence
    assert manifest.rebuild.startswith(f"adaptrt build model.onnx --to rtx --shape images={shape}")


def test_several_profiles_and_every_option(
    network: Callable[..., Path], request_for: Callable[..., Any], tmp_path: Path
) -> None:
    options = BuildOptions(
        workspace=64 << 20,
        optimization_level=1,
        tf32=True,
        tactic_sources=("jit_convolutions",),
        compute_capabilities=("8.6", "12.0"),
    )
    progress: list[tuple[int, int]] = []
    BACKEND.build(
        request_for(
            network(),
            ["1x4x16x16", "2..8@8x4x16x16"],
            "tf32",
            options,
            progress=lambda done, total, text: progress.append((done, total)),
        )
    )
    manifest = manifest_of(tmp_path)
    assert manifest.compute_capabilities == ("8.6", "12.0")
    assert manifest.rebuild.endswith("--tactic-sources jit_convolutions --compute-capability 8.6,12.0")
    assert any(0 < done <= total for done, total in progress)  # by its progress monitor


def test_what_the_parser_refuses_is_named_by_node(
    operator: Callable[..., Path], request_for: Callable[..., Any], tmp_path: Path
) -> None:
    path = operator("NonZero", {"x": (4, 4)}, {})
    with pytest.raises(BuildError, match=r"TensorRT-RTX cannot read model\.onnx: node /the/node \(NonZero\)") as caught:
        BACKEND.build(request_for(path, inputs={"x": "4x4"}))
    assert "adaptrt lint MODEL.onnx --target rtx" in (caught.value.hint or "")
    assert left_over(tmp_path) == []


def test_what_is_parsed_and_has_no_kernel(
    operator: Callable[..., Path], request_for: Callable[..., Any], tmp_path: Path
) -> None:
    constants = {"k": np.array([10]), "iou": np.array([0.5], np.float32), "score": np.array([0.1], np.float32)}
    path = operator("NonMaxSuppression", {"boxes": (1, 50, 4), "scores": (1, 3, 50)}, constants)
    with pytest.raises(BuildError, match="TensorRT-RTX could not build the engine") as caught:
        BACKEND.build(request_for(path, inputs={"boxes": "1x50x4", "scores": "1x3x50"}))
    assert "has no kernel" in (caught.value.hint or "")
    assert left_over(tmp_path) == []


def test_what_needs_a_gpu_to_be_parsed(operator: Callable[..., Path], request_for: Callable[..., Any]) -> None:
    if _gpu():
        pytest.skip("there is a GPU here")
    constants = {"boxes": np.zeros((8, 4), np.float32), "batches": np.zeros(8, np.int64)}
    path = operator("RoiAlign", {"x": (1, 4, 16, 16)}, constants, result=1, output_height=2, output_width=2)
    with pytest.raises(BuildError, match=r"node /the/node \(RoiAlign\)"):
        BACKEND.build(request_for(path, inputs={"x": "1x4x16x16"}))


def test_weights_that_can_be_replaced_need_a_gpu(
    network: Callable[..., Path], request_for: Callable[..., Any], tmp_path: Path
) -> None:
    if _gpu():
        pytest.skip("there is a GPU here")
    with pytest.raises(BuildError, match="could not build the engine") as caught:
        BACKEND.build(
            request_for(
                network(batch=2),
                ["2x4x16x16"],
                options=BuildOptions(refittable=True, compute_capabilities=("8.6",)),
            )
        )
    assert "requires a CUDA device" in (caught.value.hint or "")
    assert left_over(tmp_path) == []


def _gpu() -> bool:
    from adaptrt.backends.tensorrt.availability import no_gpu_reason

    return no_gpu_reason() is None


def test_a_precision_that_the_graph_does_not_hold(
    network: Callable[..., Path], request_for: Callable[..., Any]
) -> None:
    with pytest.raises(
        BuildError, match=r"TensorRT-RTX 1\.\S+ reads the precision from the graph.* no float16 weights"
    ):
        BACKEND.build(request_for(network(), precision="fp16"))


def test_shapes_that_the_graph_does_not_take(network: Callable[..., Path], request_for: Callable[..., Any]) -> None:
    with pytest.raises(ShapeError, match="axis 0 is fixed at 2 in the graph"):
        BACKEND.build(request_for(network(batch=2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BuildOptions(version_compatible=True), "TensorRT-RTX 1 does not support version-compatible"),
        (BuildOptions(hardware_compatible="ampere+"), r"TensorRT-RTX 1 does not support hardware-compatible ampere\+"),
        (BuildOptions(hardware_compatible="same-cc"), "does not support hardware-compatible same-cc"),
        (BuildOptions(tactic_sources=("CUBLAS",)), "has no tactic source 'CUBLAS'"),
        (BuildOptions(refittable=True), "replaceable weights for a single compute capability"),
        (BuildOptions(strip_weights=True), "replaceable weights for a single compute capability"),
        (BuildOptions(compute_capabilities=("8.6", "9.0")), r"does not support compute capability 9\.0"),
    ],
)
def test_options_that_it_lacks(options: BuildOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        BACKEND.check_options(options, BACKEND.targets["rtx"])
    assert caught.value.hint


def test_bfloat16_needs_compute_capability_8(network: Callable[..., Path], request_for: Callable[..., Any]) -> None:
    options = BuildOptions(compute_capabilities=("7.5", "8.6"))
    with pytest.raises(UsageError, match=r"Compute capability 7\.5 does not support bfloat16"):
        BACKEND.build(request_for(network("bf16"), precision="bf16", options=options))


def test_an_extension_configures_the_real_builder(
    network: Callable[..., Path], request_for: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tuning.py").write_text(
        "from pathlib import Path\n"
        "def tune(network, config, argument):\n"
        "    config.max_aux_streams = 2\n"
        "    Path(argument).write_text(f'{type(network).__name__} {config.max_aux_streams} {network.num_layers}')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    BACKEND.build(request_for(network(batch=2), ["2x4x16x16"], configure=("tuning:tune", str(tmp_path / "seen"))))
    assert (tmp_path / "seen").read_text() == "INetworkDefinition 2 3"


def test_the_second_build_comes_from_the_cache(
    network: Callable[..., Path], request_for: Callable[..., Any], tmp_path: Path
) -> None:
    path = network(batch=2)
    first = BACKEND.build(request_for(path, ["2x4x16x16"], cache=True))
    created = manifest_of(tmp_path).created
    again = BACKEND.build(request_for(path, ["2x4x16x16"], cache=True))
    assert not any("from the cache" in note for note in first.notes)
    assert any("from the cache" in note for note in again.notes)
    assert manifest_of(tmp_path).created == created
    other = BACKEND.build(
        request_for(path, ["2x4x16x16"], cache=True, options=BuildOptions(compute_capabilities=("8.6",)))
    )
    assert not any("from the cache" in note for note in other.notes)
