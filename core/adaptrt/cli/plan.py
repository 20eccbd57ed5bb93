"""``--dry-run``: what a conversion would do, without loading the model; with ``-v`` the model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptrt.backends.choice import chosen_backends, target_for, target_of, wants_reduced_graph
from adaptrt.cli.output import echo
from adaptrt.options import takes_option
from adaptrt.pipeline.artifacts import why_float32
from adaptrt.pipeline.decoder_options import split_request_options
from adaptrt.pipeline.output import destination_of, require_folder
from adaptrt.pipeline.preflight import require_calibration, require_images, require_possible
from adaptrt.pipeline.recognize import wrong_adapter
from adaptrt.pipeline.sessions import open_session
from adaptrt.plugins.session import Session
from adaptrt.quantities import file_size
from adaptrt.rendering.formatting import display_path
from adaptrt.report import LINKS
from adaptrt.request import Request
from adaptrt.specs import format_shape, precision_named
from adaptrt.specs.backend_parts import KeepsManifest


def plan_of(request: Request, *, load: bool = False) -> dict[str, Any]:
    """The plan as plain data. Opens the plugin session, so that a missing adapter or broken plugin is an error here.

    ``load`` adds ``model``, which requires loading the model.
    """
    session, _ = open_session(request.adapter, request.plugins_file)
    session.require_current()
    hooks = session.implementations()
    destination = destination_of(request)
    require_folder(destination.folder)
    require_possible(request)
    require_calibration(request, session.quantizers())
    require_images(request)
    options = session.hooks.adapter_options()
    split_request_options(session.hooks, request)
    warnings = [*session.warnings, *filter(None, [wrong_adapter(request.source, request.adapter)])]
    model = _model_plan(request) if load else None
    return {
        "source": request.source,
        "source_bytes": Path(request.source).stat().st_size if Path(request.source).is_file() else None,
        "weights": str(request.weights) if request.weights else None,
        "adapter": request.adapter,
        "plugins": dict(session.sources),
        "warnings": [*warnings, *(model.pop("warnings") if model else ())],
        "options": {
            key: {
                "value": value,
                "of": "adapter" if options is not None and takes_option(options, key) else "decoder",
            }
            for key, value in request.options.items()
        },
        "adapter_options": _defaults(options) if options is not None else {},
        "shapes": _shapes(request),
        "unchecked": [] if load else _unchecked(request, options),
        "export": {
            "exporter": request.exporter,
            "opset": request.opset,
            "target": request.target,
            "precision": request.precision,
            "simplify": request.simplify,
            "embed_preprocess": request.embed_preprocess,
            "nms": request.nms.kind if request.nms is not None else None,
        },
        "links": {str(number): _link(number, request, hooks) for number in LINKS},
        "hooks": hooks,
        "wrappers": session.wrappers(),
        "files": [
            {"path": str(path), "exists": path.exists(), "condition": condition}
            for path, condition in (
                (destination.path(suffix), when) for suffix, when in _files(request, session).items()
            )
        ],
        **({"model": model} if model else {}),
    }


def _model_plan(request: Request) -> dict[str, Any]:
    from adaptrt.cli.plan_model import model_plan

    return model_plan(request)


def _files(request: Request, session: Session) -> dict[str, str]:
    """The files to write, by suffix, each with its condition; empty: always written."""
    files: dict[str, str] = {}
    for one in chosen_backends(request):
        suffix = one.backend.suffixes[0]
        if not one.builds:
            files[suffix] = ""
            if wants_reduced_graph(request):
                files[f".{request.precision}.onnx"] = ""
            continue
        condition = "" if one.asked else f"if {one.backend.title} can build it here"
        if one.asked and not session.others("build_engine"):
            reason = one.backend.unavailable(target_for(one.backend, target_of(request)), request.build.device)
            condition = f"cannot be built here: {reason}" if reason else ""
        files[suffix] = condition
        if isinstance(one.backend, KeepsManifest):
            files[f"{suffix}.json"] = condition
    return {**files, ".report.json": "", ".report.html": ""}


def _defaults(options: type[Any]) -> dict[str, str]:
    return {
        field.name: "required"
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        else str(field.default if field.default is not dataclasses.MISSING else "")
        for field in dataclasses.fields(options)
    }


def _shapes(request: Request) -> dict[str, str]:
    """The requested shapes; all others come from the adapter's spec, known once the model is loaded."""
    asked = request.shapes
    found = {name: " and ".join(map(format_shape, profiles)) for name, profiles in asked.shapes.items()}
    if asked.imgsz is not None:
        height, width = asked.imgsz
        found["height x width"] = f"{height}x{width} ({height} high, {width} wide)"
    if asked.batch is not None:
        size = str(dataclasses.replace(asked.batch, name=None))
        found["batch"] = size if asked.batch.dynamic else f"{size} (always {size} at a time)"
    if asked.dynamic is not None:
        found["dynamic axes"] = ", ".join(sorted(asked.dynamic)) or "none"
    return found


def _unchecked(request: Request, options: type[Any] | None) -> list[str]:
    """What of the requested shapes only the model can tell: names, if the adapter's options do not list them, and sizes."""
    asked = request.shapes
    sizes = bool(asked.shapes or asked.imgsz or "hw" in (asked.dynamic or ()))
    names = bool(asked.shapes) and not getattr(options, "INPUTS", ())
    return [what for what, applies in (("input names", names), ("sizes", sizes)) if applies]


def _link(number: int, request: Request, hooks: dict[str, list[str]]) -> str:
    """``runs``, or why not."""
    if request.verify == "none":
        return "not run: --verify none"
    image = request.image is not None or request.test_image is not None
    if number in (0, 5) and not image:
        return "not run: no --image"
    if number == 0 and not hooks["framework_predictions"]:
        return f"not run: adapter {request.adapter} has no framework predictions"
    if number == 1 and not hooks["patches"]:
        return "not run: no plugin contributes patches"
    if number == 3:
        return (
            "runs"
            if wants_reduced_graph(request)
            else f"not run: {why_float32(request, precision_named(request.precision))}"
        )
    return "runs if an engine is built that this machine can run" if number == 4 else "runs"


def hook_lines(hooks: Mapping[str, Sequence[str]], wrappers: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each hook: the plugins in the order they are called, then the wrappers."""
    lines = []
    for hook, who in hooks.items():
        around = wrappers.get(hook, ())
        called = ", ".join(name for name in who if name not in around) or "-"
        lines.append(f"{hook:<22} {called}" + "".join(f", {name} (around)" for name in around))
    return lines


def _file_line(file: dict[str, Any]) -> str:
    remarks = [remark for remark in (file["condition"], "replaced" if file["exists"] else "") if remark]
    return display_path(file["path"]) + (f" ({', '.join(remarks)})" if remarks else "")


def print_plan(plan: dict[str, Any], *, quiet: bool = False) -> None:
    """Print the plan on standard output; with ``quiet`` only its warnings."""
    for line in () if quiet else _plan_lines(plan):
        echo(line)
    for warning in plan["warnings"]:
        echo(f"Warning: {warning}", err=True)


def _plan_lines(plan: dict[str, Any]) -> Iterator[str]:
    size = f" ({file_size(plan['source_bytes'])})" if plan["source_bytes"] is not None else " (no file: a name)"
    export = plan["export"]
    rows: list[tuple[str, str]] = [
        ("source", plan["source"] + size),
        *([("weights", plan["weights"])] if plan["weights"] else []),
        ("adapter", f"{plan['adapter']}, from {plan['plugins'][plan['adapter']]}"),
        ("plugins", ", ".join(f"{name} ({source})" for name, source in plan["plugins"].items())),
        ("options", ", ".join(f"{key}={one['value']} ({one['of']})" for key, one in plan["options"].items()) or "none"),
        *([("takes", ", ".join(f"{k} [{v}]" for k, v in plan["adapter_options"].items()))] if plan["adapter_options"] else []),
        ("shapes", ", ".join(f"{name} {shape}" for name, shape in plan["shapes"].items()) or "from the adapter's spec"),
        *([("", f"not checked: {' and '.join(plan['unchecked'])}, until the model is loaded; use -v to load it")] if plan["unchecked"] else []),
        ("export", f"exporter {export['exporter']}, opset {export['opset'] or 'chosen by target and exporter'}, "
                   f"target {export['target'] or 'from the files and the installed TensorRT'}, {export['precision']}"
                   f"{'' if export['simplify'] else ', not simplified'}"
                   + (", takes pixels" if export["embed_preprocess"] else "")
                   + (f", ends in NMS ({export['nms']})" if export["nms"] else "")),
    ]  # fmt: skip
    for title, text in rows:
        yield f"{title:<9}{text}"
    model = plan.get("model")
    if model is None:
        decided = [("patches and graph passes", ["unknown until the model is loaded; use -v to load it"])]
    else:
        from adaptrt.cli.plan_model import model_lines

        decided = model_lines(model)
    for title, lines in (
        ("links", [f"{number}  {LINKS[int(number)]}: {state}" for number, state in plan["links"].items()]),
        *decided,
        ("hooks, in the order they are called", hook_lines(plan["hooks"], plan["wrappers"])),
        ("files", [_file_line(one) for one in plan["files"]]),
    ):  # fmt: skip
        yield f"\n{title}"
        yield from (f"  {line}" for line in lines)
