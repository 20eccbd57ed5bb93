"""What can be refused before the model is loaded: the same for a conversion, a build and a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptrt.backends.choice import Chosen, chosen_backends, deciding_backends, target_for, target_of
from adaptrt.errors import BuildError, ModelError, UsageError, nearest_file
from adaptrt.export.choices import choose_opset
from adaptrt.request import Request
from adaptrt.specs import Target, precision_named
from adaptrt.specs.backends import Backend, ChecksOptions, ChecksRuntime
from adaptrt.specs.precisions import PRECISIONS
from adaptrt.store.model_files import CHECKPOINT_SUFFIXES, require_libraries

# what checkpoints are called; a config (.py, .yaml) may be one by name that the framework brings
FILE_SUFFIXES = {*CHECKPOINT_SUFFIXES, ".onnx"}


def require_possible(request: Request) -> None:
    """Refuse an opset, precision or build option that the target does not have, and files that are not there."""
    target = target_of(request)
    if request.opset is not None:
        choose_opset(request.opset, request.exporter, target)
    for backend in deciding_backends(request):
        require_supported(request, backend, target_for(backend, target))
    require_source(request.source)
    if request.weights is not None:
        require_source(str(request.weights))
    require_libraries("--plugin-lib", request.build.plugin_libs)
    require_libraries("--ort-custom-ops", request.ort_custom_ops)


def require_supported(request: Request, backend: Backend, target: Target) -> None:
    """Refuse what this backend does not have for this target: a precision, or an option of the build."""
    precision = precision_named(request.precision)
    unsupported = backend.express(precision, target).unsupported
    if unsupported:
        able = [one.name for one in PRECISIONS.all() if not backend.express(one, target).unsupported]
        raise UsageError(
            f"--precision {precision.name}: {unsupported}.",
            hint=f"{target.title} has {', '.join(able)}. Choose one of them, or another --target.",
        )
    if isinstance(backend, ChecksOptions):
        backend.check_options(request.build, target)


def require_buildable(request: Request) -> None:
    """Refuse a file that was asked for by name (``--to``) and that cannot be built here."""
    refuse_unavailable(request, [one for one in chosen_backends(request) if one.asked and one.builds])


def refuse_unavailable(request: Request, chosen: Sequence[Chosen]) -> None:
    """Refuse what cannot be built here: a ``DependencyError`` if something is not installed, else a ``BuildError``."""
    target = target_of(request)
    for one in chosen:
        reason = one.backend.unavailable(target_for(one.backend, target), request.build.device)
        if reason is None:
            continue
        if isinstance(one.backend, ChecksRuntime):
            one.backend.check_runtime(builder=True)
        raise BuildError(
            f"No {one.suffix} file can be built: {reason}.",
            hint="Build it on a machine that has what is missing; adaptrt doctor lists what is installed here.",
        )


def require_images(request: Request) -> None:
    """Refuse an image that is none."""
    for path in (request.image, request.test_image):
        if path is not None:
            from adaptrt.vision.images import read_image

            read_image(path)


def require_source(source: str) -> None:
    """A name like a file's has to be one; any other may be a name that the adapter knows."""
    if not source.strip():
        raise UsageError("SOURCE is empty.", hint="Is a variable of the shell not set? Give a file or a model's name.")
    path = Path(source)
    if path.suffix in FILE_SUFFIXES and not path.exists():
        hint = nearest_file(path, FILE_SUFFIXES) or "Check the path; nothing is downloaded."
        raise ModelError(f"There is no file {source}.", hint=hint)
