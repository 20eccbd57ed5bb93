"""The calls of the Python API: what they make of their words."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import adaptrt
from adaptrt.errors import UsageError
from adaptrt.evaluation import evaluate
from adaptrt.pipeline.python_words import in_python


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that would run."""
    requests: list[Any] = []
    for name in ("run_request", "run_build"):
        monkeypatch.setattr(f"adaptrt.api.{name}", lambda request, **_: requests.append(request))
    return requests


def test_one_word_is_no_list_of_letters(asked: list[Any]) -> None:
    adaptrt.convert(
        "best.pt",
        adapter="a",
        shape="x=1x3",
        input_names="x",
        output_names="y",
        keep_fp32="head",
        ort_custom_ops="lib.so",
    )
    adaptrt.build("best.onnx", keep_fp32="head", ort_custom_ops=Path("lib.so"))
    assert [request.keep_fp32 for request in asked] == [("head",)] * 2
    assert [request.ort_custom_ops for request in asked] == [(Path("lib.so"),)] * 2
    assert (asked[0].input_names, asked[0].output_names) == (("x",), ("y",))


def test_lists_are_taken_as_they_are(asked: list[Any]) -> None:
    adaptrt.convert(
        "best.pt",
        adapter="a",
        input_names=["x", "y"],
        keep_fp32=["head", "neck"],
        ort_custom_ops=["a.so", Path("b.so")],
        batch=(1, 4),
        imgsz=(64, 96),
        dynamic=["batch"],
    )
    (request,) = asked
    assert request.input_names == ("x", "y")
    assert request.keep_fp32 == ("head", "neck")
    assert request.ort_custom_ops == (Path("a.so"), Path("b.so"))
    assert request.shapes.imgsz == (64, 96)
    assert (request.shapes.batch.min, request.shapes.batch.max) == (1, 4)
    assert request.shapes.dynamic == {"batch"}


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        (lambda: adaptrt.convert("a.pt", image=np.zeros((3, 3))), "image must be a path or None; got ndarray.", "adaptrt.write_image"),  # type: ignore[arg-type]
        (lambda: adaptrt.convert("a.pt", simplify="no"), "simplify must be True or False; got 'no'.", "adaptrt.convert"),  # type: ignore[arg-type]
        (lambda: adaptrt.convert("a.pt", nms=3), "nms must be True or False, a string or adaptrt.NmsRequest; got 3.", "help("),  # type: ignore[arg-type]
        (lambda: adaptrt.convert("a.pt", build_options={}), "build_options must be adaptrt.BuildOptions or None; got {}.", "help("),  # type: ignore[arg-type]
        (lambda: adaptrt.convert("a.pt", options=[1]), "options must be a dict or None; got [1].", "help("),  # type: ignore[arg-type]
        (lambda: adaptrt.build("a.onnx", names="cat"), "names must be a list of strings; got 'cat'.", "help("),
        (lambda: adaptrt.build("a.onnx", batch=1.5), "batch must be an integer, ", "help("),  # type: ignore[arg-type]
        (lambda: adaptrt.tune("a.onnx", max_loss="1"), "max_loss must be a number; got '1'.", "help("),  # type: ignore[arg-type]
        (lambda: adaptrt.load("a.onnx", join_calls="a"), "join_calls must be an integer; got 'a'.", "adaptrt.load"),  # type: ignore[arg-type]
        (lambda: adaptrt.load(None), "path must be a path; got None.", "adaptrt.load"),  # type: ignore[arg-type]
        (lambda: adaptrt.bench("a.onnx", 2), "files must be a path; got 2.", "adaptrt.bench"),  # type: ignore[arg-type]
        (lambda: adaptrt.bench("a.onnx", gpu_peak=(1,)), "gpu_peak must be a tuple of 2 numbers or None; got (1,).", "help("),  # type: ignore[arg-type]
        (lambda: adaptrt.compare("a.onnx", samples="2"), "samples must be an integer; got '2'.", "help("),  # type: ignore[arg-type]
        (lambda: evaluate("a.onnx", "val"), "files must be a list of paths; got 'a.onnx'.", "help(adaptrt.evaluation.evaluate)"),
        (lambda: evaluate(["a.onnx"], "val", params=[1]), "params must be a dict or None; got [1].", "help("),  # type: ignore[arg-type]
        (lambda: evaluate(["a.onnx"], "val", on_progress=1), "on_progress must be a function or None; got 1.", "help("),  # type: ignore[arg-type]
        (lambda: adaptrt.Predictor("a.onnx", custom_ops="a.so"), "custom_ops must be a list of paths; got 'a.so'.", "adaptrt.Predictor)"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_named(call: Callable[[], Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.message.startswith(message)
    assert hint in str(caught.value.hint)


ODD: list[Any] = [
    None, 0, 1, -1, 1.5, float("nan"), 10**30, "", "x", "a\0b", b"x", [], [1], [None], {}, {"a": 1}, object(), np.zeros(3), np.zeros((2, 2)),
    np.array(1), np.float32(1), True, (), (1, 2), (1, 2, 3), Path("x"), int, adaptrt.BuildOptions(),
]  # fmt: skip
CALLS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "convert": (["a.pt"], {"adapter": "a"}),
    "build": (["a.onnx"], {}),
    "tune": (["a.onnx"], {}),
    "load": (["a.onnx"], {}),
    "bench": (["a.onnx"], {}),
    "compare": (["a.onnx", "b.onnx"], {}),
    "clean": (["a.onnx", "b.onnx"], {}),
    "evaluate": ([["a.onnx"], "val"], {}),
    "Predictor": (["a.onnx"], {}),
    "CalibrationRequest": (["a"], {}),
    "LabeledData": (["a"], {}),
    "NmsRequest": ([], {}),
    "BuildOptions": ([], {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_argument_is_a_raw_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (
        "adaptrt.api.run_request",
        "adaptrt.api.run_build",
        "adaptrt.api.run_tune",
        "adaptrt.pipeline.load.load",
        "adaptrt.pipeline.bench.run.run_bench",
        "adaptrt.pipeline.layers.compare.compare",
        "adaptrt.pipeline.clean.clean",
    ):
        monkeypatch.setattr(place, lambda *_, **__: SimpleNamespace())
    function, (given, options) = getattr(adaptrt, name, evaluate), CALLS[name]
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        for value in ODD:
            if parameter.kind is parameter.VAR_POSITIONAL or index < len(given):
                call = partial(function, *given[:index], value, *given[index + 1 :], **options)
            else:
                call = partial(function, *given, **{**options, parameter.name: value})
            with suppress(adaptrt.AdaptrtError):
                call()


def test_numbers_of_numpy_are_numbers(asked: list[Any]) -> None:
    adaptrt.convert("best.pt", adapter="a", imgsz=np.int64(64), batch=np.array([1, 4]), simplify=np.bool_(False))  # type: ignore[arg-type]
    adaptrt.convert("best.pt", adapter="a", imgsz=[64], shape=(text for text in ("x=1x3",)))  # type: ignore[arg-type]
    assert [request.shapes.imgsz for request in asked] == [(64, 64)] * 2
    assert asked[0].shapes.batch.max == 4
    assert asked[1].shapes.shapes.keys() == {"x"}


def test_errors_name_arguments() -> None:
    with pytest.raises(UsageError) as caught:
        adaptrt.convert("best.pt", adapter="a", keep_fp16="head")
    assert caught.value.message == "keep_fp16 is for int8, and the precision is fp32."
    assert caught.value.hint == 'Add precision="int8", or omit keep_fp16.'
    assert str(caught.value) == f"{caught.value.message}\n{caught.value.hint}"
    with pytest.raises(UsageError) as caught:
        adaptrt.convert("best.pt", adapter="a", batch="x")
    assert caught.value.hint == 'For example: batch=4, or batch="1:8:16" (min:opt:max)'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Use --precision fp16, or export with --exporter dynamo.", 'Use precision="fp16", or export with exporter="dynamo".'),
        ("a fixed axis (--batch, --shape).", "a fixed axis (batch, shape)."),
        ("Use --opset 17 or later, or --keep-fp32 for this layer.", "Use opset=17 or later, or keep_fp32 for this layer."),
        ("The library is missing: --plugin-lib my.so", 'The library is missing: build_options=BuildOptions(plugin_libs=("my.so",))'),
        ("Specify a few: --precision int8 --calib images/", 'Specify a few: precision="int8", calib="images/"'),
        ("--shape images=1x4x32x32: images have 3 channels.", 'shape="images=1x4x32x32": images have 3 channels.'),
        ("Specify it: --shape images=1..4x3x640x640", 'Specify it: shape="images=1..4x3x640x640"'),
        ("--dynamic batch,hw and --keep-fp32 '/head/.*'", 'dynamic="batch,hw" and keep_fp32="/head/.*"'),
        ("For example: --set conf=0.4", 'For example: options={"conf": 0.4}'),
        ("or lower --set conf", 'or lower options["conf"]'),
        ("Increase --workspace, or --build-timeout 60.", "Increase workspace of BuildOptions, or build_options=BuildOptions(timeout=60)."),
        ("Disable it (--no-simplify).", "Disable it (simplify=False)."),
        ("Allow it: --trust-checkpoint (in Python: trust_checkpoint=True).", "Allow it: trust_checkpoint=True."),
        ("Choose another folder with -o.", "Choose another folder with output."),
        ("See: adaptrt lint a.onnx --target rtx", "See: adaptrt lint a.onnx --target rtx"),
        ("pip install --upgrade onnxruntime, or convert for an older --opset.", "pip install --upgrade onnxruntime, or convert for an older opset."),
        ("Use --debug -- or not.", "Use --debug -- or not."),
    ],
)  # fmt: skip
def test_options_as_arguments(text: str, said: str) -> None:
    assert in_python(text, adaptrt.convert) == said


def test_parameters_in_a_dict() -> None:
    assert in_python("For example: --set conf=0.5", evaluate) == 'For example: params={"conf": 0.5}'
    assert in_python("For example: --set conf=0.5", adaptrt.Predictor.__init__) == 'For example: params={"conf": 0.5}'
    assert in_python("or lower --set conf", evaluate) == 'or lower params["conf"]'
    assert (
        in_python("For example: --backend eager,onnxruntime", evaluate)
        == 'For example: backends=["eager", "onnxruntime"]'
    )
