"""Opening what was converted: which files can be opened, and what is said of the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import pytest

onnx = pytest.importorskip("onnx", reason="ONNX files are written with onnx")
pytest.importorskip("onnxruntime", reason="running ONNX files requires ONNX Runtime")

import numpy as np  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

import adaptrt  # noqa: E402
from adaptrt.errors import ImageError, ModelError, UsageError  # noqa: E402
from adaptrt.pipeline.processing import spec_with_params  # noqa: E402
from adaptrt.sources import Frame  # noqa: E402
from adaptrt.specs import METADATA_KEY, DecoderSpec, ImageTransform, InputSpec, ModelSpec, parse_batch  # noqa: E402
from adaptrt.specs.backends import BACKENDS, OpenOptions  # noqa: E402


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


def test_errors_about_parameters_name_them(tmp_path: Path) -> None:
    with adaptrt.load(write(tmp_path / "a.onnx", "1..4")) as model:
        for params in ({"top_k": "many"}, {"top_k": [1]}):
            with pytest.raises(UsageError, match=r"^top_k=.*Expected `int`") as caught:
                model(plain(9, 0, 0), **params)
            assert "--set" not in str(caught.value)
        with pytest.raises(UsageError, match="batch must be an integer or None; got '1'"):
            model.predict("a.png", batch="1")  # type: ignore[arg-type]


def test_images_that_are_none(tmp_path: Path) -> None:
    model = adaptrt.load(write(tmp_path / "net.onnx", "1:4"))
    for wrong in (tmp_path / "none.png", np.zeros((4, 4), np.float32), 3):
        with pytest.raises(ImageError):
            model(wrong)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path / "best.onnx", "1")
    with pytest.raises(ModelError, match="File not found") as caught:
        adaptrt.load(tmp_path / "bset.onnx")
    assert caught.value.hint == f"Did you mean '{tmp_path / 'best.onnx'}'?"
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


def test_a_model_joins_only_where_it_is_asked_to(tmp_path: Path) -> None:
    file = write(tmp_path / "net.onnx", "1:4")
    colors = [plain(255, 0, 0), plain(0, 255, 0), plain(0, 0, 255)]
    with adaptrt.load(file, join_calls=4) as model, ThreadPoolExecutor(6) as pool:
        batches: list[int] = []
        whole = model._pipeline.begin

        def counted(images: Sequence[Any], spec: ModelSpec) -> Any:
            batches.append(len(images))
            return whole(images, spec)

        assert model._joined is not None
        model._joined._begin = counted
        found = list(pool.map(lambda index: model(colors[index % 3])[0], range(60)))
        assert [one.name(0) for one in found] == [["red", "green", "blue"][index % 3] for index in range(60)]  # type: ignore[union-attr]
        assert sum(batches) == 60
        assert max(batches) <= 4
        assert len(model(colors)) == 3, "a list is a batch already"
        assert sum(batches) == 60
    with adaptrt.load(file) as alone:
        assert alone._joined is None
    for wrong in (0, 5):
        with pytest.raises(UsageError, match="join_calls must be 1 to 4"):
            adaptrt.load(file, join_calls=wrong)


def test_the_bytes_of_a_file_are_one_image_that_has_to_be_decoded(tmp_path: Path) -> None:
    with adaptrt.load(write(tmp_path / "net.onnx", "1:4")) as model:
        with pytest.raises(ImageError, match="^bytes is not an image") as caught:
            model(b"\xff\xd8\xff")
        assert "cv2.imdecode" in str(caught.value.hint)


def test_what_a_runner_finds_while_it_runs_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as why an engine's images are preprocessed on the CPU, which is known after the first."""
    from adaptrt.pipeline.executors import LOCAL
    from adaptrt.specs.executors import ExecutorOptions
    from adaptrt.vision.images import write_image

    file = write(tmp_path / "net.onnx", "1:4")
    images = [write_image(tmp_path / f"{index}.png", plain(255, 0, 0)) for index in range(3)]
    found: list[str] = []
    with adaptrt.load(file) as model:
        runner = type(model.runner)
        run = runner.run

        def finds(self: Any, inputs: Any) -> Any:
            found[:] = ["preprocessed on the CPU"]
            return run(self, inputs)

        monkeypatch.setattr(runner, "run", finds)
        monkeypatch.setattr(runner, "warnings", property(lambda _: tuple(found)), raising=False)
        assert model.later_warnings() == []
        model(images[0])
        assert model.later_warnings() == ["preprocessed on the CPU"]
        assert model.later_warnings() == []
        assert model.warnings[-1:] == ["preprocessed on the CPU"]
    found.clear()
    said: list[str] = []
    assert len(list(LOCAL.run(file, images, ExecutorOptions(warn=said.append)))) == 3
    assert said == ["preprocessed on the CPU"]


@pytest.mark.parametrize("device", ["cpuu", "CPU", "gpu", "tpu", "0", "", 0, "cuda:x", "cuda:", "cpu:0"])
def test_what_is_not_a_device(tmp_path: Path, device: Any) -> None:
    path = write(tmp_path / "net.onnx", "1")
    with pytest.raises(UsageError, match=f"^{device!r} is not a device") as caught:
        adaptrt.load(path, device=device)
    assert caught.value.hint == "Use cpu, cuda or cuda:0."
    with adaptrt.load(path, device="cpu") as model:
        assert model.runner.backend == "onnxruntime"


def test_a_backend_may_have_other_kinds_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SimpleNamespace(devices=("npu",))
    monkeypatch.setattr(BACKENDS, "all", lambda: [backend])
    for device in (None, "cpu", "cuda", "cuda:1", "npu", "npu:2"):
        assert OpenOptions(device=device).device == device
    with pytest.raises(UsageError, match="is not a device"):
        OpenOptions(device="tpu")


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"conf": np.float64(0.5), "max_det": np.int64(2)}, {"conf": 0.5, "max_det": 2}),
        ({"conf": np.float32(0.5), "agnostic": np.bool_(True)}, {"conf": 0.5, "agnostic": True}),
        ({"conf": np.array(0.5), "classes": np.array([3])}, {"conf": 0.5, "classes": (3,)}),
        ({"classes": [np.int64(3), "a"]}, {"classes": (3, "a")}),
        ({"classes": np.array(["a"])}, {"classes": ("a",)}),
    ],
)
def test_parameters_may_be_values_of_numpy(given: dict[str, Any], plain: dict[str, Any]) -> None:
    spec = ModelSpec((InputSpec.image(8, 8),), task="detect", decoder=DecoderSpec("yolo"), labels=("a", "b", "c", "d"))
    found = spec_with_params(spec, given).decoder
    assert found is not None
    assert {key: found.params[key] for key in plain} == plain
    assert {type(found.params[key]) for key in plain} == {type(value) for value in plain.values()}


def test_lists_as_parameters_are_remembered_by_their_items(tmp_path: Path) -> None:
    """A call with ``classes=[0, 2]`` does not make a spec each time."""
    model = adaptrt.load(write(tmp_path / "net.onnx", "1"))
    model.spec = ModelSpec((InputSpec.image(8, 8),), task="detect", decoder=DecoderSpec("yolo"), labels=("a", "b", "c"))
    classes = [0, 2]
    known = model._spec_with({"classes": classes})
    assert model._spec_with({"classes": [0, 2]}) is known
    classes[1] = 1
    changed = model._spec_with({"classes": classes})
    assert (changed.decoder.params["classes"], known.decoder.params["classes"]) == ((0, 1), (0, 2))  # type: ignore[union-attr]


def test_a_call_with_a_parameter_of_numpy(tmp_path: Path) -> None:
    with adaptrt.load(write(tmp_path / "net.onnx", "1")) as model:
        assert len(model(plain(255, 0, 0), top_k=np.int64(2))[0].scores) == 2
        with pytest.raises(UsageError, match="top_k"):
            model(plain(255, 0, 0), top_k=np.float32(0.5))


class _Frames:
    """A source of three frames that records what happens to it."""

    name, live, still, fps = "frames", False, False, None

    def __init__(self) -> None:
        self.opened = self.ended = False

    def close(self) -> None: ...

    def frames(self) -> Iterator[Frame]:
        self.opened = True
        try:
            for index in range(3):
                yield Frame(source=self.name, index=index, pixels=plain(255, 0, 0))
        finally:
            self.ended = True


def test_results_of_a_closed_model_are_an_error(tmp_path: Path) -> None:
    """Results that were not asked for before the model was closed would look like an empty folder."""
    with adaptrt.load(write(tmp_path / "net.onnx", "1")) as model:
        later, begun = _Frames(), _Frames()
        results, others = model.predict(later), model.predict(begun)
        next(others)
        ended = model.predict(_Frames())
        next(ended)
        ended.close()
        complete = model.predict(_Frames())
        assert len(list(complete)) == 3
    assert begun.ended
    for found in (results, others):
        with pytest.raises(ModelError, match=r"net\.onnx has been closed"):
            next(found)
    assert not later.opened
    assert list(ended) == list(complete) == list(others) == []
    with pytest.raises(ModelError, match=r"net\.onnx has been closed"):
        list(model.predict(_Frames()))


def test_a_model_is_closed_while_another_thread_asks_for_results(tmp_path: Path) -> None:
    class Results(WeakKeyDictionary[Any, threading.Thread]):
        def items(self) -> Any:
            for pair in super().items():
                self[Asked()] = threading.current_thread()
                yield pair

    class Asked:
        """Results of another thread."""

        def __init__(self) -> None:
            kept.append(self)

    kept: list[Asked] = []
    with adaptrt.load(write(tmp_path / "net.onnx", "1")) as model:
        model._results = Results()
        begun = _Frames()
        next(model.predict(begun))
    assert begun.ended
