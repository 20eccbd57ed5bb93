"""The configuration of NVIDIA DeepStream's ``nvinfer`` element."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.specs.packagers import Package, PackageRequest

if TYPE_CHECKING:
    from adaptrt.specs import ImageTransform, ModelSpec

PARSERS = "/opt/nvidia/deepstream/deepstream/lib/libnvds_infercustomparser.so"
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


class DeepStream:
    """Write the configuration and the labels for running FILE in NVIDIA DeepStream (nvinfer).

    Anything in the pre- and postprocessing of FILE that such a configuration cannot express is listed.
    """

    name = "deepstream"
    summary = "configuration for NVIDIA DeepStream"
    options = DeepStreamOptions
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
            # a classifier's labels are separated by semicolons, a detector's by lines: see label_separator
            separator = _label_separator(request.spec)
            (folder / "labels.txt").write_text(separator.join(request.spec.labels) + "\n", encoding="utf-8")
        for path in request.files:
            shutil.copyfile(path, folder / path.name)
        return Package(files=tuple(sorted(path.relative_to(folder) for path in folder.iterdir())), notes=tuple(notes))


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
    properties |= _parsing(spec, options, notes)
    sections: dict[str, Mapping[str, str]] = {"property": properties}
    sections |= _thresholds(spec, properties)
    lines = [f"# {note}" for note in notes]
    for title, values in sections.items():
        lines += ["", f"[{title}]", *(f"{key}={value}" for key, value in values.items())]
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


def _parsing(spec: ModelSpec, options: DeepStreamOptions, notes: list[str]) -> dict[str, str]:
    if options.parser:
        return {
            "network-type": "0",
            "num-detected-classes": str(max(len(spec.labels), 1)),
            "parse-bbox-func-name": options.parser,
            "custom-lib-path": options.parser_library,
            "cluster-mode": "4",
        }
    decoder = spec.decoder.name if spec.decoder else ""
    built_in = _built_in(spec)
    if built_in is None:
        notes.append(
            f"nvinfer has no built-in parser for the outputs of decoder {decoder or 'raw'!r}: it attaches the raw tensors to each "
            "frame. Use --parser with your own library, or convert with --nms --nms-schema efficient"
        )
        return dict(_RAW_TENSORS)
    if built_in["network-type"] == "1" and spec.decoder and not spec.decoder.params.get("probabilities"):
        notes.append("the built-in classifier parser does not apply the softmax: scores are logits")
    return {key: value.format(classes=len(spec.labels)) for key, value in built_in.items()}


def _built_in(spec: ModelSpec) -> dict[str, str] | None:
    """The keys of a built-in parser; that of EfficientNMS reads four outputs by their position."""
    found = _BUILT_IN.get(spec.decoder.name if spec.decoder else "")
    return None if found is not None and "parse-bbox-func-name" in found and len(spec.outputs) != 4 else found


_BUILT_IN: dict[str, dict[str, str]] = {
    "efficient_nms": {
        "network-type": "0",
        "num-detected-classes": "{classes}",
        "parse-bbox-func-name": "NvDsInferParseCustomEfficientNMS",
        "custom-lib-path": PARSERS,
        "cluster-mode": "4",  # none: NMS is in the graph
    },
    "classify": {"network-type": "1"},
}
"""By decoder; nvinfer's own classifier parser takes the output as probabilities."""


def _thresholds(spec: ModelSpec, properties: dict[str, str]) -> dict[str, Mapping[str, str]]:
    params: Mapping[str, Any] = spec.decoder.params if spec.decoder else {}
    if properties["network-type"] == "0":
        return {"class-attrs-all": {"pre-cluster-threshold": _number(float(params.get("conf") or 0))}}
    if properties["network-type"] == "1":
        properties["classifier-threshold"] = "0"
    return {}


def _label_separator(spec: ModelSpec) -> str:
    built_in = _built_in(spec)
    return ";" if built_in is not None and built_in["network-type"] == "1" else "\n"


def _number(value: float) -> str:
    """As many digits as float32 needs."""
    return f"{value:.9g}"


PACKAGER = DeepStream()
