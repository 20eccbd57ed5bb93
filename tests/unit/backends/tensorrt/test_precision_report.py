"""The precision report: what the inspector's JSON of TensorRT 8 and 10 says about precision."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.backends.tensorrt.build.precision_report import (
    PrecisionReport,
    add_kernel_evidence,
    layer_precision,
    make_precision_report,
    read_layers,
    require_precision_shown,
    type_named,
)
from adaptrt.errors import BuildError


def prose(kind: str) -> list[dict[str, str]]:
    return [{"Name": "x", "Format/Datatype": f"Row major linear {kind} format"}]


def conv(kind: str, count: int = 100, **more: Any) -> dict[str, Any]:
    return {"Name": "conv", "LayerType": "CaskConvolution", "Weights": {"Type": kind, "Count": count}, **more}


FOREIGN = {"Name": "{ForeignNode[a...b]}", "LayerType": "Myelin", "Inputs": prose("FP32"), "Outputs": prose("FP32")}


def precision_report(
    layers: list[Any], precision: Any = "fp16", *, plan: int = 250, weights: int = 400
) -> PrecisionReport:
    return make_precision_report(json.dumps({"Layers": layers}), precision, plan_bytes=plan, float32_bytes=weights)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Row major linear FP16 format", "fp16"),
        ("Channel major FP32 format where channel % 4 == 0", "fp32"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("Row major linear INT8 format", "int8"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("BFloat16", "bf16"),
        ("Row major linear BF16 format", "bf16"),
        ("Int64", "int64"),
        ("N/A due to dynamic shapes", None),
        ("", None),
    ],
)
def test_types_by_their_names_in_8_and_10(text: str, kind: str | None) -> None:
    assert type_named(text) == kind


def test_weights_say_more_than_formats() -> None:
    layer = conv("Half", Inputs=prose("FP32"))
    assert layer_precision(layer) == "fp16"
    assert layer_precision({"Inputs": prose("FP16"), "Outputs": prose("FP32")}) == "fp16"
    assert layer_precision({"Inputs": prose("Int32"), "Outputs": prose("FP16")}) == "fp16"
    assert layer_precision({"Inputs": prose("Int32"), "Outputs": prose("Int32")}) == "int32"
    assert layer_precision({"Inputs": [{"Format/Datatype": "N/A due to dynamic shapes"}]}) is None


def test_layers_are_counted_by_type_and_weight_bytes() -> None:
    found = precision_report(
        [
            conv("Half", 60, Bias={"Type": "Float", "Count": 10}),
            conv("Float", 30),
            {"Name": "r", "LayerType": "Reformat", "Inputs": prose("FP32")},
            {"Name": "add", "LayerType": "ElementWise", "Inputs": prose("FP16"), "Outputs": prose("FP16")},
        ]
    )
    assert found.layers == {"fp16": 2, "fp32": 1}
    assert found.weight_bytes == {"fp16": 160, "fp32": 120}
    assert found.other_layers == 1
    assert found.evidence == "2 of 3 visible layers compute in fp16"
    assert found.note == ""
    require_precision_shown(found)


def test_tensorrt_10_names() -> None:
    found = precision_report(
        [
            {"Name": "c", "LayerType": "conv", "Inputs": [{"Name": "x", "Format": "Half"}]},
            {"Name": "k", "LayerType": "kgen", "Outputs": [{"Name": "x", "Format/Datatype": "BFloat16"}]},
        ]
    )
    assert found.layers == {"fp16": 1, "bf16": 1}


def test_nothing_shown_fails() -> None:
    found = precision_report([conv("Float")], plan=390)
    assert found.evidence == ""
    with pytest.raises(BuildError, match="No evidence of fp16 in the engine: visible layers are 1 in fp32") as caught:
        require_precision_shown(found)
    assert caught.value.hint


def test_opaque_parts_are_named_and_measured() -> None:
    found = precision_report([FOREIGN, conv("Half", 25)], plan=210)
    assert found.opaque == ["{ForeignNode[a...b]}"]
    assert found.opaque_share == pytest.approx(0.75)
    only_opaque = precision_report([FOREIGN], plan=210)
    assert only_opaque.layers == {}
    assert "opaque; the plan is 0.53 of the float32 weights" in only_opaque.evidence
    require_precision_shown(only_opaque)


def test_one_visible_layer_does_not_speak_for_opaque_parts() -> None:
    small, large = (precision_report([FOREIGN, conv("Half", 5)], plan=plan) for plan in (210, 410))
    assert small.evidence == (
        "1 of 1 visible layers compute in fp16, and the plan is 0.53 of the float32 weights, too small to hold float32"
    )
    assert small.note == ""
    assert large.evidence == "1 of 1 visible layers compute in fp16"
    assert large.note.startswith("95% of the weights are in opaque parts, and the plan is large enough for float32")


def test_opaque_and_as_large_as_float32_fails() -> None:
    with pytest.raises(BuildError, match="1 parts are opaque, and the plan is 1.02"):
        require_precision_shown(precision_report([FOREIGN], plan=410))


def test_a_small_plan_alone_is_no_evidence() -> None:
    # visible float32 layers contradict it
    with pytest.raises(BuildError):
        require_precision_shown(precision_report([conv("Float")], plan=100))


def test_what_tensorrt_says_about_weights_comes_before_the_size_of_the_plan() -> None:
    text = json.dumps({"Layers": [FOREIGN]})
    found = make_precision_report(text, "fp16", plan_bytes=900, float32_bytes=400, weight_bytes=200)
    assert found.plan_share == 0.5
    require_precision_shown(found)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_float32_needs_no_proof(precision: Any) -> None:
    require_precision_shown(precision_report([conv("Float")], precision, plan=500))


def test_tf32_that_no_kernel_uses_is_said() -> None:
    named = conv("Float", TacticName="sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32")
    assert precision_report([named], "tf32").note == ""
    assert "no visible kernel uses it" in precision_report([conv("Float")], "tf32").note


def test_mostly_another_precision_is_said() -> None:
    assert "most weights" in precision_report([conv("Half", 10), conv("Float", 90)]).note


def test_names_only_are_no_evidence() -> None:
    found = precision_report(["conv1", "conv2"])
    assert found.other_layers == 2
    with pytest.raises(BuildError):
        require_precision_shown(found)


def test_unreadable_json() -> None:
    with pytest.raises(BuildError, match="is not valid JSON"):
        make_precision_report("{", "fp16", plan_bytes=1, float32_bytes=1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["Inputs", "Outputs", "Weights", "Type", "Count", "Format/Datatype", "LayerType", "Name"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.text() | st.dictionaries(st.sampled_from(["Name", "LayerType", "Inputs", "Weights"]), json_values)))
def test_any_layers_give_a_precision_report(layers: list[Any]) -> None:
    found = precision_report(layers)
    assert sum(found.layers.values()) + found.other_layers + len(found.opaque) == len(layers)


def test_names_with_control_characters_are_read() -> None:
    """Seen with TensorRT 8.6: layer names go into its JSON as they are."""
    layers = read_layers('{"Layers": [{"Name": "a\tb\x1ec", "LayerType": "Convolution"}]}')
    assert layers == [{"Name": "a\tb\x1ec", "LayerType": "Convolution"}]


def test_what_tensorrt_8_6_said_of_a_real_engine() -> None:
    """A classic YOLOv5n of two classes in float32, built on an H100 with TensorRT 8.6.0 at detailed verbosity."""
    path = Path(__file__).parent / "data" / "inspector-8.6.0-yolov5n-fp32.json.gz"
    inspected = gzip.decompress(path.read_bytes()).decode()
    assert "\x1e" in inspected, "TensorRT joins the names of fused layers with a control character"
    precision_report = make_precision_report(inspected, "fp32", plan_bytes=9_000_000, float32_bytes=7_100_000)
    require_precision_shown(precision_report)
    assert precision_report.layers == {"fp32": 120}
    assert precision_report.other_layers == 42
    assert precision_report.weight_bytes == {"fp32": 7_047_484}
    assert not precision_report.opaque
    half = make_precision_report(inspected, "fp16", plan_bytes=9_000_000, float32_bytes=7_100_000)
    with pytest.raises(BuildError, match="No evidence of fp16 in the engine: visible layers are 120 in fp32"):
        require_precision_shown(half)


def test_nodes_that_were_only_preferred_in_float32_are_counted_by_the_type_they_run_in() -> None:
    metadata = "[ONNX Layer: /head/mul]\x1e[ONNX Layer: /head/add]"
    layers = [
        conv("Half"),
        {"Name": "PWN(a)", "LayerType": "PointWiseV2", "Inputs": prose("FP32"), "Metadata": metadata},
        {"Name": "b", "LayerType": "ElementWise", "Inputs": prose("FP16"), "Metadata": "[ONNX Layer: /head/exp]"},
        {**FOREIGN, "Metadata": ""},
    ]
    names = ["/head/mul", "/head/add", "/head/exp", "/nms/over"]
    found = make_precision_report(
        json.dumps({"Layers": layers}), "fp16", plan_bytes=250, float32_bytes=400, preferred=names
    )
    assert found.preferred == {"fp32": 2, "fp16": 1, "unknown": 1}
    assert "the 4 nodes to keep in float32 are preferences" in found.note
    assert "2 in fp32, 1 in fp16, 1 in layers that do not show their type" in found.note
    assert precision_report(layers).preferred == {}


# of the Swin fixture on an H100: a part of its plans, whose layers are opaque
INT8_PLAN = b"\0LayerNormalization_output_0_int8_quantize\0sm80_xmma_gemm_i8f32_i8i32_f32_tn_n_tilesize32x64x64_stage6\0sm86_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize32x32x64\0"
FP16_PLAN = b"\0sm80_xmma_gemm_f16f16_f16f16_f16_nn_n_tilesize32x32x64_stage6\0sm80_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize32x32x64\0"
FP32_PLAN = b"\0x_int8_quantize\0sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize64x64x8_stage3_warpsize1x4x1\0"


@pytest.mark.parametrize(
    ("precision", "plan", "shown"),
    [
        ("int8", INT8_PLAN, True),
        ("int8", FP16_PLAN, False),
        ("int8", FP32_PLAN, False),
        ("fp16", FP16_PLAN, True),
        ("fp16", INT8_PLAN, False),
        ("bf16", FP16_PLAN, False),
    ],
)
def test_kernels_show_the_precision_of_opaque_parts(precision: str, plan: bytes, shown: bool, tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(plan)
    found = precision_report([conv("Float"), FOREIGN], precision, plan=364)  # 0.91 of the weights
    assert not found.evidence
    add_kernel_evidence(found, tmp_path / "plan")
    assert bool(found.evidence) == shown
    if shown:
        require_precision_shown(found)
        assert found.evidence.startswith(
            f"the layers are opaque; the plan contains {precision} kernels (sm80_xmma_gemm_"
        )
    else:
        with pytest.raises(BuildError, match=f"No evidence of {precision}"):
            require_precision_shown(found)


def test_kernels_say_nothing_of_layers_that_are_shown(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(INT8_PLAN)
    found = precision_report([conv("Float")], "int8")
    add_kernel_evidence(found, tmp_path / "plan")
    assert not found.evidence
