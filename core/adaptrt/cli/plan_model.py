"""The part of a plan that requires the model: ``--dry-run -v`` loads it but converts nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from adaptrt.pipeline.adapter_session import AdapterSession
from adaptrt.pipeline.spec_checks import require_convertible
from adaptrt.request import Request, nearest_shape
from adaptrt.specs import ModelSpec, format_shape


def model_plan(request: Request) -> dict[str, Any]:
    """Inputs and outputs as the adapter describes them, patches, and graph passes in their order; as plain data."""
    with tempfile.TemporaryDirectory(prefix="adaptrt-plan-") as folder:
        opened = AdapterSession(request, Path(folder))
        require_convertible(request, opened.hooks, opened.spec)
        spec = opened.completed
        patches = opened.patches()
        passes = opened.hooks.graph_passes(opened.ctx, spec)
        return {
            "warnings": [*opened.warnings, *_unrounded(spec)],
            "name": type(opened.model).__name__,
            "task": spec.task,
            "inputs": {
                tensor.name: " and ".join(map(format_shape, tensor.profiles)) + f" {tensor.dtype}"
                for tensor in spec.inputs
            },
            "outputs": {output.name: [group.name for group in output.groups] for output in spec.outputs},
            "decoder": spec.decoder.name if spec.decoder else None,
            "patches": [
                {
                    "target": one.item.target,
                    "kind": type(one.item).__name__,
                    "reason": one.item.reason,
                    "plugin": one.plugin,
                }
                for one in patches
            ],
            "passes": [
                {"order": one.item.order, "name": one.item.name, "reason": one.item.reason, "plugin": one.plugin}
                for one in passes
            ],
        }


def _unrounded(spec: ModelSpec) -> list[str]:
    """A warning about a complete shape with other sizes than multiples of the stride."""
    nearest = nearest_shape(spec)
    if not nearest:
        return []
    assert spec.image is not None
    return [
        f"Sizes of --shape {spec.image.input} are not all multiples of the stride {spec.image.stride}: the conversion uses "
        f"them as they are, and fails if the model does not run at one of them. Multiples: {nearest}"
    ]


def model_lines(model: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Titles and their lines, to print."""
    described = [f"{name} {shape}" for name, shape in model["inputs"].items()]
    described += [f"{name} {', '.join(groups)}".rstrip() for name, groups in model["outputs"].items()]
    patches = [f"{one['target']} ({one['plugin']}): {one['reason']}" for one in model["patches"]]
    passes = [f"{one['order']:>3} {one['name']} ({one['plugin']}): {one['reason']}" for one in model["passes"]]
    return [
        (f"model {model['name']}: inputs and outputs", described),
        ("patches", patches or ["none"]),
        ("graph passes, by order", passes or ["none"]),
    ]
