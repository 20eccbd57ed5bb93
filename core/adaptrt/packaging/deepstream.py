"""The configuration of NVIDIA DeepStream's ``nvinfer`` element."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.specs.decoders import decoder_of
from adaptrt.specs.packagers import Package, PackageRequest, files_below

if TYPE_CHECKING:
    from adaptrt.specs import ImageTransform, ModelSpec

PARSER = Path(__file__).parent / "nvinfer" / "nvdsinfer_adaptrt.cpp"
NOT_RUN = "DeepStream was not run by adaptrt: test this configuration on your device"
_INT8_MODE = "1"
_RAW_TENSORS = {"network-type": "100", "output-tensor-meta": "1"}


@dataclass(frozen=True, kw_only=True)
class DeepStreamOptions:
    """``parser`` and ``parser_library`` name a custom parser of bounding boxes."""

    precision: str = field(
        default="fp16",
        metadata={"help": "What DeepStream builds from an ONNX file.", "choices": ("fp32", "fp16", "int8")},
    )
    parser: str = field(default="", metadata={"help": "Function of a custom bounding box parser.", "metavar": "NAME"})
    parser_library: str = field(default="", metadata={"help": "Library with that function.", "metavar": "LIB"})

    def __post_init__(self) -> None:
        if bool(self.parser) != bool(self.parser_library):
            raise UsageError("--parser and --parser-library belong together.", hint="Specify both, or neither.")


@dataclass(frozen=True)
class _Parsing:
    """How nvinfer reads the outputs: keys of ``[property]``, and those of ``[class-attrs-all]``."""

    keys: Mapping[str, str]
    thresholds: Mapping[str, str] = field(default_factory=dict)


class DeepStream:
    """Write the configuration, the labels and, for detectors, the source of a parser for running FILE in NVIDIA DeepStream (nvinfer).

    Anything in the pre- and postprocessing of FILE that such a configuration cannot express is listed.
    """

    name = "deepstream"
    summary = "configuration for NVIDIA DeepStream"
    options = DeepStreamOptions
    uses_sample = False
    backends = ("onnxruntime", "tensorrt")
    examples = (
        (
            "adaptrt package deepstream best.engine -o deepstream/",
            "config_infer_primary.txt, labels.txt and the engine",
        ),
    )

    def write(self, request: PackageRequest, folder: Path) -> Package:
        """Raises a ``UsageError`` if the model has no image input."""
        text, notes = config_of(request)
        (folder / "config_infer_primary.txt").write_text(text, encoding="utf-8")
        if request.spec.labels:
            separator = "\n" if _built_in(request.spec) is None else ";"
            labels = map(_one_label, request.spec.labels)
            (folder / "labels.txt").write_text(separator.join(labels) + "\n", encoding="utf-8")
        if _has_own_parser(request):
            shutil.copyfile(PARSER, folder / PARSER.name)
        request.copy_model(folder)
        return Package(files=files_below(folder), notes=tuple(notes))


def config_of(request: PackageRequest) -> tuple[str, list[str]]:
    """The configuration file, and what it cannot express."""
    spec, options = request.spec, request.options
    assert isinstance(options, DeepStreamOptions)
    if spec.image is None:
        raise UsageError("DeepStream runs models with an image input.", hint="Use another package format.")
    if spec.image.embedded:
        raise UsageError(
            "nvinfer normalizes images itself, and so does this model (--embed-preprocess).",
            hint="Convert it without --embed-preprocess.",
        )
    others = [tensor.name for tensor in spec.inputs if tensor.name != spec.image.input]
    if others:
        raise UsageError(f"nvinfer fills only the image input: {', '.join(others)} would have no values.")
    notes = [NOT_RUN]
    properties = {"gpu-id": "0", **_preprocessing(spec, spec.image, notes), **_model(request, notes)}
    parsing = _parsing(request, notes)
    sections: dict[str, Mapping[str, str]] = {"property": properties | dict(parsing.keys)}
    if parsing.thresholds:
        sections["class-attrs-all"] = parsing.thresholds
    if list(map(_one_label, spec.labels)) != list(spec.labels):
        notes.append("labels contain semicolons or line breaks, which separate labels in DeepStream: they are replaced")
    lines = [f"# {note}" for note in notes]
    for title, values in sections.items():
        lines += ["", f"[{title}]", *(f"{key}={_escaped(value)}" for key, value in values.items())]
    return "\n".join(lines).lstrip("\n") + "\n", notes


def _preprocessing(spec: ModelSpec, image: ImageTransform, notes: list[str]) -> dict[str, str]:
    """nvinfer computes ``net-scale-factor * (value - offset)``; adaptrt ``(value * scale - mean) / std``."""
    height, width = spec.image_size
    channels = spec.image_channels
    if channels not in (1, 3):
        raise UsageError(f"nvinfer runs images with 1 or 3 channels; this model has {channels}.")
    mean = [image.mean[min(index, len(image.mean) - 1)] for index in range(channels)]
    std = [image.std[min(index, len(image.std) - 1)] for index in range(channels)]
    if len(set(std)) > 1:
        notes.append(
            f"std differs by channel ({', '.join(f'{one:g}' for one in std)}), and nvinfer has a single factor: their mean is "
            "used, so inputs differ"
        )
    found = {"net-scale-factor": _number(image.scale / (sum(std) / len(std)))}
    if any(mean):
        found["offsets"] = ";".join(_number(one / image.scale) for one in mean)
    found["model-color-format"] = "2" if channels == 1 else "1" if image.colors == "bgr" else "0"
    found["infer-dims"] = f"{channels};{height};{width}"
    found["maintain-aspect-ratio"] = "1" if image.resize == "letterbox" else "0"
    if image.resize == "letterbox":
        found["symmetric-padding"] = "1" if image.center else "0"
        if image.pad != 0:
            pad = "zeros after the normalization" if image.pad is None else f"the value {image.pad}"
            notes.append(f"letterbox: the model was trained with {pad} as padding, and nvinfer pads with black")
    elif image.resize != "stretch":
        notes.append(f"resize {image.resize!r} is not available in nvinfer: images are stretched instead")
    found["scaling-filter"] = "0" if image.interpolation == "nearest" else "1"
    if image.interpolation not in ("nearest", "linear"):
        notes.append(f"interpolation {image.interpolation!r} is replaced by bilinear")
    notes.append(f"the scaler is DeepStream's, and its pixels differ from those of {image.library}")
    return found


def _model(request: PackageRequest, notes: list[str]) -> dict[str, str]:
    spec, options = request.spec, request.options
    batch = spec.inputs[0].dims[0].max
    found = {"batch-size": str(batch)}
    if request.model.suffix.lower() == ".onnx":
        modes = {"fp32": "0", "int8": _INT8_MODE, "fp16": "2"}
        found["onnx-file"] = request.model.name
        found["model-engine-file"] = f"{request.model.name}_b{batch}_gpu0_{options.precision}.engine"
        found["network-mode"] = modes[options.precision]
        if found["network-mode"] == _INT8_MODE:
            notes.append("int8: the graph must contain Q/DQ nodes, or add int8-calib-file")
        notes.append("DeepStream builds an engine from the ONNX file at its first start, which adaptrt does not verify")
    else:
        found["model-engine-file"] = request.model.name
        version = (
            f"TensorRT {request.built_with}" if request.built_with else "the version of TensorRT that built the engine"
        )
        notes.append(f"DeepStream must contain {version}")
    if spec.labels:
        found["labelfile-path"] = "labels.txt"
    found |= {"process-mode": "1", "interval": "0", "gie-unique-id": "1"}
    found["output-blob-names"] = ";".join(output.name for output in spec.outputs)
    return found


def _parsing(request: PackageRequest, notes: list[str]) -> _Parsing:
    spec, options = request.spec, request.options
    if options.parser:
        return _detector(spec, options.parser, options.parser_library, notes)
    if _has_own_parser(request):
        notes.append(f"build the parser on the device: the command is in {PARSER.name}")
        return _detector(spec, "NvDsInferParseAdaptrt", "libnvdsinfer_adaptrt.so", notes)
    if (classifier := _built_in(spec)) is not None:
        if not _params(spec).get("probabilities"):
            notes.append("the built-in classifier parser does not apply the softmax: scores are logits")
        return _Parsing(classifier)
    decoder = spec.decoder.name if spec.decoder else "raw"
    advice = ", or convert with --nms --nms-schema efficient" if _params(spec).get("iou") is not None else ""
    notes.append(
        f"nvinfer has no parser for the outputs of decoder {decoder!r}: it attaches the raw tensors to each frame. "
        f"Use --parser with your own library{advice}"
    )
    return _Parsing(_RAW_TENSORS)


def _has_own_parser(request: PackageRequest) -> bool:
    """Whether the parser beside the configuration reads these outputs; it finds them by name."""
    spec, names = request.spec, {output.name for output in request.spec.outputs}
    schemas = _SCHEMAS.get(spec.decoder.name if spec.decoder else "", ())
    return not request.options.parser and any(names >= set(schema) for schema in schemas)


_SCHEMAS = {
    "efficient_nms": (
        ("num_dets", "det_boxes", "det_scores", "det_classes"),
        ("num_detections", "detection_boxes", "detection_scores", "detection_classes"),
    ),
    "boxes": (("scores", "labels", "boxes"),),
}
"""By decoder: the outputs that nvdsinfer_adaptrt.cpp reads."""


def _built_in(spec: ModelSpec) -> Mapping[str, str] | None:
    """The keys of nvinfer's own parser of classifiers, if it reads these outputs."""
    return _CLASSIFIERS.get(spec.decoder.name if spec.decoder else "")


_CLASSIFIERS = {"classify": {"network-type": "1", "classifier-threshold": "0"}}
"""By decoder. nvinfer takes the output as probabilities; its labels are separated by semicolons, not by lines."""


def _detector(spec: ModelSpec, function: str, library: str, notes: list[str]) -> _Parsing:
    """Detections of a parser; nvinfer applies NMS to them if the decoder does."""
    params = _params(spec)
    if not spec.labels:
        notes.append("the model has no labels: change num-detected-classes to its number of classes")
    keys = {
        "network-type": "0",
        "num-detected-classes": str(max(len(spec.labels), 1)),
        "parse-bbox-func-name": function,
        "custom-lib-path": library,
        "cluster-mode": "4",  # none
    }
    thresholds = {"pre-cluster-threshold": _number(float(params.get("conf") or 0))}
    if params.get("max_det") is not None:
        thresholds["topk"] = str(params["max_det"])  # of each class
    if params.get("iou") is not None:
        keys["cluster-mode"] = "2"  # NMS, within each class
        thresholds["nms-iou-threshold"] = _number(float(params["iou"]))
        if params.get("agnostic"):
            notes.append("agnostic: nvinfer applies NMS within each class")
    if params.get("classes") is not None:
        from adaptrt.vision.decoders.params import class_filter

        kept = class_filter(tuple(params["classes"]), spec.labels)
        assert kept is not None
        others = set(range(len(spec.labels))) - set(kept.tolist())
        keys |= {"filter-out-class-ids": ";".join(map(str, sorted(others)))} if others else {}
    return _Parsing(keys, thresholds)


def _params(spec: ModelSpec) -> Mapping[str, Any]:
    """The parameters of the decoder, with its defaults."""
    if spec.decoder is None:
        return {}
    fields = dataclasses.fields(decoder_of(spec).params)
    return {one.name: spec.decoder.params.get(one.name, one.default) for one in fields}


def _one_label(label: str) -> str:
    """Without what separates labels."""
    return " ".join(label.replace(";", ",").splitlines())


def _escaped(value: str) -> str:
    """As GLib's key files write it."""
    text = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"\\s{text[1:]}" if text.startswith(" ") else text


def _number(value: float) -> str:
    """As many digits as float32 needs."""
    return f"{value:.9g}"


PACKAGER = DeepStream()
