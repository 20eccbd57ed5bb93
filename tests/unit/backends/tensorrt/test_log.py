"""TensorRT's messages by class: real ones, as versions 8 to 10 write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.backends.tensorrt.build.log import CLASSES, LogCollector, classify, explain_failure

MESSAGES = {
    "onnx2trt_utils.cpp:377: Your ONNX model has been generated with INT64 weights, while TensorRT does not natively "
    "support INT64. Attempting to cast down to INT32.": "int64 weights",
    "onnx2trt_utils.cpp:400: One or more weights outside the range of INT32 was clamped": "int64 clamped",
    "TensorRT encountered issues when converting weights between types and that could affect accuracy.": "subnormal weights",
    "If this is not the desired behavior, please modify the weights or retrain with regularization to adjust the "
    "magnitude of the weights.": "subnormal weights",
    "Check verbose logs for the list of affected weights.": "subnormal weights",
    "- 59 weights are affected by this issue: Detected subnormal FP16 values.": "subnormal weights",
    "- 2 weights are affected by this issue: Detected values less than smallest positive FP16 subnormal value and "
    "converted them to the FP16 minimum subnormalized value.": "subnormal weights",
    "- 1 weights are affected by this issue: Detected finite FP32 values which would overflow in FP16 and converted "
    "them to the closest finite FP16 value.": "weights overflow",
    "Tactic Device request: 2218MB Available: 2189MB. Device memory is insufficient to use tactic.": "skipped tactics",
    "UNSUPPORTED_STATE: Skipping tactic 0 due to insufficient memory on requested size of 434 detected.": "skipped tactics",
    "Skipping tactic 3 due to insuficient memory on requested size of 2243 detected for tactic 4.": "skipped tactics",
    "Some tactics do not have sufficient workspace memory to run. Increasing workspace size may increase performance, "
    "please check verbose output.": "skipped tactics",
    "No implementation of layer conv obeys the requested constraints in strict mode. No conforming implementation was "
    "found i.e. requested layer computation precision and output precision types are ignored, using the fastest "
    "implementation.": "precision not obeyed",
    "None of the 12 nodes to keep in float32 was found in the network.": "float32 not kept",
    "Missing scale and zero-point for tensor x, expect fall back to non-int8 implementation for any layer consuming or "
    "producing given tensor": "int8 without scale",
    "Running layernorm after self-attention in FP16 may cause overflow. Exporting the model to the latest available "
    "ONNX opset (later than opset 17)": "layer norm in half",
    "Myelin graph with multiple dynamic values may have poor performance if they differ. Dynamic values are: ": "several dynamic sizes",
    " (# 2 (SHAPE images))": "several dynamic sizes",
    "[RemoveDeadLayers] Input Tensor input is unused or used only at compile-time, but is not being removed.": "unused input",
    "Using an engine plan file across different models of devices is not recommended and is likely to affect "
    "performance or even cause errors.": "other device",
    "CUDA lazy loading is not enabled. Enabling it can significantly reduce device memory usage.": "library versions",
    "TensorRT was linked against cuDNN 8.9.0 but loaded cuDNN 8.6.0": "library versions",
    "The implicit batch dimension mode has been deprecated.": "deprecated",
    "Unable to determine GPU memory usage": "no GPU",
    "CUDA initialization failure with error: 35. Please check your CUDA installation": "no GPU",
    "Detected invalid timing cache, setup a local cache instead": "timing cache",
}


@pytest.mark.parametrize(("message", "name"), MESSAGES.items(), ids=range(len(MESSAGES)))
def test_messages_of_known_classes(message: str, name: str) -> None:
    found = classify(message)
    assert found is not None
    assert found.name == name


def test_every_class_has_a_message_and_a_meaning() -> None:
    assert {kind.name for kind in CLASSES} == set(MESSAGES.values())
    assert all(kind.meaning.endswith(".") for kind in CLASSES)


def test_each_class_is_said_once() -> None:
    collector = LogCollector()
    said = [collector.add("warning", message) for message in MESSAGES for _ in range(3)]
    assert [note.name for note in said if note is not None] == list(dict.fromkeys(MESSAGES.values()))
    assert sum(note.count for note in collector.notes) == 3 * len(MESSAGES)


def test_unknown_warnings_once_each_numbers_aside() -> None:
    collector = LogCollector()
    assert collector.add("warning", "layer 7 feels odd at 0x7f12") is not None
    assert collector.add("warning", "layer 8 feels odd at 0x7f13") is None
    other = collector.add("warning", "something\n  else")
    assert other is not None
    assert str(other) == "TensorRT: something else"


def test_details_are_no_notes() -> None:
    collector = LogCollector()
    assert collector.add("info", "Your ONNX model has been generated with INT64 weights") is None
    assert collector.notes == []


def test_errors_are_kept_for_the_explanation() -> None:
    collector = LogCollector()
    collector.add("error", "10: Could not find any implementation for node conv. ")
    assert collector.errors == ["10: Could not find any implementation for node conv."]


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (
            "2: [virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (no further information)",
            "memory",
        ),
        ("10: Could not find any implementation for node {ForeignNode[a...b]}.", "--workspace"),
        ("Unable to load library: libnvinfer_builder_resource.so.8.6.0", "library"),
        ("6: CUDA initialization failure with error: 35", "nvidia-smi"),
        ("getPluginCreator could not find plugin: MyPlugin version: 1", "--plugin-lib"),
    ],
)
def test_failures_are_explained(message: str, word: str) -> None:
    assert word in str(explain_failure([message]))


def test_a_failure_no_one_knows() -> None:
    assert explain_failure(["something new"]) is None


@given(st.lists(st.tuples(st.sampled_from(["error", "warning", "info", "verbose"]), st.text())))
def test_any_messages(messages: list[tuple[str, str]]) -> None:
    collector = LogCollector()
    for severity, message in messages:
        collector.add(severity, message)  # type: ignore[arg-type]
    wanted = [severity for severity, _ in messages if severity in ("error", "warning")]
    assert sum(note.count for note in collector.notes) == len(wanted)
