"""Checks before the model is loaded, shared by conversion, build and plan."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from adaptrt.backends.choice import (
    Chosen,
    chosen_backends,
    deciding_backends,
    target_for,
    target_of,
    targets_of,
    wants_reduced_graph,
)
from adaptrt.errors import BuildError, DependencyError, ModelError, UsageError, nearest_file
from adaptrt.export.choices import choose_opset
from adaptrt.request import BuildRequest, Request
from adaptrt.specs import Target, precision_named
from adaptrt.specs.backend_calls import expression_of
from adaptrt.specs.backend_parts import ChecksRuntime, TakesOptions
from adaptrt.specs.backends import BACKENDS, Backend, all_targets, build_options_of, word_of
from adaptrt.specs.build import FLAGS
from adaptrt.specs.precisions import PRECISIONS
from adaptrt.store.model_files import CHECKPOINT_SUFFIXES, require_labeled_images, require_libraries

# suffixes of checkpoints; a config (.py, .yaml) may be the name of one that the framework ships
FILE_SUFFIXES = {*CHECKPOINT_SUFFIXES, ".onnx"}


def require_possible(request: Request) -> None:
    """Reject an opset, precision or build option that the target does not support, and missing files."""
    target = target_of(request)
    if request.opset is not None:
        choose_opset(request.opset, request.exporter, target)
    backends = deciding_backends(request)
    require_options_taken(request, backends)
    for backend in backends:
        require_supported(request, backend, target_for(backend, target))
    _require_nms_target(request)
    require_source(request.source)
    if request.weights is not None:
        require_source(str(request.weights))
    require_libraries("--plugin-lib", request.build.plugin_libs)
    require_libraries("--ort-custom-ops", request.ort_custom_ops)
    _require_image_sets(request)


def _require_nms_target(request: Request) -> None:
    """Reject a kind of ``--nms`` that a target does not run."""
    nms = request.nms
    if nms is None:
        return
    for target in targets_of(request):
        if nms.kind == "efficient" and not target.efficient_nms:
            able = [one for one in all_targets().values() if one.efficient_nms]
            raise UsageError(
                f"--nms efficient: {target.title} does not include the plugin EfficientNMS_TRT; only "
                f"{' and '.join(one.title for one in able)} {'do' if len(able) > 1 else 'does'}.",
                hint=f"Use --nms, which does not require a plugin, or --target {' or '.join(one.name for one in able)}.",
            )
        if nms.kind == "onnx" and not target.onnx_nms:
            raise UsageError(
                f"--nms onnx: {target.title} has no kernel for NonMaxSuppression.",
                hint="Use --nms, which uses only supported operators.",
            )


def _require_image_sets(request: Request) -> None:
    """Reject a missing --calib or --data, and labeled images that would not be looked at."""
    calib = request.calibration
    if calib is not None and not calib.source.exists() and not glob.has_magic(str(calib.source)):
        raise UsageError(
            f"Not found: {calib.source}.",
            hint="--calib names a folder of images, a pattern, a .txt file that lists them, or an .npz file.",
        )
    if request.data is None:
        return
    require_labeled_images(request.data.source, request.data.images)
    if request.verify == "none":
        raise UsageError("--data conflicts with --verify none.", hint="Omit one of them.")


def require_calibration(request: Request, quantizers: Sequence[str]) -> None:
    """Reject a precision that needs Q/DQ nodes if nothing provides them: no ``--calib``, and no plugin that quantizes without."""
    precision = precision_named(request.precision)
    if precision.form != "qdq" or request.calibration is not None or quantizers:
        return
    name = precision.name
    raise UsageError(
        f"--precision {name} needs images to measure the ranges of activations on.",
        hint=f"Specify a few hundred images like those in production: --{name} --calib images/. If the model already contains fake quantization, "
        f"convert it without --precision {name}, then: adaptrt build FILE.onnx --{name}",
    )


def require_supported(request: Request, backend: Backend, target: Target) -> None:
    """Reject a precision or build option that this backend does not support for this target."""
    precision = precision_named(request.precision)
    unsupported = expression_of(backend, precision, target).unsupported
    if unsupported:
        able = [one.name for one in PRECISIONS.all() if not expression_of(backend, one, target).unsupported]
        raise UsageError(
            f"--precision {precision.name}: {unsupported}.",
            hint=f"{target.title} supports {', '.join(able)}. Choose one of them, or another --target.",
        )
    if isinstance(backend, TakesOptions):
        backend.check_options(request.build, target)


def require_options_taken(request: Request, backends: Sequence[Backend]) -> None:
    """Reject a build option that no backend reads."""
    taken = {name for backend in backends for name in build_options_of(backend)}
    for name in request.build.changed():
        if name not in taken:
            titles = " and ".join(backend.title for backend in backends)
            known = ", ".join(flag for field, flag in FLAGS.items() if field in taken)
            able = sorted((one for one in BACKENDS.all() if name in build_options_of(one)), key=lambda one: one.title)
            instead = " or ".join(f"{one.title} (--to {word_of(one)})" for one in able)
            raise UsageError(
                f"{titles} {'does' if len(backends) == 1 else 'do'} not support {FLAGS[name]}.",
                hint=f"Remove it, or build with {instead}. Supported build options: {known or 'none'}.",
            )


def unread_options(request: Request) -> list[str]:
    """For each build option that only some of the requested backends read, which do and which do not."""
    backends = deciding_backends(request)
    notes = []
    for name in request.build.changed():
        without = [one.title for one in backends if name not in build_options_of(one)]
        readers = [one.title for one in backends if name in build_options_of(one)]
        if without and readers:
            verb = "has" if len(without) == 1 else "have"
            notes.append(
                f"{FLAGS[name]} applies to {' and '.join(readers)}; {' and '.join(without)} {verb} no such option"
            )
    return notes


def require_buildable(request: Request) -> None:
    """Reject a file that was requested by name (``--to``, ``-o``) and cannot be built here."""
    refuse_unavailable(request, [one for one in chosen_backends(request) if one.asked and one.builds])


def refuse_unavailable(request: Request, chosen: Sequence[Chosen]) -> None:
    """Raise a ``DependencyError`` if a package is missing for a build, a ``BuildError`` if it cannot be built otherwise."""
    target = target_of(request)
    for one in chosen:
        reason = one.backend.unavailable(target_for(one.backend, target), request.build.device)
        if reason is None:
            continue
        try:
            if isinstance(one.backend, ChecksRuntime):
                one.backend.check_runtime(builder=True)
            raise BuildError(
                f"No {one.suffix} file can be built: {reason}.",
                hint="Build it on a machine that meets the requirements; adaptrt doctor lists what is installed here.",
            )
        except (BuildError, DependencyError) as error:
            error.hint = " ".join(filter(None, (f"{(error.hint or '').rstrip('.')}.", _without(request, target))))
            raise


def _without(request: Request, target: Target) -> str:
    """The sentence of a hint that says how to get what can be written here."""
    if isinstance(request, BuildRequest) and not wants_reduced_graph(request):
        return ""
    able = [
        one.suffix.removeprefix(".")
        for one in chosen_backends(request)
        if one.asked and not one.backend.unavailable(target_for(one.backend, target), request.build.device)
    ]
    later = (
        "" if isinstance(request, BuildRequest) else "; adaptrt build makes the other files later, from the ONNX file"
    )
    return f"Without it: --to {','.join(able or ['onnx'])}{later}."


def require_images(request: Request) -> None:
    """Reject a file that is not an image."""
    for path in (request.image, request.test_image):
        if path is not None:
            from adaptrt.vision.images import read_image

            read_image(path, None)


def require_source(source: str) -> None:
    """A name with a checkpoint suffix must be an existing file; any other may be a name that the adapter knows."""
    if not source.strip():
        raise UsageError("SOURCE is empty.", hint="Specify a file or a model name. Check for an unset shell variable.")
    path = Path(source)
    if path.suffix in FILE_SUFFIXES and not path.exists():
        hint = nearest_file(path, FILE_SUFFIXES) or "Check the path. Files are never downloaded."
        raise ModelError(f"File not found: {source}.", hint=hint)
