"""The road from weights to a verified ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("timm", reason="needs timm")
pytest.importorskip("onnxruntime", reason="runs the result")

import onnx  # noqa: E402
from micro_swin import FORBIDDEN, export, images, micro, most_axes, negative_indices, not_in_old, operators  # noqa: E402

import adaptrt  # noqa: E402
from adaptrt_timm.swin_patches import swin_patches  # noqa: E402

SIZES = {"divides": (64, 64), "padded": (76, 52)}
CASES = [
    pytest.param("torchscript", "divides"),
    pytest.param("torchscript", "padded", marks=[not_in_old, pytest.mark.full]),
    pytest.param("dynamo", "divides", marks=pytest.mark.full),
    pytest.param("dynamo", "padded", marks=[not_in_old, pytest.mark.full]),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[Any, Path]]:
    """``exported(exporter, size)``: the model and its file, exported once."""
    folder, models = tmp_path_factory.mktemp("exported"), dict[str, Any]()

    def get(exporter: str, size: str) -> tuple[Any, Path]:
        path = folder / f"{exporter}_{size}.onnx"
        model = models.setdefault(size, micro(img_size=SIZES[size]))
        if not path.exists():
            export(model, swin_patches(model), path, exporter)
        return model, path

    return get


@pytest.mark.parametrize(("exporter", "size"), CASES)
def test_a_clean_graph(exporter: str, size: str, exported: Any) -> None:
    graph = onnx.load(exported(exporter, size)[1])
    found = operators(graph)
    assert not FORBIDDEN & set(found)
    assert most_axes(graph) == 4
    assert negative_indices(graph) == []
    if size == "divides":
        assert "Pad" not in found
        assert found.count("Gather") == 2 * 2  # each stage: to the shifted windows, and back
    else:
        pads = [node for node in graph.graph.node if node.op_type == "Pad"]
        assert pads
        assert {node.input[1] for node in pads} <= {tensor.name for tensor in graph.graph.initializer}, "fixed amounts"


@pytest.mark.parametrize(("exporter", "size"), CASES)
def test_exact_at_every_batch(exporter: str, size: str, exported: Any) -> None:
    import onnxruntime

    model, path = exported(exporter, size)
    session = onnxruntime.InferenceSession(str(path))
    for batch in (1, 2, 3, 5, 8):
        x = images(model, batch, seed=batch)
        with torch.no_grad():
            expected = model(x).numpy()
        (actual,) = session.run(None, {"images": x.numpy()})
        assert np.abs(actual - expected).max() <= 1e-4
        (alone,) = session.run(None, {"images": x[-1:].numpy()})
        np.testing.assert_allclose(alone[0], actual[-1], atol=1e-5, rtol=1e-5)


def test_every_link(micro_file: Path, tmp_path: Path, image: Path) -> None:
    report = adaptrt.convert(micro_file, adapter="swin", output=tmp_path, batch="1:2:8", image=image, html=False)
    assert report.status == "passed"
    assert [report.link(number).status for number in (0, 1, 2, 5)] == ["passed"] * 4
    assert [record.calls > 0 for record in report.patches] == [True] * 3
    assert report.spec is not None
    assert report.spec.labels == tuple("abcdefg")
    assert onnx.load(str(report.onnx)).opset_import[0].version == 17
    (prediction,) = adaptrt.load(tmp_path / "micro.onnx")(image, top_k=3)
    assert isinstance(prediction, adaptrt.Classification)
    assert len(prediction) == 3
    assert prediction.name(0) in "abcdefg"


@pytest.mark.full
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_swin_tiny_takes_fewer_nodes_than_any_unpatched_route(exporter: str, tmp_path: Path) -> None:
    """529 nodes is the best of those, dynamo and onnxslim; a quarter of the channels changes none."""
    report = adaptrt.convert(
        "swin_tiny_patch4_window7_224",
        adapter="swin",
        output=tmp_path,
        exporter=exporter,
        options={"model_args": {"embed_dim": 24}},
        verify="none",
        html=False,
    )
    final = report.operators["final"]
    assert final["Softmax"] == 12  # every block is there
    assert sum(final.values()) < 529
    assert not FORBIDDEN & set(final)


@not_in_old
def test_another_size_than_it_was_made_for(micro_file: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(
        micro_file, adapter="swin", output=tmp_path, imgsz="75x50", batch="1:3", verify="quick", html=False
    )
    assert report.spec is not None
    assert report.spec.image_size == (76, 52)
    assert any("rounded up to 76" in warning for warning in report.warnings)
    assert [report.link(number).status for number in (1, 2)] == ["passed", "passed"]


def test_any_other_model_goes_as_it_is(tmp_path: Path, image: Path) -> None:
    report = adaptrt.convert(
        "resnet10t",
        adapter="timm",
        output=tmp_path,
        imgsz=64,
        batch="1:3",
        exporter="torchscript",
        image=image,
        html=False,
    )
    assert report.status == "passed"
    assert [report.link(number).status for number in (0, 1, 2, 5)] == ["passed", "not run", "passed", "passed"]
