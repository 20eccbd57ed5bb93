"""A model with its spec and an example in C++, for devices without Python."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.specs.decoders import decoder_of
from adaptrt.specs.packagers import Package, PackageRequest, files_below

if TYPE_CHECKING:
    from adaptrt.specs import ImageTransform, ModelSpec

SOURCES = Path(__file__).parent / "cpp"
DECODERS = ("yolo", "yolo_anchor", "boxes", "classify")
NOT_RUN = (
    "the example was compiled and its decoders were run by adaptrt's tests, without TensorRT: test it on your device"
)


class Runtime:
    """Write FILE with its spec as JSON and a header-only C++17 example that runs it, for devices without Python.

    The example reads the spec, prepares an image, runs the engine with TensorRT, and decodes the outputs of YOLO, DETR and classifiers.
    """

    name = "runtime"
    summary = "an engine with a C++ example, for devices without Python"
    options = None
    uses_sample = False
    backends = ("onnxruntime", "tensorrt")
    examples = (("adaptrt package runtime best.engine -o runtime/", "best.engine, spec.json, adaptrt.hpp, main.cpp"),)

    def write(self, request: PackageRequest, folder: Path) -> Package:
        """Raises a ``UsageError`` if the example cannot prepare the input or decode the outputs."""
        spec = spec_for_device(request.spec)
        notes = [NOT_RUN, *_differences(request.spec)]
        if request.model.suffix.lower() == ".onnx":
            command = shlex.join(_trtexec(request))
            notes.append(f"an engine must be built on the device, with its TensorRT: {command}")
        else:
            version = f"TensorRT {request.built_with}" if request.built_with else "the TensorRT version that built it"
            notes.append(f"the engine runs with {version}, on the kind of GPU that built it")
        import msgspec

        (folder / "spec.json").write_bytes(msgspec.json.format(spec.to_json().encode(), indent=2) + b"\n")
        for path in sorted(SOURCES.iterdir()):
            shutil.copyfile(path, folder / path.name)
        request.copy_model(folder)
        return Package(files=files_below(folder), notes=tuple(notes))


def spec_for_device(spec: ModelSpec) -> ModelSpec:
    """The spec with every parameter of its decoder, and classes as numbers."""
    if spec.image is None or len(spec.inputs) != 1 or spec.image_channels != 3:
        raise UsageError(
            "The C++ example runs models with one input, an RGB image.", hint="Use another package format."
        )
    name = spec.decoder.name if spec.decoder else "raw"
    if name not in DECODERS:
        raise UsageError(
            f"The C++ example does not decode the outputs of decoder {name!r}.",
            hint=f"Supported: {', '.join(DECODERS)}.",
        )
    decoder = decoder_of(spec)
    given = spec.decoder.params if spec.decoder else {}
    params: dict[str, Any] = {
        field.name: given.get(field.name, field.default) for field in dataclasses.fields(decoder.params)
    }
    if params.get("classes") is not None:
        from adaptrt.vision.decoders.params import class_filter

        numbers = class_filter(tuple(params["classes"]), spec.labels)
        assert numbers is not None
        params["classes"] = numbers.tolist()
    return replace(spec, decoder=replace(spec.decoder, params=params)) if spec.decoder else spec


def _trtexec(request: PackageRequest) -> list[str]:
    """Without shapes, trtexec would build for size 1 on every dynamic axis."""
    words = ["trtexec", f"--onnx={request.model.name}", f"--saveEngine={request.name}.engine"]
    (image,) = request.spec.inputs
    if any(dim.dynamic for dim in image.dims):
        for size in ("min", "opt", "max"):
            shape = "x".join(str(getattr(dim, size)) for dim in image.profiles[0])
            words.append(f"--{size}Shapes={image.name}:{shape}")
    return words


def _differences(spec: ModelSpec) -> list[str]:
    image: ImageTransform | None = spec.image
    assert image is not None
    notes = [f"the example resizes by itself: pixels differ from those of {image.library} by rounding"]
    if image.interpolation not in ("nearest", "linear") or image.library != "cv2":
        notes[0] = (
            f"the example resizes with bilinear interpolation, and the model was verified with {image.interpolation} "
            f"interpolation of {image.library}: results differ"
        )
    return notes


PACKAGER = Runtime()
