"""The trained fixture: what it knows, and that a conversion loses nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch")
timm = pytest.importorskip("timm", reason="needs timm")
pytest.importorskip("onnxruntime", reason="runs the result")

import adaptrt  # noqa: E402
from adaptrt.evaluation import evaluate  # noqa: E402

FIXTURE = Path(__file__).parents[2] / "fixtures" / "swin_shapes"
pytestmark = pytest.mark.skipif(not FIXTURE.is_dir(), reason="tests/fixtures/swin_shapes is not here: train_swin.py")
HELD_OUT = 7331  # a seed of its own


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "shapes.onnx"
    report = adaptrt.convert(FIXTURE, adapter="swin", output=path, batch="1:16:16", html=False)
    assert [report.link(number).status for number in (1, 2)] == ["passed", "passed"]
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import draw_shapes

    folder: Path = draw_shapes.write_classification_set(tmp_path_factory.mktemp("data"), 120, HELD_OUT)
    return folder


def test_it_knows_the_shapes_and_the_conversion_loses_nothing(converted: Path, data: Path) -> None:
    found = evaluate([converted], data, backends=["eager", "onnxruntime"], adapter="swin", source=FIXTURE)
    eager, onnx = found.results
    assert found.images == 120
    assert eager.scores["top-1"] >= 0.95
    assert onnx.same == 1.0
    assert max(map(abs, found.losses().values())) <= 0.1


def test_its_labels_travel(converted: Path, data: Path) -> None:
    (found,) = adaptrt.load(converted)(next((data / "star").iterdir()))
    assert isinstance(found, adaptrt.Classification)
    assert set(found.names) == {"circle", "square", "triangle", "star"}


def test_timm_itself_loads_it() -> None:
    model = timm.create_model(f"local-dir:{FIXTURE}", pretrained=True)
    assert model.num_classes == 4
    assert model.pretrained_cfg["label_names"] == ["circle", "square", "triangle", "star"]


def test_it_is_small_and_its_score_is_kept() -> None:
    assert sum(path.stat().st_size for path in FIXTURE.iterdir()) <= 3e6
    kept = json.loads((Path(__file__).parents[3] / "benchmarks" / "results" / "swin_shapes.json").read_text())
    assert kept["top1"] >= 0.95


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ("", ""),
        ('colors="bgr"', "scores within 0.001"),
        ("mean=(0.5, 0.5, 0.5)", "scores within 0.001"),
        ('interpolation="nearest"', "scores within 0.001"),
        ("labels", "class names"),
    ],
)
def test_link_0_compares_scores_and_names(
    change: str, failed: str, data: Path, tmp_path: Path, install_extension: Callable[..., str]
) -> None:
    """The most likely class is the same in all of these."""
    changed = f"image=replace(spec.image, {change})" if change != "labels" else "labels=spec.labels[::-1]"
    install_extension(
        "wrong",
        f"""
        from dataclasses import replace

        @hookimpl(wrapper=True)
        def model_spec():
            spec = yield
            return replace(spec, {changed or "image=spec.image"})
        """,
    )
    options = {"image": next((data / "star").iterdir()), "verify": "quick", "html": False, "cache": False}
    if not failed:
        report = adaptrt.convert(FIXTURE, adapter="swin", output=tmp_path / "x.onnx", **options)
        assert [check.name for check in report.link(0).checks] == ["same top-1", "scores within 0.001"]
        assert report.verdict is not None
        assert report.verdict.word == "verified"
        return
    with pytest.raises(adaptrt.VerificationError, match="Link 0") as caught:
        adaptrt.convert(FIXTURE, adapter="swin", output=tmp_path / "x.onnx", **options)
    assert failed in caught.value.message
