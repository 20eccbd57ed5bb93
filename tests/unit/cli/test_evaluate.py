"""``adaptrt evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ORIGIN = ("--adapter", "tiny", "--source", "classifier")


@pytest.fixture
def converted(tiny: str, adaptrt: Callable[..., Any]) -> str:
    assert adaptrt("convert", "--adapter", "tiny", "classifier", "--verify", "none", "-q").code == 0
    from adaptrt.vision.images import write_image

    for number, name in enumerate(("red", "green", "blue")):
        Path("val", name).mkdir(parents=True)
        write_image(Path("val", name, "one.png"), np.full((30, 30, 3), 80 * number, np.uint8))
    return "classifier.onnx"


def test_a_table(converted: str, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("evaluate", converted, "--data", "val", "--backend", "eager,onnxruntime", *ORIGIN)
    assert result.code == 0
    head, eager, onnx, *rest = result.out.splitlines()
    assert head.split() == [
        *("backend", "file", "top-1", "loss", "max", "difference", "agrees", "images/s", "model", "only/s")
    ]
    loss = eager.split()[4]
    assert onnx.split()[4] == loss
    assert float(loss) > 0
    assert 0 <= float(onnx.split()[5]) < 1e-4
    assert eager.startswith("eager ")
    assert "100.00 %" in onnx
    assert rest[-1] == "3 images of val, batch size 2"


def test_json(converted: str, adaptrt: Callable[..., Any]) -> None:
    data = adaptrt("evaluate", converted, "--data", "val", "--json").json
    assert data["images"] == 3
    (result,) = data["results"]
    assert set(result["scores"]) == {"top-1"}
    assert result["images_per_second"] > 0


def test_an_onnx_file_that_was_replaced_since_the_build(
    converted: str, adaptrt: Callable[..., Any], copying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found beside the built file by its name, it may hold another model."""
    from adaptrt.onnxfile.hashing import onnx_sha256
    from adaptrt.specs import BuildOptions, ModelSpec
    from adaptrt.specs.backend_parts import BuildOrigin

    onnx = pytest.importorskip("onnx", reason="changes the file")
    origin = BuildOrigin(
        onnx=converted, precision="fp32", options=BuildOptions(), onnx_sha256=onnx_sha256(Path(converted))
    )
    spec = ModelSpec.from_json(
        next(one.value for one in onnx.load(converted).metadata_props if one.key == "adaptrt.spec")
    )
    monkeypatch.setattr(copying, "origin_of", lambda path: origin, raising=False)
    monkeypatch.setattr(copying, "read_spec", lambda path: spec, raising=False)
    built = Path("classifier.copy.bin")
    built.write_bytes(Path(converted).read_bytes())
    for file, backends in ((built, "copying,onnxruntime"), (converted, "onnxruntime,copying"), (built, "copying")):
        words = ("evaluate", file, "--data", "val", "--backend", backends, "--json")
        assert not [note for note in adaptrt(*words).json["notes"] if "identical" in note]
    model = onnx.load(converted)
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    onnx.save(model, converted)
    for file, backends in ((built, "copying,onnxruntime"), (converted, "onnxruntime,copying")):
        words = ("evaluate", file, "--data", "val", "--backend", backends, "--json")
        assert [note for note in adaptrt(*words).json["notes"] if "identical" in note] == [
            "classifier.onnx is not identical to the file that classifier.copy.bin was built from: they may be two models"
        ]
    alone = adaptrt("evaluate", built, "--data", "val", "--backend", "copying", "--json")
    assert not [note for note in alone.json["notes"] if "identical" in note], "only one of them is evaluated"


def test_a_loss_fails(converted: str, adaptrt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("evaluate", converted, "--data", "val", "--backend", "eager,onnxruntime", *ORIGIN, "--max-loss")
    assert adaptrt(*words, "0.1").code == 0
    from adaptrt.evaluation.records import Evaluation

    monkeypatch.setattr(Evaluation, "losses", lambda self: {"onnxruntime classifier.onnx": 1.5})
    result = adaptrt(*words, "0.1")
    assert result.code == 9
    assert "loses 1.50 points; at most 0.1" in result.err


def test_libraries_reach_the_backends(
    converted: str, adaptrt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As predict takes them: without, a model with operators of its own could be converted and not evaluated."""
    from adaptrt.evaluation import subjects

    seen: list[Any] = []
    load = subjects.load
    Path("my.so").touch()
    Path("ops.so").touch()
    words = ("--plugin-lib", "my.so", "--ort-custom-ops", "ops.so")
    with monkeypatch.context() as patched:
        patched.setattr(subjects, "load", lambda path, options, **_: (seen.append(options), load(path))[1])
        assert adaptrt("evaluate", converted, "--data", "val", *words).code == 0
    assert (seen[0].plugin_libs, seen[0].custom_ops) == ((Path("my.so"),), (Path("ops.so"),))
    result = adaptrt("evaluate", converted, "--data", "val", "--ort-custom-ops", "ops.so")
    assert result.code != 0
    assert "ops.so" in result.err


@pytest.mark.parametrize("option", ["--plugin-lib", "--ort-custom-ops"])
def test_a_library_that_is_not_there(option: str, converted: str, adaptrt: Callable[..., Any]) -> None:
    """Also where no backend would have loaded it."""
    image = next(path for path in Path("val").rglob("*") if path.is_file())
    for words in (("evaluate", converted, "--data", "val"), ("predict", converted, str(image))):
        result = adaptrt(*words, option, "missing.so")
        assert (result.code, f"{option}: file not found: missing.so." in result.err) == (2, True), result.err


def test_errors_are_one_line(converted: str, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("evaluate", converted, "--data", "nowhere")
    assert result.code == 2
    assert "Not found: nowhere." in result.err
    assert adaptrt("evaluate", converted).code == 2


def test_a_loss_needs_something_to_lose_against(converted: str, adaptrt: Callable[..., Any]) -> None:
    words = ("evaluate", converted, "--data", "val", "--max-loss")
    alone = adaptrt(*words, "0.1")
    assert alone.code == 2
    assert "--max-loss requires two results to compare; got only onnxruntime classifier.onnx." in alone.err
    both = (*words[:-1], "--backend", "eager,onnxruntime", *ORIGIN, "--max-loss")
    assert adaptrt(*both, "nan").code == 2
    uncounted = adaptrt(*both, "0.1", "--format-only", "results.json")
    assert uncounted.code == 2
    assert "--format-only does not compute any" in uncounted.err
    assert not Path("results.json").exists()


def test_quiet_is_for_ci(converted: str, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("evaluate", converted, "--data", "val", "-q")
    assert (result.code, result.out) == (0, "")
