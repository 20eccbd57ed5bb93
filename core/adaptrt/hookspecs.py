"""The hooks, in the order of a conversion.

Kinds: *first* (pluggy's ``firstresult``) stops at the first result that is not ``None``; *collected* concatenates the
results of all plugins; *all* calls all plugins. Called in reverse registration order: extensions, then the adapter, then
core's default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from adaptrt.contributions import GraphPass, Metric, Patch
    from adaptrt.predictions import ImageMeta, Predictions
    from adaptrt.report import Report
    from adaptrt.request import Conversion
    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.specs.backends import Backend, Built

PROJECT = "adaptrt"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# Hooks that were renamed: an implementation under the old name would never be called.
RENAMED = {"typed_onnx": "reduce_precision"}

# The stages of a conversion and the hooks that each calls, in this order: shown in the reference, checked by the tests.
LIFE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("start", ("adapter_options",)),
    ("load", ("load_model",)),
    ("spec", ("model_spec",)),
    ("reference", ("example_inputs",)),
    ("link 0", ("framework_predictions", "preprocess", "postprocess", "metrics")),
    ("patches", ("patches",)),
    ("link 1", ()),
    ("export context", ()),
    ("export", ("example_inputs", "export_onnx")),
    ("passes", ("graph_passes",)),
    ("write", ()),
    ("link 2", ()),
    ("types", ("quantize", "reduce_precision")),
    ("link 3", ()),
    ("build", ("build_engine", "configure_builder")),
    ("link 4", ()),
    ("link 5", ("preprocess", "postprocess", "metrics")),
    ("end", ("conversion_finished",)),
)


@hookspec(firstresult=True)
def adapter_options() -> type[Any] | None:
    """The frozen dataclass that ``--set key=value`` fills; it arrives as ``ctx.options``.

    First; called on the adapter only, before anything is loaded. Default: no options.
    """


@hookspec(firstresult=True)
def load_model(ctx: Conversion) -> nn.Module:  # type: ignore[empty-body]
    """The model: eval mode, float32 (or all float64), on the CPU, tensors in and tensors (or tuples or dicts of them) out.

    First; called on the adapter only. Default: none, every adapter must implement it.
    """


@hookspec(firstresult=True)
def model_spec(ctx: Conversion, model: nn.Module) -> ModelSpec | None:
    """Inputs, image transform, decoder and labels of this model; the requested shapes are applied to it afterwards.

    First; called once, after ``load_model``. Default: one image input of 640 x 640, raw outputs. Outputs that it
    omits are filled in from the reference run.
    """


@hookspec(firstresult=True)
def example_inputs(
    ctx: Conversion, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> Mapping[str, torch.Tensor] | None:
    """One tensor for each input, with exactly these shapes; different seeds give different samples.

    First; called for the trace and for every sample of the verification. Default: the ``--image``, if given, through
    ``preprocess`` (seed 0; other seeds vary it), else seeded image-like noise.
    """


@hookspec
def patches(  # type: ignore[empty-body]
    ctx: Conversion, model: nn.Module, spec: ModelSpec
) -> Iterable[Patch]:
    """Changes to the framework's code that make the model export well; ``spec`` defines which axes are dynamic.

    Collected; called once, after the unpatched model produced the reference outputs. Default: none.
    """


@hookspec(firstresult=True)
def export_onnx(ctx: Conversion, model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec) -> Path | None:
    """Write the float32 graph into ``ctx.workdir`` and return its path.

    First; called with the patches active. Default: ``torch.onnx.export`` through the front end of ``--exporter``.
    """


@hookspec
def graph_passes(ctx: Conversion, spec: ModelSpec) -> Iterable[GraphPass]:  # type: ignore[empty-body]
    """Rewrites of the exported graph.

    Collected; called once, after the export, and run by ``order``. Default: fold, deduplicate, clean up, name.
    """


@hookspec(firstresult=True)
def quantize(ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path | None:
    """The graph with QuantizeLinear and DequantizeLinear nodes, in ``ctx.workdir``.

    First; called once the float32 graph is verified, if the precision is expressed by such nodes
    (``precision.form == "qdq"``), before ``reduce_precision``. ``ctx.calibration`` holds the inputs of ``--calib``, if it
    was given, in batches: ``for inputs in ctx.calibration``; mark a hook that cannot do without it with
    ``adaptrt.needs_calib``. Keep the file's metadata, which contains the spec. Default: layers are quantized with ranges
    measured in ONNX Runtime; without ``--calib``, an error, or in a build the file itself if it already contains such nodes.
    """


@hookspec(firstresult=True)
def reduce_precision(ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path | None:
    """The graph in the requested precision, in ``ctx.workdir``; ``onnx_path`` itself if the graph stays float32.

    First; called once the float32 graph is verified, and after ``quantize``. ``ctx.reduced_graph`` says whether the
    graph needs casts, ``ctx.samples`` holds inputs to measure on. Keep the file's metadata, which contains the spec.
    Default: the precision strategy of the target; what a calibrated int8 graph leaves in float becomes fp16.
    """


@hookspec
def configure_builder(ctx: Conversion, network: Any, config: Any) -> None:
    """Change TensorRT's network or builder configuration in place; for extensions.

    All; called in the build process, right before the build. Default: nothing.
    """


@hookspec(firstresult=True)
def build_engine(
    ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision, backend: Backend
) -> Path | Built | None:
    """The file that a backend runs, in ``ctx.workdir``: for TensorRT an engine, which is a plain plan.

    First; called for each backend that builds (``--to``), with the graph in the form that this backend reads. Return the
    file, or a ``Built`` if there is more than one. Default: ``backend.build``, unless ``backend.unavailable`` gives a
    reason; then nothing is built, and the report says why.
    """


@hookspec(firstresult=True)
def preprocess(image: NDArray[np.uint8], spec: ModelSpec) -> tuple[Mapping[str, NDArray[Any]], ImageMeta] | None:
    """Turn one image, uint8 [H, W, 3] RGB, into one array for each input (batch axis 1), with its position in the input.

    First; called for each image. Default: the transform ``spec.image``.
    """


@hookspec(firstresult=True)
def postprocess(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec
) -> Sequence[Predictions] | None:
    """Turn the outputs of a batch into one prediction for each image.

    First; called for each batch. Default: the decoder that the spec names.
    """


@hookspec(firstresult=True)
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Predictions | str | None:
    """The predictions of the framework's own inference pipeline for an image, which link 0 compares with.

    ``spec`` holds the requested size and decoder parameters; the framework must use the same. First; called if there
    is an ``--image``. Returned text is reported as the reason that the link did not run.
    Default: none, and the link reads "not available".
    """


@hookspec
def metrics(  # type: ignore[empty-body]
    ctx: Conversion, spec: ModelSpec, precision: Precision
) -> Iterable[Metric]:
    """How well predictions agree, for links 0 and 5.

    Collected; called if there is an image. ``precision`` is that of the compared model: float32 in link 0, and if
    nothing was rounded. Default: the metrics of the spec's task.
    """


@hookspec
def conversion_finished(ctx: Conversion, report: Report) -> None:
    """The conversion has ended, successfully or not (``report.status``). Files have their final names: the models
    in ``report.files``, and next to them the reports, ``<stem>.report.json`` and ``.html``; after a failure there are no models.

    All; every plugin is called, even if another one raises. An exception does not undo anything: after a success the files stay,
    and the error reports them; after a failure it becomes a warning. Default: nothing.
    """
