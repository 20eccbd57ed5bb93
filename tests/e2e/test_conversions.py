"""Whole conversions of small networks, right and wrong, through both front ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adaptrt
from adaptrt import Detections, ExportError, PatchError, Report, UsageError, VerificationError

Install = Callable[..., str]

pytestmark = pytest.mark.usefixtures("tiny")


def convert(net: str, **options: Any) -> Report:
    return adaptrt.convert(net, adapter="tiny", html=False, **options)


def session_of(report: Report) -> Any:
    import onnxruntime

    assert report.onnx is not None
    return onnxruntime.InferenceSession(str(report.onnx), providers=["CPUExecutionProvider"])


def reference(net: str, *inputs: np.ndarray) -> Any:
    """What the untouched network gives, without adaptrt in between."""
    import torch
    from tinyvision.nets import NETS, seeded

    with torch.inference_mode():
        return seeded(NETS[net]())(*map(torch.from_numpy, inputs))


def images(batch: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(5).random((batch, 3, height, width), np.float32)


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.full)])
def test_a_detector(exporter: str, image: Path) -> None:
    report = convert("detector", exporter=exporter, image=image)
    assert [link.status for link in report.links] == ["passed", "passed", "passed", "not run", "not run", "passed"]
    assert report.exporter == exporter
    session = session_of(report)
    assert session.get_inputs()[0].shape == ["batch", 3, 64, 64]
    assert session.get_outputs()[0].shape == ["batch", 7, 64]
    for batch in (1, 3, 4):
        expected = reference("detector", images(batch)).numpy()
        np.testing.assert_allclose(session.run(None, {"images": images(batch)})[0], expected, atol=1e-4)
    assert not {"Shape", "Gather", "Range", "Expand"} & set(report.operators["final"])
    assert session.get_modelmeta().custom_metadata_map["stride"] == "8"
    with adaptrt.load(report.onnx) as model:  # type: ignore[arg-type]
        (found,) = model(image, conf=0.9)
        assert isinstance(found, Detections)
        assert (found.scores > 0.9).all()
        assert {found.name(index) for index in range(len(found))} == {"red", "blue"}
        many = model([image] * 6)  # more than the largest batch
        assert [len(one) for one in many] == [len(many[0])] * 6


def test_patches_make_the_graph_better_and_change_nothing(image: Path) -> None:
    patched = convert("detector", output="patched", image=image)
    plain = convert("detector", output="plain", image=image, options={"patched": False}, simplify=False)
    assert plain.link(1).reason == "no patches"
    sizes = [sum(report.operators["exported"].values()) for report in (patched, plain)]
    assert sizes[0] < sizes[1]
    assert "Shape" in plain.operators["exported"]
    assert "Shape" not in patched.operators["exported"]
    given = {"images": images(2)}
    np.testing.assert_allclose(
        session_of(patched).run(None, given)[0], session_of(plain).run(None, given)[0], atol=1e-4
    )


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.full)])
def test_two_inputs_and_a_nest_of_outputs(exporter: str) -> None:
    report = convert("two_inputs", exporter=exporter)
    session = session_of(report)
    assert [tensor.name for tensor in session.get_inputs()] == ["a", "b"]
    assert [tensor.name for tensor in session.get_outputs()] == ["sum", "parts_1", "parts_2"]
    a, b = np.random.default_rng(0).random((2, 3, 4), np.float32)
    expected = reference("two_inputs", a, b)
    for found, wanted in zip(
        session.run(None, {"a": a, "b": b}),
        (expected["sum"], expected["parts"][0], expected["parts"][2][0]),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_an_empty_image_proves_nothing(image: Path) -> None:
    report = convert("detector", image=image, batch=1, options={"conf": "1.0"})
    assert report.status == "passed"
    for number in (0, 5):
        assert report.link(number).status == "not run"
        assert "nothing was detected" in report.link(number).reason


def test_names_of_inputs_and_outputs(image: Path) -> None:
    report = convert("detector", input_names=["pixels"], output_names=["boxes"], image=image)
    session = session_of(report)
    assert [tensor.name for tensor in (*session.get_inputs(), *session.get_outputs())] == ["pixels", "boxes"]
    assert [check.name for check in report.link(2).checks][:2] == ["boxes", "boxes: scores"]
    assert report.spec is not None
    assert report.spec.image is not None
    assert report.spec.image.input == "pixels"
    with adaptrt.load(report.onnx) as model:  # type: ignore[arg-type]
        assert len(model(image)[0])  # type: ignore[arg-type]
    several = convert("two_inputs", input_names=["x", "y"], output_names=["s", "p", "q"])
    assert [tensor.name for tensor in session_of(several).get_outputs()] == ["s", "p", "q"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"input_names": ["a", "b"]}, "2 names; the model has 1 input"),
        ({"output_names": ["a", "b"]}, "2 names; the model has 1 output"),
    ],
)
def test_wrong_numbers_of_names(names: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert("detector", **names)


def test_one_name_twice() -> None:
    with pytest.raises(UsageError, match="'x' more than once"):
        convert("two_inputs", input_names=["x", "x"])


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.full)])
def test_dynamic_height_and_width(exporter: str) -> None:
    report = convert("detector", dynamic="batch,hw", exporter=exporter)
    assert report.spec is not None
    session = session_of(report)
    assert session.get_inputs()[0].shape[0] == "batch"
    assert not any(isinstance(size, int) for size in session.get_inputs()[0].shape[2:])
    for batch, height, width in ((1, 64, 64), (2, 32, 128), (3, 96, 40)):
        expected = reference("detector", images(batch, height, width)).numpy()
        found = session.run(None, {"images": images(batch, height, width)})[0]
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.full), 3])
def test_a_fixed_batch(batch: int, image: Path) -> None:
    report = convert("detector", batch=batch, image=image)
    assert session_of(report).get_inputs()[0].shape == [batch, 3, 64, 64]
    assert report.link(2).status == report.link(5).status == "passed"
    assert ("fixed at 1" if batch == 1 else "batch 3 with other batch items") in report.link(2).reason
    with adaptrt.load(report.onnx) as model:  # type: ignore[arg-type]
        assert len(model([image] * 4)) == 4


def test_several_profiles() -> None:
    report = convert("classifier", shape=["images=1x3x32x32", "images=2..4x3x48x64"])
    session = session_of(report)
    for batch, height, width in ((1, 32, 32), (4, 48, 64)):
        expected = reference("classifier", images(batch, height, width)).numpy()
        np.testing.assert_allclose(session.run(None, {"images": images(batch, height, width)})[0], expected, atol=1e-4)
    assert {check.title: check.samples for check in report.link(2).checks} == {"logits": 5, "logits in a batch": 7}
    assert report.link(2).reason == "batches 3, 4"


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.full)])
def test_a_leak_between_samples_is_found(exporter: str) -> None:
    with pytest.raises(VerificationError, match="Link 2 .*logits in a batch") as caught:
        convert("leaky", exporter=exporter)
    report = caught.value.report
    assert report is not None
    passed = {check.title: check.passed for check in report.link(2).checks}
    assert passed == {"logits": True, "logits in a batch": False}


def test_a_leak_is_found_in_a_fixed_batch_too() -> None:
    with pytest.raises(VerificationError, match="in a batch"):
        convert("leaky", batch=3)


def test_a_frozen_batch_is_found_after_a_trace() -> None:
    with pytest.raises((VerificationError, ExportError)) as caught:
        convert("frozen", exporter="torchscript")
    assert caught.value.hint
    assert caught.value.report is not None
    assert caught.value.report.link(2).status == "failed"


@pytest.mark.full
@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param({"batch": (2, 3, 4)}, id="never alone"),
        pytest.param({"shape": ["images=1x3x64x64", "images=1..4x3x32x32"]}, id="a profile of one"),
    ],
)
def test_a_frozen_batch_is_found_whatever_the_smallest_batch_and_the_first_profile(shapes: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="Link 2"):
        convert("frozen", exporter="torchscript", **shapes)
    assert convert("classifier", exporter="torchscript", **shapes).status == "passed"


def test_a_frozen_batch_is_found_by_the_axis_in_the_file(install_extension: Install) -> None:
    install_extension(
        "freeze",
        """
        @hookimpl(wrapper=True)
        def export_onnx():
            path = yield
            import onnx
            model = onnx.load(str(path))
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
            onnx.save(model, str(path))
            return path
        """,
    )
    with pytest.raises(ExportError, match="Axis 0 of input 'images' was requested as dynamic .* fixed it at 2"):
        convert("classifier")


def test_a_wrong_patch_fails_link_1(install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        @hookimpl
        def patches():
            return [FunctionPatch(target="tinyvision.nets:Features.forward", requires="torch>=2", reason="quicker",
                                  replacement=lambda original, self, x: original(self, x) * 1.01)]
        """,
    )
    with pytest.raises(PatchError, match="Link 1 .* fails: logits") as caught:
        convert("classifier")
    assert caught.value.exit_code == 5
    assert caught.value.report is not None
    assert [link.status for link in caught.value.report.links][:3] == ["not run", "failed", "not run"]
    assert [patch.plugin for patch in caught.value.report.patches] == ["ext"]


@pytest.mark.parametrize(
    "replacement", ["lambda original, x: x", "lambda original, self, x: x.undefined()"], ids=["arguments", "body"]
)
def test_a_patch_that_breaks_the_model_is_no_internal_error(replacement: str, install_extension: Install) -> None:
    install_extension(
        "ext",
        f"""
        @hookimpl
        def patches():
            return [FunctionPatch(target="tinyvision.nets:Features.forward", requires="torch>=2", reason="r",
                                  replacement={replacement})]
        """,
    )
    with pytest.raises(PatchError, match="Link 1 .* fails: "):
        convert("classifier")


def test_a_patch_that_is_never_called(install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        @hookimpl
        def patches():
            return [FunctionPatch(target="tinyvision.nets:Flatten.forward", requires="torch>=2", reason="r",
                                  replacement=lambda original, self, x: original(self, x))]
        """,
    )
    with pytest.raises(PatchError, match=r"Flatten.forward \(ext\) was never called"):
        convert("classifier")  # has no Flatten


def test_an_export_that_computes_something_else_fails_link_2(install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        @hookimpl(wrapper=True)
        def export_onnx():
            path = yield
            import numpy as np, onnx
            from onnx import numpy_helper
            model = onnx.load(str(path))
            for tensor in model.graph.initializer:
                array = numpy_helper.to_array(tensor)
                if array.ndim == 2:
                    tensor.CopyFrom(numpy_helper.from_array(array * np.float32(1.001), tensor.name))
            onnx.save(model, str(path))
            return path
        """,
    )
    with pytest.raises(VerificationError, match="Link 2 .* fails: logits") as caught:
        convert("classifier")
    assert caught.value.exit_code == 9


def test_a_pass_that_breaks_the_graph_is_named(install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        def cut(model):
            model.graph.remove(model.graph.node(-1), safe=False)

        @hookimpl
        def graph_passes():
            return [GraphPass(name="cut", order=50, reason="r", run=cut)]
        """,
    )
    with pytest.raises(adaptrt.GraphError, match=r"Graph pass 'cut' \(ext\) broke the graph"):
        convert("classifier")


def test_a_pass_that_freezes_the_batch_is_found(install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        import onnx_ir as ir
        def freeze(model):
            model.graph.inputs[0].shape = ir.Shape([2, 3, 64, 64])

        @hookimpl
        def graph_passes():
            return [GraphPass(name="freeze", order=95, reason="r", run=freeze)]
        """,
    )
    with pytest.raises(ExportError, match="was requested as dynamic"):
        convert("classifier")


def test_a_wrong_postprocess_of_the_result_fails_link_5(image: Path, install_extension: Install) -> None:
    """The same pre- and postprocessing serves both sides; what differs between them shows in link 5."""
    install_extension(
        "ext",
        """
        calls = []
        @hookimpl
        def framework_predictions(): pass

        @hookimpl(wrapper=True)
        def postprocess():
            (found,) = yield
            calls.append(1)
            keep = slice(None) if len(calls) == 1 else slice(1, None)
            return [Detections(found.boxes[keep], found.scores[keep], found.labels[keep], found.names)]

        @hookimpl(wrapper=True)
        def framework_predictions():
            yield
        """,
    )
    with pytest.raises(VerificationError, match="Link 5 .* fails: matched boxes"):
        convert("detector", image=image)


def test_a_wrong_decode_fails_link_0(image: Path, install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        @hookimpl(wrapper=True)
        def postprocess():
            (found,) = yield
            return [Detections(found.boxes + 4, found.scores, found.labels, found.names)]
        """,
    )
    with pytest.raises(VerificationError, match="Link 0 .* fails") as caught:
        convert("detector", image=image)
    assert caught.value.report is not None
    assert set(caught.value.report.images[0].predictions) == {"eager", "framework"}


def test_without_verification_the_file_is_written_all_the_same() -> None:
    report = convert("leaky", verify="none")
    assert report.status == "passed"
    assert report.onnx is not None
    assert report.onnx.is_file()
    assert {link.status for link in report.links} == {"not run"}


def test_a_model_that_gives_no_number() -> None:
    with pytest.raises(adaptrt.ModelError, match="returns only NaN or infinity in output 'logits'"):
        convert("damaged")


def test_a_model_that_fails_on_these_shapes() -> None:
    with pytest.raises(adaptrt.ModelError, match="The model itself fails on a") as caught:
        convert("two_inputs", shape=["a=2x5", "b=2x4"])
    assert "shape" in (caught.value.hint or "")


def test_a_net_that_does_not_exist() -> None:
    with pytest.raises(adaptrt.ModelError, match="no net 'detektor'") as caught:
        convert("detektor")
    assert caught.value.hint == "Did you mean 'detector'?"


def test_two_conversions_give_the_same_file() -> None:
    first = convert("detector", output="first.onnx", verify="none")
    second = convert("detector", output="second.onnx", verify="none")
    assert first.files["onnx"].sha256 == second.files["onnx"].sha256


def test_options_of_the_decoder_become_its_defaults(image: Path) -> None:
    report = convert("detector", verify="quick", options={"conf": "0.95", "classes": "blue"})
    assert report.spec is not None
    assert report.spec.decoder is not None
    assert report.spec.decoder.params == {
        "conf": 0.95,
        "classes": ["blue"],
        "iou": 0.7,
        "max_det": 300,
        "agnostic": False,  # its own defaults are in the file too
    }
    with adaptrt.load(report.onnx) as model:  # type: ignore[arg-type]
        (found,) = model(image)
        assert isinstance(found, Detections)
        assert set(found.labels) == {2}
        (more,) = model(image, classes=["red", "blue"], conf=0.5)
        assert len(more) > len(found)  # type: ignore[arg-type]


def test_the_report_beside_the_file(image: Path) -> None:
    report = convert("detector", verify="quick", image=image, output="out/shop.onnx")
    assert sorted(path.name for path in Path("out").iterdir()) == ["shop.onnx", "shop.report.json"]
    assert Report.from_json(Path("out/shop.report.json").read_text()).to_json() == report.to_json()
    assert report.environment["torch"]
    assert report.plugins["tiny"] == "adaptrt-tiny 0.3"


def test_a_failure_names_the_file_of_an_earlier_conversion(tiny: str) -> None:
    convert("classifier", output="net.onnx", verify="none")
    with pytest.raises(adaptrt.AdaptrtError) as caught:
        convert("damaged", output="net.onnx")
    assert re.search(r"net\.onnx \(\d{4}-\d\d-\d\d \d\d:\d\d\) is from an earlier run", str(caught.value.hint))
    with pytest.raises(adaptrt.VerificationError, match='not verified, but require="verified"'):
        convert("classifier", output="other.onnx", verify="none", require="verified")
    assert not Path("other.onnx").exists()
