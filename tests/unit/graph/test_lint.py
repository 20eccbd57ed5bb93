"""The graph check: each rule finds what it is for and nothing in a clean graph; places survive the passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from adaptrt import Dim, InputSpec, ModelSpec, OutputGroup, OutputSpec
from adaptrt.backends.tensorrt.generations import generation_of
from adaptrt.graph.lint import annotate_sources, check_graph, check_reduced, read_source_locations, source_location_of
from adaptrt.graph.lint.rules import RULES
from adaptrt.graph.lint.source_locations import shown_file
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.report import Finding, SourceLocation

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any] | None = None,
    *,
    shape: Sequence[int | str] = ("batch", 4, 8, 8),
    dtype: int = FLOAT,
    result: int = FLOAT,
    opset: int = 17,
    domains: Sequence[str] = (),
) -> ir.Model:
    """A model from ``x`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", result, None)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def node(operator: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Inputs and outputs as words; ``_`` is an input that is left out."""
    return helper.make_node(
        operator, ["" if name == "_" else name for name in inputs.split()], outputs.split(), **attributes
    )


def rules_of(model: ir.Model, spec: ModelSpec | None = None, target: int | str = 10) -> set[str]:
    return {finding.rule for finding in check_graph(model, spec, generation_of(target))}


def two_maps(last: str = "Transpose") -> ir.Model:
    """Convolutions at two scales, each an output."""
    outputs = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("large", "small")]
    nodes = [
        node("Conv", "x w", "a"),
        node(last, "a", "large"),
        node("Conv", "x w", "b", strides=[2, 2]),
        node(last, "b", "small"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ("batch", 4, 8, 8))],
        outputs,
        [onnx.numpy_helper.from_array(np.ones((6, 4, 1, 1), np.float32), "w")],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


BROKEN: dict[str, Callable[[], ir.Model]] = {
    "shape-read": lambda: model_of([node("Shape", "x")], result=INT64),
    "resize-by-size": lambda: model_of([node("Shape", "x", "s"), node("Resize", "x _ _ s", mode="nearest")]),
    "reshape-by-size": lambda: model_of([node("Shape", "x", "s"), node("Reshape", "x s")]),
    "opset": lambda: model_of([node("Relu", "x")], opset=10),
    "scatter": lambda: model_of(
        [node("ScatterND", "x i u")], {"i": np.zeros((1, 4), np.int64), "u": np.zeros(1, np.float32)}
    ),
    "many-axes": lambda: model_of([node("Unsqueeze", "x a")], {"a": np.array([0])}),
    "negative-gather": lambda: model_of([node("Gather", "x i", axis=1)], {"i": np.array(-1)}),
    "int64": lambda: model_of([node("Add", "x one")], {"one": np.array(1)}, dtype=INT64, result=INT64),
    "data-dependent": lambda: model_of([node("NonZero", "x")], result=INT64),
    "unsupported": lambda: model_of([node("Det", "x")]),
    "raw-output": lambda: two_maps(),
    "shapes": lambda: model_of([node("Concat", "x w", axis=7)], {"w": np.ones((4, 4), np.float32)}),
    "type": lambda: model_of([node("Cast", "x", to=TensorProto.DOUBLE)], result=TensorProto.DOUBLE),
    "custom-operator": lambda: model_of([node("Thing", "x", domain="my.ops")], domains=["my.ops"]),
    "restriction": lambda: model_of([node("TopK", "x k", "y i", axis=1)], {"k": np.array([4000])}),
    "opset-form": lambda: model_of([node("Pad", "x p", mode="wrap")], {"p": np.zeros(8, np.int64)}),
    "unproven": lambda: model_of(
        [node("DeformConv", "x w o", kernel_shape=[1, 1])],
        {"w": np.ones((2, 4, 1, 1), np.float32), "o": np.ones((1, 2, 8, 8), np.float32)},
        opset=19,
    ),
}
BROKEN_FOR_RTX: dict[str, Callable[[], ir.Model]] = {
    "no-kernel": lambda: model_of(
        [node("NonMaxSuppression", "x scores")],
        {"scores": np.zeros((1, 1, 5), np.float32)},
        shape=(1, 5, 4),
        result=INT64,
    ),
    "needs-device": lambda: model_of(
        [node("RoiAlign", "x boxes batches", output_height=2, output_width=2)],
        {"boxes": np.zeros((1, 4), np.float32), "batches": np.zeros(1, np.int64)},
    ),
}
CLEAN = model_of(
    [node("Reshape", "x s", "flat"), node("MatMul", "flat w", "z"), node("Gather", "z i", axis=1)],
    {"s": np.array([-1, 256]), "w": np.ones((256, 3), np.float32), "i": np.array([0, 2])},
)


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_finds_what_it_is_for(rule: str) -> None:
    assert rule in rules_of(BROKEN[rule]())


@pytest.mark.parametrize("rule", BROKEN_FOR_RTX)
def test_rules_for_tensorrt_rtx(rule: str) -> None:
    assert rule in rules_of(BROKEN_FOR_RTX[rule](), target="rtx")
    assert rule not in rules_of(BROKEN_FOR_RTX[rule](), target=11)


def test_every_rule_has_a_case() -> None:
    assert {*BROKEN, *BROKEN_FOR_RTX, "free-axis", "half-pixels"} == set(RULES)


def test_a_clean_graph_has_no_findings() -> None:
    before = ir.to_proto(CLEAN).SerializeToString()
    assert check_graph(CLEAN, None, generation_of(10)) == []
    assert ir.to_proto(CLEAN).SerializeToString() == before


def test_sizes_of_sizes_are_no_arithmetic_on_data() -> None:
    nodes = [node("Shape", "x", "s"), node("Mul", "s two", "d"), node("Expand", "x d")]
    assert "int64" not in rules_of(model_of(nodes, {"two": np.array(2)}))


def test_an_axis_no_one_asked_for() -> None:
    spec = ModelSpec(inputs=(InputSpec("x", ((Dim(1, 2, 4, "batch"), *map(Dim.fixed, (4, 8, 8))),)),))
    assert rules_of(model_of([node("Relu", "x")]), spec) == set()
    (finding,) = check_graph(model_of([node("Relu", "x")], shape=("batch", 4, "height", 8)), spec, generation_of(10))
    assert (finding.rule, finding.severity) == ("free-axis", "error")
    assert "axis 2 of x" in finding.message


def test_pixels_in_half(tmp_path: Path) -> None:
    def convert(dtype: int) -> ir.Model:
        nodes = [
            node("Cast", "x", "h", to=dtype),
            node("Mul", "h stride", "boxes", name="decode"),
            node("Cast", "boxes", "y", to=FLOAT),
        ]
        kind = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
        return model_of(nodes, {"stride": np.array(8, kind)}, shape=("batch", 4, 100))

    pixels = OutputGroup("boxes", "pixels", axis=1, start=0, stop=4)
    batch = Dim(1, 2, 4, "batch")
    spec = ModelSpec(
        inputs=(InputSpec("x", ((batch, Dim.fixed(4), Dim.fixed(100)),)),), outputs=(OutputSpec("y", groups=(pixels,)),)
    )
    assert "half-pixels" in rules_of(convert(TensorProto.FLOAT16), spec)
    assert "half-pixels" not in rules_of(convert(FLOAT), spec)
    assert "half-pixels" not in rules_of(convert(TensorProto.FLOAT16))
    for dtype, rules in ((TensorProto.FLOAT16, {"half-pixels"}), (FLOAT, set())):
        onnx.save(ir.to_proto(convert(dtype)), str(tmp_path / "typed.onnx"))
        assert {
            finding.rule for finding in check_reduced(tmp_path / "typed.onnx", spec, [generation_of(10)], OnnxFiles())
        } == rules
    assert check_reduced(tmp_path / "no file is read.onnx", ModelSpec(spec.inputs), [], OnnxFiles()) == []


def test_pixels_in_half_are_found_among_nodes_without_names() -> None:
    """Decoding is the last multiplication alone; the convolution before it and the nodes of the other output are not."""
    half = np.float16
    nodes = [
        node("Cast", "x", "h", to=TensorProto.FLOAT16),
        node("Conv", "h weight", "raw"),
        node("Mul", "raw stride", "boxes"),
        node("Cast", "boxes", "y", to=FLOAT),
    ]
    for one in nodes:
        one.name = ""
    pixels = OutputGroup("boxes", "pixels", axis=1, start=0, stop=4)
    batch = Dim(1, 2, 4, "batch")
    spec = ModelSpec(
        inputs=(InputSpec("x", ((batch, *map(Dim.fixed, (4, 8, 8))),)),), outputs=(OutputSpec("y", groups=(pixels,)),)
    )
    model = model_of(nodes, {"weight": np.ones((4, 4, 3, 3), half), "stride": np.array(8, half)})
    found = [one for one in check_graph(model, spec, generation_of(10)) if one.rule == "half-pixels"]
    assert [(one.operator, one.count) for one in found] == [("Mul", 1)]


class TestRawOutputs:
    def test_maps_of_several_scales(self) -> None:
        (finding,) = [one for one in check_graph(two_maps(), None, generation_of(10)) if one.rule == "raw-output"]
        assert (finding.severity, finding.count) == ("info", 2)
        assert "large, small are raw convolution outputs" in finding.message
        batch = Dim(1, 2, 4, "batch")
        inputs = (InputSpec("x", ((batch, *map(Dim.fixed, (4, 8, 8))),)),)
        (finding,) = [
            one
            for one in check_graph(two_maps(), ModelSpec(inputs, task="detect"), generation_of(10))
            if one.rule == "raw-output"
        ]
        assert finding.severity == "warning"

    @pytest.mark.parametrize("last", ["Sigmoid", "Relu"])
    def test_what_is_computed_from_them_is_none(self, last: str) -> None:
        assert "raw-output" not in rules_of(two_maps(last))

    def test_a_segmentation_is_none(self) -> None:
        model = model_of([node("Conv", "x w")], {"w": np.ones((6, 4, 1, 1), np.float32)})
        assert "raw-output" not in rules_of(model)

    @pytest.mark.parametrize(("task", "found"), [("detect", True), ("classify", False)])
    def test_logits_of_a_detector(self, task: Any, found: bool) -> None:
        spec = ModelSpec(
            inputs=(InputSpec("x", ((Dim(1, 2, 4, "batch"), *map(Dim.fixed, (4, 8, 8))),)),),
            outputs=(OutputSpec("y", groups=(OutputGroup("classes", "logits"),)),),
            task=task,
        )
        assert ("raw-output" in rules_of(model_of([node("Relu", "x")]), spec)) == found


class TestTypes:
    def findings(self, dtype: int, target: int) -> list[tuple[str, str]]:
        model = model_of([node("Cast", "x", to=dtype)], result=dtype)
        return [(one.rule, one.severity) for one in check_graph(model, None, generation_of(target))]

    def test_what_a_generation_does_not_have(self) -> None:
        assert self.findings(TensorProto.BFLOAT16, 8) == [("type", "error")]
        assert self.findings(TensorProto.BFLOAT16, 10) == []
        for target in (8, 10, 11):
            assert self.findings(TensorProto.INT16, target) == [("type", "error")]
            assert self.findings(TensorProto.DOUBLE, target) == [("type", "warning")]
            assert self.findings(TensorProto.FLOAT16, target) == []

    def test_int64_is_narrowed_by_8_alone(self) -> None:
        model = BROKEN["int64"]()
        severities = {
            target: [(one.operator, one.severity) for one in check_graph(model, None, generation_of(target))]
            for target in (8, 10)
        }
        assert severities == {8: [("Add", "warning"), ("", "info")], 10: [("Add", "info")]}
        (_, of_input) = check_graph(model, None, generation_of(8))
        assert "treats input x as int32" in of_input.message


@pytest.mark.parametrize(
    ("operator", "opset", "targets"),
    [
        ("Gelu", 20, {8}),
        ("LayerNormalization", 17, set()),
        ("NonZero", 17, {"rtx"}),
        ("Unique", 17, {8, 10, 11, "rtx"}),
    ],
)
def test_targets_differ(operator: str, opset: int, targets: set[int | str]) -> None:
    constants = {"s": np.ones(8, np.float32)} if operator == "LayerNormalization" else {}
    model = model_of([node(operator, "x s" if constants else "x")], constants, opset=opset)
    assert {target for target in (8, 10, 11, "rtx") if "unsupported" in rules_of(model, target=target)} == targets


def test_the_opset_is_more_severe_on_8() -> None:
    model = model_of([node("Relu", "x")], opset=21)
    severities = {
        target: [found.severity for found in check_graph(model, None, generation_of(target))] for target in (8, 10)
    }
    assert severities == {8: ["error"], 10: ["warning"]}


def test_findings_are_grouped_counted_and_sorted() -> None:
    nodes = [node("NonZero", "x", "a"), node("Shape", "x", "b"), node("Shape", "x", "c"), node("Det", "x")]
    for name, line in zip(("a", "b", "c"), (3, 7, 7), strict=True):
        next(one for one in nodes if one.output[0] == name).doc_string = f"net.py({line}): forward\n"
    found = check_graph(model_of(nodes), None, generation_of(10))
    assert [(one.rule, one.operator, one.count) for one in found] == [
        ("unsupported", "Det", 1),
        ("shape-read", "Shape", 2),
        ("data-dependent", "NonZero", 1),
    ]
    assert found[1].places == [SourceLocation("net.py", 7, "", 2)]
    assert all(isinstance(one, Finding) and one.advice for one in found)


class TestPlaces:
    DYNAMO = (
        'File "/far/x/train.py", line 3, in main\n    net(x)\n'
        'File "/opt/site-packages/timm/swin.py", line 12, in forward\n    y = x.view(b)\n'
        'File "/opt/site-packages/torch/nn/modules/module.py", line 99, in _call_impl\n'
    )
    TORCHSCRIPT = "/opt/site-packages/timm/swin.py(12): forward\n/opt/site-packages/torch/nn/modules/module.py(9): f\n"

    @pytest.mark.parametrize("form", ["dynamo", "torchscript"])
    def test_the_innermost_line_of_the_model(self, form: str) -> None:
        model = model_of([node("Relu", "x")])
        if form == "dynamo":
            model.graph[0].metadata_props["pkg.torch.onnx.stack_trace"] = self.DYNAMO
        else:
            model.graph[0].doc_string = self.TORCHSCRIPT
        assert read_source_locations(model) == {"y": SourceLocation("timm/swin.py", 12)}

    def test_lines_of_the_exporters_alone_are_none(self) -> None:
        model = model_of([node("Relu", "x")])
        model.graph[0].metadata_props["pkg.torch.onnx.stack_trace"] = (
            'File "torch/fx/passes/runtime_assert.py", line 24'
        )
        assert read_source_locations(model) == {}

    def test_what_was_made_for_another_node_has_its_line(self) -> None:
        model = model_of([node("Shape", "x", "s"), node("Expand", "x s")])
        model.graph[1].doc_string = "net.py(4): forward\n"
        assert read_source_locations(model) == {"s": SourceLocation("net.py", 4), "y": SourceLocation("net.py", 4)}
        annotate_sources(model, {"y": SourceLocation("net.py", 4)})
        assert source_location_of(model.graph[0]) == SourceLocation("net.py", 4)

    def test_code_is_shown_where_its_package_lies(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "net.py").write_text("first\nsecond = x.view(b)\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        model = model_of([node("Relu", "x")])
        annotate_sources(model, {"y": SourceLocation("shop/net.py", 2)})
        assert source_location_of(model.graph[0]) == SourceLocation("shop/net.py", 2, "second = x.view(b)")

    def test_a_folder_called_torch_is_no_torch(self) -> None:
        model = model_of([node("Relu", "x")])
        model.graph[0].doc_string = "/srv/torch/nets.py(4): forward\n"
        assert read_source_locations(model) == {"y": SourceLocation("torch/nets.py", 4)}

    def test_what_stays_in_the_file_names_no_machine(self, tmp_path: Path) -> None:
        model = model_of([node("Relu", "x")])
        model.graph[0].metadata_props["pkg.torch.onnx.stack_trace"] = self.DYNAMO
        model.graph[0].metadata_props["namespace"] = "/far/x"
        places = read_source_locations(model)
        annotate_sources(model, places)
        onnx.save(ir.to_proto(model), str(tmp_path / "m.onnx"))
        data = (tmp_path / "m.onnx").read_bytes()
        assert b"/far/x" not in data
        assert b"/opt" not in data
        again = ir.from_proto(onnx.load(str(tmp_path / "m.onnx")))
        assert source_location_of(again.graph[0]) == SourceLocation("timm/swin.py", 12)

    def test_tensorrt_reads_it_too(self, tmp_path: Path) -> None:
        from adaptrt.onnxfile.reader import read_onnx

        model = model_of([node("Relu", "x")])
        annotate_sources(model, {"y": SourceLocation("net.py", 5)})
        onnx.save(ir.to_proto(model), str(tmp_path / "m.onnx"))
        assert read_onnx(tmp_path / "m.onnx").nodes[0].source == "net.py:5"

    def test_paths_mean_something_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert shown_file(str(tmp_path / "nets" / "a.py")) == "nets/a.py"
        assert shown_file("/usr/lib/python3/dist-packages/timm/a.py") == "timm/a.py"
        assert shown_file("/very/far/away/a.py") == "away/a.py"


PADS = {"p": np.zeros(8, np.int64)}
SCALES = {"s": np.array([1, 1, 2, 2], np.float32)}
GRID = {"g": np.zeros((1, 3, 3, 3, 3), np.float32)}
VOLUME = (1, 4, 4, 4, 4)
UPDATES = {"i": np.zeros((1, 4, 8, 8), np.int64), "u": np.zeros((1, 4, 8, 8), np.float32)}
ALL: set[int | str] = {8, 10, 11, "rtx"}


@pytest.mark.parametrize(
    ("model", "targets", "source"),
    [
        (lambda: model_of([node("Einsum", "x w", equation="...ij,jk->...ik")], {"w": np.ones((8, 3), np.float32)}), {8}, "onnx-tensorrt 8.6"),
        (lambda: model_of([node("Einsum", "x", equation="abii->abi")]), {8}, "onnx-tensorrt 8.6"),
        (lambda: model_of([node("Einsum", "x w w", equation="abij,jk,kl->abil")], {"w": np.ones((8, 8), np.float32)}), {8}, "documentation of IEinsumLayer"),
        (lambda: model_of([node("Einsum", "x", equation="ABIJ->ABJI")]), {8, "rtx"}, "parser of TensorRT 8.6"),
        (lambda: model_of([node("Einsum", "x", equation="abij->abji")]), set(), ""),
        (lambda: model_of([node("GridSample", "x g", mode="linear")], GRID, shape=VOLUME, opset=20), {8, 10, 11}, "documentation of IGridSampleLayer"),
        (lambda: model_of([node("GridSample", "x g")], {"g": np.zeros((1, 3, 3, 2), np.float32)}), set(), ""),
        (lambda: model_of([node("Pad", "x p", mode="wrap")], PADS, opset=19), {8}, "parser of TensorRT 8.6"),
        (lambda: model_of([node("Pad", "x p", mode="reflect")], PADS), set(), ""),
        (lambda: model_of([node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])]), ALL, "parser of TensorRT 8.6"),
        (lambda: model_of([node("MaxPool", "x", kernel_shape=[2, 2], dilations=[1, 1])]), set(), ""),
        (lambda: model_of([node("Resize", "x _ s", mode="linear", antialias=1)], SCALES, opset=18), ALL, "ignored by the parser"),
        (lambda: model_of([node("Resize", "x _ s", mode="linear", coordinate_transformation_mode="half_pixel_symmetric")], SCALES, opset=19), ALL, "onnx-tensorrt 8.6"),
        (lambda: model_of([node("Resize", "x _ s", mode="cubic")], SCALES), set(), ""),
        (lambda: model_of([node("ScatterElements", "x i u", reduction="add")], UPDATES), {8, "rtx"}, "ignored by the parser"),
        (lambda: model_of([node("ScatterElements", "x i u")], UPDATES), set(), ""),
        (lambda: model_of([node("ScatterND", "x i u", reduction="add")], {"i": np.zeros((1, 1), np.int64), "u": np.zeros((1, 4, 8, 8), np.float32)}), ALL, "ignored by the parser"),
        (lambda: model_of([node("LSTM", "x w r", hidden_size=3, layout=1)], {"w": np.ones((1, 12, 8), np.float32), "r": np.ones((1, 12, 3), np.float32)}, shape=(2, 4, 8)), {8, 10, 11}, "ignored by the parser"),
        (lambda: model_of([node("QuantizeLinear", "x s z")], {"s": np.float32(1), "z": np.uint8(128)}, result=TensorProto.UINT8), ALL, "onnx-tensorrt 8.6"),
        (lambda: model_of([node("QuantizeLinear", "x s z")], {"s": np.float32(1), "z": np.int8(0)}, result=TensorProto.INT8), set(), ""),
        (lambda: model_of([node("ReverseSequence", "x l", batch_axis=1, time_axis=0)], {"l": np.array([1, 1, 1, 1])}), set(), ""),
    ],
)  # fmt: skip
def test_forms_that_a_target_does_not_take(model: Callable[[], ir.Model], targets: set[int | str], source: str) -> None:
    found = {target: check_graph(model(), None, generation_of(target)) for target in ALL}
    refused = {target: [one for one in findings if one.rule == "restriction"] for target, findings in found.items()}
    assert {target for target, findings in refused.items() if findings} == targets
    if 8 in targets:
        assert source in refused[8][0].message
    if "rtx" in targets:
        assert "TensorRT-RTX 1.7.1" in refused["rtx"][0].message


@pytest.mark.parametrize(
    ("nodes", "constants", "needed"),
    [
        ([node("Pad", "x p", mode="wrap")], PADS, 19),
        ([node("Resize", "x _ s", mode="linear", coordinate_transformation_mode="half_pixel_symmetric")], SCALES, 19),
        ([node("ScatterElements", "x i u", reduction="max")], UPDATES, 18),
        ([node("Pad", "x p", mode="edge")], PADS, 0),
    ],
)
def test_the_lowest_opset_of_a_form(nodes: Any, constants: Any, needed: int) -> None:
    for opset in (17, 18, 19):
        messages = [
            one.message
            for one in check_graph(model_of(nodes, constants, opset=opset), None, generation_of(10))
            if one.rule == "opset-form"
        ]
        assert bool(messages) == (opset < needed)
        assert all(f"opset {needed}" in message for message in messages)
