"""Runs graph passes in order, and checks the graph after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import onnx_ir as ir

from adaptrt.errors import AdaptrtError, GraphError, disk_error
from adaptrt.graph.model_file import check_model, signature
from adaptrt.plugins.facade import Contributed
from adaptrt.plugins.raised_at import raised_at
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
            model = _rewritten(contributed, model)
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


def _rewritten(contributed: Contributed, model: ir.Model) -> ir.Model:
    found = contributed.item
    try:
        result = found.run(model)
    except AdaptrtError:
        raise
    except Exception as error:
        if disk_error(error) is not None or not (where := raised_at(error)):
            raise
        raise GraphError(
            f"Graph pass {found.name!r} ({contributed.plugin}) failed: {type(error).__name__}: {error}",
            hint=f"{where} Use --debug to show the full traceback.",
        ) from error
    if result is not None and not isinstance(result, ir.Model):
        raise GraphError(
            f"Graph pass {found.name!r} ({contributed.plugin}) must return an onnx_ir.Model or nothing, "
            f"but returned {type(result).__name__}.",
            hint="Change the model in place, or return another one.",
        )
    return result or model


def _count(model: ir.Model) -> int:
    return sum(1 for _ in model.graph.all_nodes())
