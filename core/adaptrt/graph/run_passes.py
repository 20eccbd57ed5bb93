"""Runs graph passes in order, and checks the graph after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import onnx_ir as ir

from adaptrt.errors import AdaptrtError, GraphError, disk_error
from adaptrt.graph.model_file import check_model, signature
from adaptrt.plugins.facade import Contributed
from adaptrt.report import PassRecord


def run_passes(
    model: ir.Model, passes: Sequence[Contributed], on_pass: Callable[[str], None] = lambda _: None
) -> tuple[ir.Model, list[PassRecord]]:
    """The rewritten model, and a record of each pass. A ``GraphError`` names a pass that breaks the graph."""
    records = []
    for contributed in passes:
        found = contributed.item
        on_pass(found.name)
        before = _count(model)
        started = time.perf_counter()
        try:
            names = signature(model)
            model = found.run(model) or model
            check_model(model)
            if signature(model) != names:
                raise ValueError("the names of inputs or outputs changed")
        except AdaptrtError:
            raise
        except Exception as error:
            full = disk_error(error)
            if full is not None:
                raise full from error
            raise GraphError(
                f"Graph pass {found.name!r} ({contributed.plugin}) broke the graph: {type(error).__name__}: {error}",
                hint="Disable the pass (--no-simplify for onnxsim, else disable its plugin), and report the problem to its author.",
            ) from error
        note = model.metadata_props.pop(f"adaptrt.note.{found.name}", "")
        records.append(
            PassRecord(
                found.name, found.reason, contributed.plugin, before, _count(model), time.perf_counter() - started, note
            )
        )
    return model, records


def _count(model: ir.Model) -> int:
    return sum(1 for _ in model.graph.all_nodes())
