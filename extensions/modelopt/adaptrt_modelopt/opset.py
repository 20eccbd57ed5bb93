"""The opset of ModelOpt's graphs, which it raises to 19 at least: brought down to one that the target reads."""

from __future__ import annotations

import onnx
from onnx import version_converter

from adaptrt import GraphError


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def lowered(
    model: onnx.ModelProto, source: onnx.ModelProto, newest: int | None, hint: str
) -> tuple[onnx.ModelProto, str]:
    """The model in the opset of its source, and a note; as it is if that is impossible and the target reads it.

    A graph whose nodes have only inputs and attributes of the older operators means the same in both opsets; others are
    converted by ONNX. Raises a ``GraphError`` if the target does not read the result.
    """
    given, wanted = opset_of(model), opset_of(source)
    if given <= wanted:
        return model, f"opset {given}"
    problem = ""
    for convert in (relabeled, version_converter.convert_version):
        try:
            candidate = convert(model, wanted)
            onnx.checker.check_model(candidate, full_check=True)
        except Exception as error:  # the converter raises RuntimeError, the checker its own and shape inference another
            problem = " ".join(str(error).split())[:300]
        else:
            return candidate, f"opset {given} brought down to {wanted}"
    if newest is not None and given > newest:
        raise GraphError(
            f"ModelOpt writes opset {given}; this target reads opset {newest} or older, and the graph cannot be converted: {problem}",
            hint=hint,
        )
    return model, f"opset {given}"


def relabeled(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same nodes with another version."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for entry in copy.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    return copy
