"""The output of ``adaptrt inspect`` for an OpenVINO model, which is read but not compiled."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from adaptrt.specs.descriptions import Description, Tensor
from adaptrt_openvino.executed import Executed
from adaptrt_openvino.model_file import BuildRecord, open_model, weights_beside
from adaptrt_openvino.runner import tensor_info
from adaptrt_openvino.runtime import new_core


def describe(path: Path) -> Description:
    """Facts, tensors, operators and the spec."""
    model, spec, record = open_model(new_core(), path)
    operators = Counter(operator.get_type_name() for operator in model.get_ordered_ops())
    return Description(
        path=str(path),
        kind="OpenVINO model",
        bytes=path.stat().st_size + weights_beside(path).stat().st_size,
        facts=_facts(record),
        inputs=[_tensor(port, spec) for port in model.inputs],
        outputs=[_tensor(port, spec) for port in model.outputs],
        operators=dict(operators.most_common()),
        spec=spec,
    )


def _facts(record: BuildRecord | None) -> dict[str, str]:
    if record is None:
        return {"built by": "another tool"}
    return {
        "precision": record.precision,
        "computes": str(Executed(record.layers)),
        "OpenVINO": record.openvino,
        "built on": record.cpu,
        **({"command": record.command} if record.command else {}),
    }


def _tensor(port: Any, spec: Any) -> Tensor:
    info = tensor_info(port, spec)
    return Tensor(info.name, info.dtype, tuple("?" if size is None else size for size in info.shape))
