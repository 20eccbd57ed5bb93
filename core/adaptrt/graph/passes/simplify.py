"""onnxsim, where shape arithmetic is left to simplify, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

_SHAPE_ARITHMETIC = {"Shape", "Size", "Range", "NonZero", "ConstantOfShape", "Expand"}
_TIMEOUT = 300

# onnxsim's own check runs both graphs on random input; batch 2 keeps a symbolic batch honest
_CHILD = """
import sys, onnx, onnxsim
simplified, same = onnxsim.simplify(onnx.load(sys.argv[1]), check_n=1)
if not same:
    sys.exit("onnxsim's own check found different outputs")
onnx.save(simplified, sys.argv[2])
"""


def simplify(model: ir.Model) -> ir.Model:
    """The model simplified, or as it was, with a note that says why.

    onnxsim is native code that has crashed and broken graphs: a crash, a failed check or a different signature all end
    in the graph as it was.
    """
    if not any(node.op_type in _SHAPE_ARITHMETIC for node in model.graph.all_nodes()):
        return _noted(model, "not needed: no shape arithmetic is left")
    with tempfile.TemporaryDirectory(prefix="adaptrt-simplify-") as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(ir.to_proto(model), str(before))
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, str(before), str(after)],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _noted(model, f"left out: onnxsim took longer than {_TIMEOUT} s")
        if done.returncode != 0 or not after.is_file():
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            return _noted(model, f"left out: {reason[0]}")
        simplified = ir.from_proto(onnx.load(str(after)))
    if _signature(simplified) != _signature(model):
        return _noted(model, "left out: onnxsim changed inputs or outputs")
    return _noted(simplified, "onnxsim")


def _noted(model: ir.Model, note: str) -> ir.Model:
    model.metadata_props["adaptrt.note.simplify"] = note
    return model


def _signature(model: ir.Model) -> list[tuple[str | None, int]]:
    values = [*model.graph.inputs, *model.graph.outputs]
    return [(value.name, len(value.shape) if value.shape is not None else -1) for value in values]
