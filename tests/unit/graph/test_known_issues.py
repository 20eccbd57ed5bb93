"""Each known issue matches a small graph, and does not match one that nearly has its pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from adaptrt.graph.known_issues import Issue, Platform, known_issues, matching_issues
from adaptrt.graph.known_issues.matching import concerns

ISSUES = {issue.name: issue for issue in known_issues()}
DEQUANTIZED = "DequantizeLinear"
GRAPHS: dict[str, tuple[str, str]] = {  # matches; near miss
    "layernorm-decomposed-fp16": ("Pow ReduceMean", "Pow ReduceSum"),
    "layernorm-fp16-accuracy": ("LayerNormalization", "GroupNormalization"),
    "qdq-depthwise-swish": (f"{DEQUANTIZED} Conv:group=8 Sigmoid", f"{DEQUANTIZED} Conv:group=1 Sigmoid"),
    "int8-conv-swish-orin": ("Conv Sigmoid Mul", "Conv Relu Mul"),
    "nms-slow": ("NonMaxSuppression", "TopK"),
    "gridsample-opset20": ("opset=20 GridSample", "opset=18 GridSample"),
    "gridsample-typed": ("GridSample", "Gather"),
    "deformable-attention-typed": ("GridSample Mul ReduceSum", "GridSample Add ReduceSum"),
    "scatternd-reduction-none": ("ScatterND:reduction=none", "ScatterND"),
    "scatternd-reduction": ("ScatterND:reduction=max", "ScatterND:reduction=none"),
    "scatterelements-reduction": ("ScatterElements:reduction=add", "ScatterElements:reduction=none"),
    "topk-3840": ("TopK:in1=5000", "TopK:in1=3840"),
    "qdq-deconvolution-axis": (f"{DEQUANTIZED}:axis=1 ConvTranspose", f"{DEQUANTIZED}:axis=0 ConvTranspose"),
    "qdq-deconvolution-grouped": (f"{DEQUANTIZED} ConvTranspose:group=4", f"{DEQUANTIZED} ConvTranspose:group=1"),
    "qdq-deconvolution-implementation": (f"{DEQUANTIZED} ConvTranspose", "Relu ConvTranspose"),
    "qdq-deconvolution-slow": (
        f"{DEQUANTIZED} ConvTranspose BatchNormalization",
        f"{DEQUANTIZED} ConvTranspose Relu BatchNormalization",
    ),
    "qdq-grouped-slow": (f"{DEQUANTIZED} Conv:group=2", "Relu Conv:group=2"),
    "nonzero-rtx": ("NonZero", "Where"),
    "roialign-implementation": ("RoiAlign", "MaxPool"),
    "instancenorm-slow": ("InstanceNormalization", "BatchNormalization"),
    "instancenorm-fp16": ("InstanceNormalization", "BatchNormalization"),
    "cumsum-slow": ("CumSum", "ReduceSum"),
    "cumsum-axes": ("CumSum CumSum", "CumSum Relu"),
    "attention-fp16-nan": ("MatMul Softmax", "MatMul Sigmoid"),
    "attention-fp16-10.4": ("MatMul Softmax", "Conv Softmax"),
    "attention-int8-implementation": ("MatMul Softmax MatMul", "MatMul Softmax Add"),
    "reducemax-myelin": ("ReduceMax ReduceMax", "ReduceMax ReduceMin"),
    "mmdeploy-nms-plugin": ("mmdeploy.TRTBatchedNMS", "other.TRTBatchedNMS"),
}


def chain(text: str) -> ir.Model:
    """``opset=20 A B:name=value``: operators that read each other, with an attribute or a constant input (``in1=5``)."""
    opset, value = 17, ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    first, nodes, constants = value, [], []
    for word in text.split():
        if word.startswith("opset="):
            opset = int(word[6:])
            continue
        operator, _, extra = word.partition(":")
        domain, _, name = operator.rpartition(".")
        key, _, given = extra.partition("=")
        inputs: list[ir.Value] = [value]
        attributes: dict[str, Any] = {}
        if key.startswith("in"):
            tensor = ir.tensor(np.array([int(given)]), name=f"constant_{len(nodes)}")
            constants.append(ir.Value(name=tensor.name, const_value=tensor))
            inputs.append(constants[-1])
        elif key:
            attributes[key] = int(given) if given.isdecimal() else given
        node = ir.node(name, inputs, attributes, domain=domain, name=f"{name}_{len(nodes)}")
        nodes.append(node)
        value = node.outputs[0]
    graph = ir.Graph([first], [value], nodes=nodes, initializers=constants, opset_imports={"": opset})
    return ir.Model(graph, ir_version=9)


def platform_of(issue: Issue) -> Platform:
    return Platform(
        issue.product,
        capability=issue.capability[0] if issue.capability else "",
        precision=issue.precision[0] if issue.precision else "",
    )


def names(text: str, platform: Platform) -> list[str]:
    return [issue.name for issue, _ in matching_issues(chain(text), platform)]


def test_every_issue_has_its_graphs_and_a_thread() -> None:
    assert GRAPHS.keys() == ISSUES.keys()
    assert len(ISSUES) >= 20
    for issue in ISSUES.values():
        assert issue.source.startswith("https://github.com/")
        assert issue.source.rstrip("/").rpartition("/")[2].isdecimal()
        assert issue.symptom.endswith(".")
        assert issue.advice.endswith(".")
        assert str(issue.versions) or issue.tensorrt == ""


@pytest.mark.parametrize("name", GRAPHS)
def test_an_issue_matches_its_pattern_and_no_near_one(name: str) -> None:
    matches, near = GRAPHS[name]
    platform = platform_of(ISSUES[name])
    assert name in names(matches, platform)
    assert name not in names(near, platform)


def test_only_issues_of_the_platform_are_named() -> None:
    nms = ISSUES["nms-slow"]
    assert concerns(nms, Platform(version="10.6.0"))
    assert not concerns(nms, Platform(version="8.6.0"))
    assert not concerns(ISSUES["attention-fp16-10.4"], Platform(version="10.6.0", precision="fp16"))
    assert not concerns(ISSUES["layernorm-fp16-accuracy"], Platform(version="10.16.1", precision="fp32"))
    assert not concerns(ISSUES["int8-conv-swish-orin"], Platform(version="8.6.2", capability="9.0", precision="int8"))
    assert not concerns(ISSUES["nonzero-rtx"], Platform("tensorrt"))


def test_a_range_without_an_end_is_not_known_to_be_fixed() -> None:
    assert ISSUES["nms-slow"].fixed == "not known to be fixed"
    assert ISSUES["qdq-deconvolution-grouped"].fixed == "fixed in 10.9"
    assert "not known to be fixed" in ISSUES["nms-slow"].text


class Builder:
    """A backend that builds for one platform."""

    def __init__(self, missing: str | None = None) -> None:
        self.missing = missing

    def unavailable(self, _target: Any, _device: int = 0) -> str | None:
        return self.missing

    def issue_platform(self, _target: Any, _device: int = 0) -> dict[str, str]:
        return {"product": "tensorrt", "version": "10.6.0", "capability": "8.9"}


@pytest.mark.parametrize("missing", [None, "TensorRT is not installed"])
def test_a_build_names_the_issues_before_it_starts(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    from types import SimpleNamespace

    import onnx

    from adaptrt.onnxfile.files import OnnxFiles
    from adaptrt.pipeline import issues
    from adaptrt.specs import precision_named

    path = tmp_path / "nms.onnx"
    onnx.save(ir.to_proto(chain("NonMaxSuppression")), str(path))
    monkeypatch.setattr(issues, "target_of", lambda _: None)
    monkeypatch.setattr(issues, "target_for", lambda *_: None)
    said: list[str] = []
    job: Any = SimpleNamespace(
        request=SimpleNamespace(build=SimpleNamespace(device=0)), onnx=OnnxFiles(), warn=said.append,
        precision=precision_named("fp32"),
    )  # fmt: skip
    chosen: Any = [SimpleNamespace(backend=Builder(missing))]
    issues.name_known_issues(job, chosen, path)
    assert [text.split(":")[0] for text in said] == ([] if missing else ["Known issue nms-slow (NonMaxSuppression_0)"])
