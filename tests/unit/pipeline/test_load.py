"""Opening what was converted: which files can be opened, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason="ONNX files are written with onnx")
pytest.importorskip("onnxruntime", reason="running ONNX files requires ONNX Runtime")

import numpy as np  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

import adaptrt  # noqa: E402
from adaptrt.errors import ImageError, ModelError, UsageError  # noqa: E402
from adaptrt.specs import METADATA_KEY, DecoderSpec, ImageTransform, InputSpec, ModelSpec, parse_batch  # noqa: E402


def write(path: Path, batch: str, metadata: str | None = None) -> Path:
    """A network that gives the mean color of each image: [B, 3, 8, 8] to [B, 3]."""
    size: int | str = int(batch) if batch.isdecimal() else "batch"
    made = helper.make_graph(
        [helper.make_node("ReduceMean", ["images"], ["y"], axes=[2, 3], keepdims=0)],
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [size, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, 3])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    spec = ModelSpec(
        (InputSpec.image(8, 8, batch=parse_batch(batch)),),
        task="classify",
        image=ImageTransform(resize="stretch"),
        decoder=DecoderSpec("classify", {"top_k": 3, "probabilities": True}),
        labels=("red", "green", "blue"),
    )
    helper.set_model_props(model, {METADATA_KEY: spec.to_json() if metadata is None else metadata})
    onnx.save(model, str(path))
    return path


def plain(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((16, 16, 3), (red, green, blue), np.uint8)


@pytest.mark.parametrize("batch", ["1:4", "1", "3", "2:4"])
@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_any_number_of_images_at_any_batch(tmp_path: Path, batch: str, count: int) -> None:
    """Larger lists are cut, smaller ones filled up; each image keeps its own answer."""
    colors = [plain(255, 0, 0), plain(0, 255, 0), plain(0, 0, 255)]
    with adaptrt.load(write(tmp_path / "net.onnx", batch)) as model:
        found = model([colors[index % 3] for index in range(count)])
    assert [one.name(0) for one in found] == ["red", "green", "blue", "red", "green"][:count]  # type: ignore[union-attr]


def test_one_image_and_parameters_for_one_call(tmp_path: Path) -> None:
    model = adaptrt.load(write(tmp_path / "net.onnx", "1:4"))
    (found,) = model(plain(200, 100, 0), top_k=2)
    assert isinstance(found, adaptrt.Classification)
    assert [found.name(index) for index in range(len(found))] == ["red", "green"]
    assert len(model(plain(0, 0, 9))[0]) == 3  # type: ignore[arg-type]
    assert model([]) == []


def test_unknown_parameters_have_a_nearest(tmp_path: Path) -> None:
    model = adaptrt.load(write(tmp_path / "net.onnx", "1:4"))
    with pytest.raises(UsageError, match="no option 'topk'") as caught:
        model(plain(0, 0, 0), topk=2)
    assert caught.value.hint == "Did you mean 'top_k'?"
    with pytest.raises(UsageError, match="at least 1"):
        model(plain(0, 0, 0), top_k=0)


def test_images_that_are_none(tmp_path: Path) -> None:
    model = adaptrt.load(write(tmp_path / "net.onnx", "1:4"))
    for wrong in (tmp_path / "none.png", np.zeros((4, 4), np.float32), 3):
        with pytest.raises(ImageError):
            model(wrong)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path / "best.onnx", "1")
    with pytest.raises(ModelError, match="File not found") as caught:
        adaptrt.load(tmp_path / "bset.onnx")
    assert caught.value.hint == "Did you mean 'best.onnx'?"
    with pytest.raises(ModelError, match="is a folder"):
        adaptrt.load(tmp_path)


def test_jpeg_files_are_decoded_on_a_gpu_for_engines_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gpu_jpeg requires an engine"):
        adaptrt.load(write(tmp_path / "net.onnx", "1"), gpu_jpeg=True)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "best.pt").touch()
    with pytest.raises(ModelError, match="best.pt") as caught:
        adaptrt.load(tmp_path / "best.pt")
    assert "adaptrt convert" in (caught.value.hint or "")
    (tmp_path / "bad.onnx").write_text("no graph")
    with pytest.raises(ModelError, match="cannot load bad.onnx"):
        adaptrt.load(tmp_path / "bad.onnx")


@pytest.mark.parametrize(
    ("metadata", "message"), [("", "has no adaptrt spec"), ("{}", "spec in this file cannot be read")]
)
def test_a_file_without_a_spec(tmp_path: Path, metadata: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        adaptrt.load(write(tmp_path / "net.onnx", "1", metadata))


def test_a_model_used_for_long_remembers_little(tmp_path: Path) -> None:
    model = adaptrt.load(write(tmp_path / "net.onnx", "1"))
    image = plain(1, 2, 3)
    for _ in range(600):
        model(image)
    recorder = model._processing._hooks._recorder
    assert len(recorder.calls) <= 1000
    assert len(recorder._contributed) == 0
