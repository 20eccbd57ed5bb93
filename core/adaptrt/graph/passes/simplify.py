"""Run onnxsim in a separate process, if shape arithmetic is left to simplify."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from adaptrt.graph.passes.clean import NAME_SCOPES
from adaptrt.python_process import program_command

_SHAPE_ARITHMETIC = {"Shape", "Size", "Range", "NonZero", "ConstantOfShape", "Expand"}
_TIMEOUT = 300

# torch and sympy serve features of onnxsim that are not used here, and take seconds to import
_CHILD = """
import json, sys
heavy = ("torch", "sympy")
sys.modules.update(dict.fromkeys(heavy))
import onnx
try:
    import onnxsim
except ImportError:
    for name in [name for name in sys.modules if name in heavy or name.partition(".")[0] == "onnxsim"]:
        del sys.modules[name]
    import onnxsim
before, after, shapes = sys.argv[1:]
simplified, same = onnxsim.simplify(onnx.load(before), check_n=1, test_input_shapes=json.loads(shapes) or None)
if not same:
    sys.exit("onnxsim's own check found different outputs")
onnx.save(simplified, after)
"""


def simplify(model: ir.Model, shapes: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """The simplified model, or the unchanged one with a note that gives the reason.

    onnxsim is native code that has crashed and broken graphs: a crash, a failed check or a different signature leave
    the graph unchanged. ``shapes`` of the inputs are those that onnxsim compares both graphs at.
    """
    if not any(node.op_type in _SHAPE_ARITHMETIC for node in model.graph.all_nodes()):
        return _noted(model, "not needed: no shape arithmetic left")
    try:
        with tempfile.TemporaryDirectory(prefix="adaptrt-simplify-") as folder:
            before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
            onnx.save(ir.to_proto(model), str(before))
            done = subprocess.run(
                [*program_command(_CHILD), str(before), str(after), json.dumps(shapes or {})],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
            if done.returncode != 0 or not after.is_file():
                reason = done.stderr.strip().splitlines()[-1:] or [f"onnxsim ended with status {done.returncode}"]
                return _noted(model, f"skipped: {reason[0]}")
            simplified = ir.from_proto(onnx.load(str(after)))
    except subprocess.TimeoutExpired:
        return _noted(model, f"skipped: onnxsim took longer than {_TIMEOUT} s")
    except OSError as error:  # no room for the copies, no process to be had
        return _noted(model, f"skipped: {error}")
    if _signature(simplified) != _signature(model):
        return _noted(model, "skipped: onnxsim changed the inputs or outputs")
    _copy_scopes(model, simplified)
    return _noted(simplified, "onnxsim")


def _copy_scopes(model: ir.Model, simplified: ir.Model) -> None:
    """onnxsim drops the metadata of nodes. ``name_nodes`` needs the module paths, and names decide which nodes stay float32."""
    scopes = {
        value.name: node.metadata_props[NAME_SCOPES]
        for node in model.graph.all_nodes()
        if NAME_SCOPES in node.metadata_props
        for value in node.outputs
    }
    for node in simplified.graph.all_nodes():
        found = next((scopes[value.name] for value in node.outputs if value.name in scopes), None)
        if found is not None:
            node.metadata_props[NAME_SCOPES] = found


def _noted(model: ir.Model, note: str) -> ir.Model:
    model.metadata_props["adaptrt.note.simplify"] = note
    return model


def _signature(model: ir.Model) -> list[object]:
    """Inputs with their axes, numbers and symbols; of outputs the names and the number of axes."""
    inputs = [(value.name, value.dtype, str(value.shape)) for value in model.graph.inputs]
    outputs = [
        (value.name, value.dtype, len(value.shape) if value.shape is not None else -1) for value in model.graph.outputs
    ]
    return [inputs, outputs]
