"""The functions of the Python API."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.pipeline.public_call import public_call
from adaptrt.pipeline.request_values import (
    StrPath,
    calibration_of,
    data_of,
    nms_of,
    path_of,
    paths_of,
    shapes_of,
    texts_of,
    words_of,
)

if TYPE_CHECKING:
    from adaptrt.pipeline.load import Model
    from adaptrt.pipeline.observer import Observer
    from adaptrt.pipeline.tuning.request import TuneRequest
    from adaptrt.report import Report
    from adaptrt.request import (
        BuildRequest,
        Exporter,
        NmsRequest,
        Request,
        Require,
        Verify,
    )
    from adaptrt.specs import BuildOptions
    from adaptrt.specs.calibration import CalibrationRequest, LabeledData


@public_call
def convert(
    source: StrPath,
    *,
    adapter: str | None = None,
    weights: StrPath | None = None,
    output: StrPath | None = None,
    imgsz: int | tuple[int, ...] | str | None = None,
    batch: int | tuple[int, ...] | str | None = None,
    dynamic: str | Iterable[str] | None = None,
    shape: str | Sequence[str] = (),
    input_names: str | Sequence[str] = (),
    output_names: str | Sequence[str] = (),
    opset: int | None = None,
    exporter: Exporter = "auto",
    simplify: bool = True,
    verify: Verify = "full",
    require: Require = "",
    diagnose: bool = False,
    to: str | Sequence[str] = (),
    target: str | int | None = None,
    precision: str = "fp32",
    keep_fp32: str | Sequence[str] = (),
    keep_fp16: str | Sequence[str] = (),
    quantize_also: str | Sequence[str] = (),
    build_options: BuildOptions | None = None,
    nms: bool | str | NmsRequest = False,
    embed_preprocess: bool = False,
    calib: StrPath | CalibrationRequest | None = None,
    data: StrPath | LabeledData | None = None,
    cache: bool = True,
    image: StrPath | None = None,
    test_image: StrPath | None = None,
    options: Mapping[str, Any] | None = None,
    trust_checkpoint: bool = False,
    ort_custom_ops: StrPath | Sequence[StrPath] = (),
    plugins_file: StrPath | None = None,
    html: bool = True,
    observer: Observer | None = None,
) -> Report:
    """Convert a model and verify the result; the report lists the files and the measured values of each link.

    Without ``adapter`` the source is read as data and recognized; if no adapter or more than one matches exactly, a
    ``UsageError`` lists them and nothing is converted.
    ``imgsz`` is 640 or (height, width); ``batch`` is 4, (1, 16) or (1, 8, 16) (min, opt, max); ``options`` are those of
    the adapter and the decoder (``--set``); ``to`` names the files to write (``"onnx,engine"``); ``html`` also writes the
    report as an HTML page; ``nms`` appends NMS to the graph (``True``, a kind as for ``--nms``, or an ``NmsRequest``);
    ``embed_preprocess`` makes the input pixels, uint8 [N, h, w, C], that the graph normalizes. For
    int8, ``calib`` names images to quantize with, or is a ``CalibrationRequest``; ``data`` names labeled images to score the
    result on, or is ``LabeledData``; ``diagnose`` compares the tensors inside if a link fails; ``keep_fp16`` excludes layers from int8, ``quantize_also`` adds operators. Values have the same form as for ``adaptrt convert``. Raises an ``AdaptrtError``, whose
    ``report`` has the results up to the failure.
    """
    from adaptrt.python_command import python_command
    from adaptrt.request import Request
    from adaptrt.specs import BuildOptions

    command = python_command("convert", locals(), convert)
    if adapter is None:
        adapter = _recognized(os.fspath(source), observer)
    request = Request(
        source=os.fspath(source),
        adapter=adapter,
        output=path_of(output),
        weights=path_of(weights),
        shapes=shapes_of(shape, imgsz, batch, dynamic),
        input_names=texts_of(input_names),
        output_names=texts_of(output_names),
        opset=opset,
        exporter=exporter,
        simplify=simplify,
        verify=verify,
        require=require,
        diagnose=diagnose,
        to=words_of(to),
        target=None if target is None else str(target),
        precision=precision,
        keep_fp32=texts_of(keep_fp32),
        keep_fp16=texts_of(keep_fp16),
        quantize_also=texts_of(quantize_also),
        build=build_options or BuildOptions(),
        nms=nms_of(nms),
        embed_preprocess=embed_preprocess,
        calibration=calibration_of(calib),
        data=data_of(data),
        cache=cache,
        image=path_of(image),
        test_image=path_of(test_image),
        options=dict(options or {}),
        trust_checkpoint=trust_checkpoint,
        ort_custom_ops=paths_of(ort_custom_ops),
        plugins_file=path_of(plugins_file),
        command=command,
    )
    return run_request(request, html=html, observer=observer)


def _recognized(source: str, observer: Observer | None) -> str:
    import logging

    from adaptrt.pipeline.recognize import recognize

    recognition = recognize(source)
    logger = logging.getLogger("adaptrt")
    for warning in recognition.warnings:
        logger.warning(warning)
        if observer is not None:
            observer.warning(warning)
    logger.info("adapter %s: %s", recognition.match.adapter, recognition.match.reason)
    return recognition.match.adapter


@public_call
def build(
    source: StrPath,
    *,
    output: StrPath | None = None,
    imgsz: int | tuple[int, ...] | str | None = None,
    batch: int | tuple[int, ...] | str | None = None,
    shape: str | Sequence[str] = (),
    set_dynamic_batch: bool = False,
    decoder: str | None = None,
    names: Sequence[str] = (),
    to: str | Sequence[str] = (),
    target: str | int | None = None,
    precision: str = "fp32",
    keep_fp32: str | Sequence[str] = (),
    keep_fp16: str | Sequence[str] = (),
    quantize_also: str | Sequence[str] = (),
    build_options: BuildOptions | None = None,
    calib: StrPath | CalibrationRequest | None = None,
    data: StrPath | LabeledData | None = None,
    verify: Verify = "full",
    require: Require = "",
    diagnose: bool = False,
    image: StrPath | None = None,
    ort_custom_ops: StrPath | Sequence[StrPath] = (),
    plugins_file: StrPath | None = None,
    cache: bool = True,
    html: bool = True,
    observer: Observer | None = None,
) -> Report:
    """Build a TensorRT engine from any ONNX file; its outputs are compared with those of the file in ONNX Runtime.

    ``set_dynamic_batch`` makes a fixed batch dynamic first, if possible. For a file without a spec, ``decoder`` says how the
    outputs are read, and ``names`` are the class names. ``calib`` and ``data`` quantize, as for ``convert``. Values have the
    same form as for ``adaptrt build`` and ``adaptrt convert``.
    """
    from adaptrt.python_command import python_command
    from adaptrt.request import BuildRequest
    from adaptrt.specs import BuildOptions
    from adaptrt.specs.adoption import Adoption

    command = python_command("build", locals(), build)
    request = BuildRequest(
        source=os.fspath(source),
        output=path_of(output),
        shapes=shapes_of(shape, imgsz, batch),
        set_dynamic_batch=set_dynamic_batch,
        adoption=Adoption(decoder, names=tuple(names)),
        to=words_of(to),
        target=None if target is None else str(target),
        precision=precision,
        keep_fp32=texts_of(keep_fp32),
        keep_fp16=texts_of(keep_fp16),
        quantize_also=texts_of(quantize_also),
        build=build_options or BuildOptions(),
        calibration=calibration_of(calib),
        data=data_of(data),
        verify=verify,
        require=require,
        diagnose=diagnose,
        image=path_of(image),
        ort_custom_ops=paths_of(ort_custom_ops),
        plugins_file=path_of(plugins_file),
        cache=cache,
        command=command,
    )
    return run_build(request, html=html, observer=observer)


@public_call
def tune(
    source: StrPath,
    *,
    data: StrPath | LabeledData | None = None,
    images: StrPath | None = None,
    calib: StrPath | CalibrationRequest | None = None,
    max_loss: float = 1.0,
    precision: str = "int8",
    output: StrPath | None = None,
    blocks: int = 24,
    sensitivity_images: int = 8,
    target: str | int | None = None,
    keep_fp32: str | Sequence[str] = (),
    keep_fp16: str | Sequence[str] = (),
    latency: bool = True,
    ort_custom_ops: StrPath | Sequence[StrPath] = (),
    plugins_file: StrPath | None = None,
    html: bool = True,
    observer: Observer | None = None,
) -> Report:
    """Find out which parts of an ONNX file have to stay in a higher precision so that at most ``max_loss`` points are lost on
    ``data`` (labeled images) or ``images`` (a folder); ``report.tuning`` has the tables.

    Writes a recipe, a TOML file that ``convert`` and ``build`` repeat with ``--recipe``. Values have the same form
    as for ``adaptrt tune``.
    """
    from adaptrt.pipeline.tuning.request import TuneRequest
    from adaptrt.python_command import python_command

    command = python_command("tune", locals(), tune)
    recipe = path_of(output)
    request = TuneRequest(
        source=os.fspath(source),
        output=recipe.parent if recipe is not None else None,
        recipe=recipe,
        target=None if target is None else str(target),
        precision=precision,
        keep_fp32=texts_of(keep_fp32),
        keep_fp16=texts_of(keep_fp16),
        calibration=calibration_of(calib),
        data=data_of(data),
        images=path_of(images),
        max_loss=max_loss,
        blocks=blocks,
        sensitivity_images=sensitivity_images,
        latency=latency,
        ort_custom_ops=paths_of(ort_custom_ops),
        plugins_file=path_of(plugins_file),
        command=command,
    )
    return run_tune(request, html=html, observer=observer)


def run_tune(request: TuneRequest, *, html: bool = True, observer: Observer | None = None) -> Report:
    """Run a prepared search. Also writes ``<stem>.tune.report.json`` and ``.html``."""
    from adaptrt.pipeline.tuning.tune import tune as run
    from adaptrt.rendering.documents import page_of

    return run(request, observer, page_of if html else None)


def run_build(request: BuildRequest, *, html: bool = True, observer: Observer | None = None) -> Report:
    """Run a prepared build request. Also writes ``<stem>.build.report.json`` and ``.html``; ``<stem>.quantize.report`` if it only
    quantizes."""
    from adaptrt.pipeline.build import build as run
    from adaptrt.rendering.documents import page_of

    return run(request, observer, page_of if html else None)


def run_request(request: Request, *, html: bool = True, observer: Observer | None = None) -> Report:
    """Run a prepared conversion request: what ``convert`` and the command line share.

    Also writes ``<stem>.report.json`` and, with ``html``, ``<stem>.report.html``. A conversion that fails after the model
    is loaded leaves its report as ``<stem>.failed.report.*``; the next success removes it.
    """
    from adaptrt.errors import BuildError, ExportError, GraphError, OutputError, PatchError, VerificationError
    from adaptrt.pipeline.convert import convert as run
    from adaptrt.pipeline.output import destination_of
    from adaptrt.rendering.documents import FAILED, page_of, write_failed_report

    destination = destination_of(request)
    try:
        report = run(request, observer, page_of if html else None)
    except (BuildError, ExportError, GraphError, PatchError, VerificationError) as error:
        if error.report is not None:
            try:
                details = write_failed_report(error.report, destination.path(FAILED), html=html)
                error.hint = " ".join(filter(None, (error.hint, f"Details: {details}"))).replace("\n ", "\n")
            except OutputError as late:  # never hides why the conversion failed
                error.report.warnings.append(late.message)
                if observer is not None:
                    observer.warning(late.message)
        raise
    for suffix in (".json", ".html"):
        destination.path(FAILED + suffix).unlink(missing_ok=True)
    return report


@public_call
def load(
    path: StrPath,
    *,
    device: str | None = None,
    custom_ops: StrPath | Sequence[StrPath] = (),
    allow_host_code: bool = False,
    plugin_libs: StrPath | Sequence[StrPath] = (),
    plugins_file: StrPath | None = None,
    cpu_images: bool = False,
    gpu_jpeg: bool = False,
    join_calls: int = 1,
) -> Model:
    """A converted model, ``.onnx`` or ``.engine``: call it with a path, an array (uint8 [H, W, 3] RGB) or a list of them.

    It returns a list of predictions (``Detections`` for a detector); keyword arguments change the decoder's parameters
    for the call: ``model("bus.jpg", conf=0.4)``.

    ``device`` is ``cpu`` (the default for an ONNX file) or ``cuda:0`` (for an engine). An engine that contains host code
    (a version-compatible one) requires ``allow_host_code``. ``plugin_libs`` are libraries of TensorRT plugins: they are
    code, so a library that a manifest names is loaded only if it is listed here. ``cpu_images``: preprocess on the CPU
    even if the GPU could do it. ``gpu_jpeg``: for an engine, decode JPEG files on the GPU. This is faster, but pixels, and
    therefore scores and boxes, differ slightly from those of the CPU; it requires nvImageCodec.
    ``join_calls=8``: calls with one image that start in other threads while one runs are combined into batches of at most 8.
    This is faster with many threads, but results can differ in the last digits, depending on the batch.
    """
    from adaptrt.pipeline.load import load as open_model
    from adaptrt.specs.backends import OpenOptions

    options = OpenOptions(
        device=device,
        custom_ops=paths_of(custom_ops),
        plugin_libs=paths_of(plugin_libs),
        allow_host_code=allow_host_code,
        cpu_images=cpu_images,
        gpu_jpeg=gpu_jpeg,
    )
    model = open_model(Path(path), options, plugins_file=path_of(plugins_file), join_calls=join_calls)
    model.from_python = True
    return model
