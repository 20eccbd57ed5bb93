"""Backends side by side, on a tiny classifier."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adaptrt
from adaptrt import DependencyError, ImageError, ModelError, ShapeError, UsageError
from adaptrt.backends.tensorrt.generations import TENSORRT
from adaptrt.evaluation import evaluate
from adaptrt.evaluation.files import ResultsFile
from adaptrt.evaluation.run import _difference
from adaptrt.evaluation.subjects import choose_subjects

ORIGIN = {"adapter": "tiny", "source": "classifier"}


@pytest.fixture
def converted(tiny: str) -> Path:
    """``classifier.onnx`` and its report."""
    adaptrt.convert("classifier", adapter="tiny", verify="none", html=False)
    return Path("classifier.onnx").absolute()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Nine images of three classes."""
    from adaptrt.vision.images import write_image

    rng = np.random.default_rng(0)
    for number, name in enumerate(("red", "green", "blue")):
        for index in range(3):
            pixels = rng.integers(0, 80, (40, 50 + index, 3)).astype(np.uint8)
            pixels[..., number] += 150
            (tmp_path / "val" / name).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / "val" / name / f"{index}.png", pixels)
    return tmp_path / "val"


def test_eager_and_onnxruntime_agree(converted: Path, data: Path) -> None:
    seen: list[Any] = []
    found = evaluate(
        [converted],
        data,
        backends=["eager", "onnxruntime"],
        **ORIGIN,
        on_progress=lambda *at: seen.append(at),
    )
    eager, onnx = found.results
    assert (eager.backend, onnx.backend) == ("eager", "onnxruntime")
    assert eager.images == onnx.images == found.images == 9
    assert onnx.same == 1.0
    assert eager.same is None
    assert eager.scores == onnx.scores
    assert list(eager.scores) == ["top-1"]
    assert found.losses() == {"onnxruntime classifier.onnx": 0.0}
    assert min(onnx.seconds.values()) > 0
    assert onnx.runs_per_second > onnx.images_per_second > 0
    assert [at for at in seen if at[0].startswith("eager")][-1][1:] == (9, 9)


def test_the_score_is_that_of_the_model(converted: Path, data: Path) -> None:
    model = adaptrt.load(converted)
    names = [path.parent.name for path in sorted(data.rglob("*.png"))]
    answers = [found.name(0) for found in model(sorted(data.rglob("*.png")))]  # type: ignore[union-attr]
    expected = sum(a == b for a, b in zip(names, answers, strict=True)) / len(names)
    found = evaluate([converted], data)
    assert found.results[0].scores["top-1"] == pytest.approx(expected)
    assert found.results[0].backend == "onnxruntime"


def test_the_batch_changes_nothing(converted: Path, data: Path) -> None:
    scores = [evaluate([converted], data, batch=batch).results[0].scores for batch in (1, 2, 4)]
    assert scores[0] == scores[1] == scores[2]
    with pytest.raises(ShapeError, match="up to 4") as caught:
        evaluate([converted], data, batch=5)
    assert caught.value.hint == "Use batch=4, or convert the model for larger batches."
    with pytest.raises(UsageError) as wrong:
        evaluate([converted], data, params={"top_k": 0})
    assert "--" not in str(wrong.value)


def test_a_part_of_the_data_is_spread_over_it(converted: Path, data: Path) -> None:
    found = evaluate([converted], data, limit=3)
    assert found.images == 3
    assert "3 of 9 images" in found.notes[-1]


def test_a_missing_backend_is_reported_before_others_run(
    converted: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for flavor in ("full", "lean", "dispatch"):
        monkeypatch.setitem(TENSORRT.modules, flavor, ())  # type: ignore[arg-type]
    converted.with_suffix(".engine").write_bytes(b"a plan")
    seen: list[Any] = []
    with pytest.raises(DependencyError, match="TensorRT is not installed"):
        evaluate(
            [converted],
            data,
            backends=["eager", "onnxruntime", "tensorrt"],
            **ORIGIN,
            on_progress=lambda *at: seen.append(at),
        )
    assert seen == []


def with_classes_in_another_order(path: Path, output: Path) -> Path:
    """The same classifier, whose last class comes first."""
    import onnx
    from onnx import helper, numpy_helper

    from adaptrt.specs import METADATA_KEY, ModelSpec

    model = onnx.load(str(path))
    spec = ModelSpec.from_json(next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY))
    order = [len(spec.labels) - 1, *range(len(spec.labels) - 1)]
    ((out,), graph) = model.graph.output, model.graph
    for node in graph.node:
        node.output[:] = ["before" if name == out.name else name for name in node.output]
    graph.initializer.append(numpy_helper.from_array(np.array(order, np.int64), "order"))
    graph.node.append(helper.make_node("Gather", ["before", "order"], [out.name], axis=1))
    labels = tuple(spec.labels[number] for number in order)
    helper.set_model_props(model, {METADATA_KEY: replace(spec, labels=labels).to_json()})
    output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(output))
    return output


def test_each_file_is_scored_with_its_own_classes(converted: Path, data: Path, tmp_path: Path) -> None:
    other = with_classes_in_another_order(converted, tmp_path / "other" / "classifier.onnx")
    (alone,) = evaluate([converted], data).results
    assert alone.scores["top-1"] > 0.5
    found = evaluate([converted, other], data)
    assert [result.scores for result in found.results] == [alone.scores] * 2
    assert [result.same for result in found.results] == [None, None]
    (note,) = found.notes
    assert note.startswith(f"{other} has other classes than {converted}, or in another order")


def test_files_of_one_name_are_shown_by_their_paths(converted: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "classifier.onnx"
    other.parent.mkdir()
    shutil.copy(converted, other)
    written = ResultsFile(tmp_path / "found.json", several=True)
    found = evaluate([converted, other], data, on_records=written)
    assert [result.file for result in found.results] == [str(converted), str(other)]
    assert [path.name for path in written.written] == [
        "found.classifier.onnxruntime.json",
        "found.classifier-2.onnxruntime.json",
    ]
    assert found.losses() == {f"onnxruntime {other}": 0.0}


def test_files_of_different_tasks_are_refused_before_any_runs(converted: Path, tiny: str, data: Path) -> None:
    adaptrt.convert("detector", adapter="tiny", verify="none", html=False)
    seen: list[Any] = []
    with pytest.raises(UsageError) as caught:
        evaluate([converted, "detector.onnx"], data, on_progress=lambda *at: seen.append(at))
    assert caught.value.message == (
        "The files have different tasks: classifier.onnx is for classify, detector.onnx is for detect."
    )
    assert not seen


def test_a_damaged_image_is_skipped_and_named(converted: Path, data: Path) -> None:
    (data / "red" / "0.png").write_bytes(b"\x89PNG")
    found = evaluate([converted], data, backends=["onnxruntime", "eager"], **ORIGIN)
    assert [result.images for result in found.results] == [8, 8]
    assert len(found.notes) == 1
    assert "0.png" in found.notes[0]
    for path in data.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="No image"):
        evaluate([converted], data)


def test_a_checkpoint_that_moved(converted: Path, data: Path) -> None:
    with pytest.raises(ModelError, match="no net 'gone'"):
        evaluate([converted], data, backends=["eager"], adapter="tiny", source="gone")


def test_other_tasks_are_refused(tiny: str, data: Path) -> None:
    adaptrt.convert("two_inputs", adapter="tiny", verify="none", html=False)
    with pytest.raises(UsageError, match="task 'values' cannot be evaluated") as caught:
        evaluate(["two_inputs.onnx"], data)
    assert caught.value.hint == "Tasks that can be evaluated: classify, detect, obb, pose, segment, semantic."


def test_which_files_a_backend_runs(tmp_path: Path) -> None:
    onnx, engine, other = (tmp_path / name for name in ("a.onnx", "a.engine", "b.onnx"))
    for path in (onnx, engine, other):
        path.touch()

    def chosen(files: list[Path], *backends: str) -> list[tuple[str, str]]:
        return [(subject.backend, subject.path.name) for subject in choose_subjects(files, backends)]

    assert chosen([onnx, engine]) == [("onnxruntime", "a.onnx"), ("tensorrt", "a.engine")]
    assert chosen([engine], "onnxruntime", "tensorrt") == [("onnxruntime", "a.onnx"), ("tensorrt", "a.engine")]
    assert chosen([onnx, other], "onnxruntime") == [("onnxruntime", "a.onnx"), ("onnxruntime", "b.onnx")]
    for backends, words in ({("tensort",): "Did you mean 'tensorrt'", ("eager",): "no report next to it"}).items():
        with pytest.raises(UsageError) as caught:
            chosen([onnx], *backends)
        assert words in str(caught.value)
    with pytest.raises(UsageError, match="no file to run"):
        chosen([other], "tensorrt")
    with pytest.raises(ModelError, match="File not found"):
        chosen([tmp_path / "c.onnx"])


@pytest.mark.parametrize(
    ("data", "images", "missing"), [("nowhere.json", None, "nowhere.json"), (".", "pictures", "pictures")]
)
def test_missing_data_is_named_before_the_model_is_opened(
    tmp_path: Path, data: str, images: str | None, missing: str
) -> None:
    """Whatever the task of the model, and whatever it reads inside the data."""
    file = tmp_path / "any.onnx"
    file.write_bytes(b"not a model")
    with pytest.raises(UsageError, match=f"^Not found: .*{missing}[.]"):
        evaluate([file], tmp_path / data, images=tmp_path / images if images else None)


def test_problems_of_the_outputs_are_noted(converted: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score of a graph whose NMS did not converge, say, must not look like any other."""
    from adaptrt.pipeline import batches

    original = batches.decoder_of

    def complaining(spec: Any) -> Any:
        return replace(original(spec), problems=lambda outputs, metas, spec: [f"{len(metas)} images are odd"])

    monkeypatch.setattr(batches, "decoder_of", complaining)
    found = evaluate([converted], data, batch=4)
    assert found.notes == ["classifier.onnx in onnxruntime: 4 images are odd (2 more such warnings)"]


@pytest.mark.parametrize("first", [True, False])
def test_a_difference_of_nan_is_not_hidden_by_another(first: bool) -> None:
    right, wrong, other = np.array([0.5, np.nan]), np.array([np.nan, np.nan]), np.array([0.5, 0.5])
    pairs = [(right, wrong), (other, other + 0.1)]
    baseline, values = zip(*(pairs if first else pairs[::-1]), strict=True)
    assert _difference(baseline, values) == {"max difference": np.inf}
    assert _difference([right], [right]) == {"max difference": 0.0}
