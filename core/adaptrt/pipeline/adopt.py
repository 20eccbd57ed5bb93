"""A spec for model files that adaptrt did not write: from the user's options, Ultralytics' metadata, MMDeploy's files, or
output names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from adaptrt.errors import ModelError, ShapeError, UsageError, in_shell
from adaptrt.literals import literal_value
from adaptrt.options import fill_options, option_names
from adaptrt.pipeline.mmdeploy import Deployed, read_deployed
from adaptrt.pipeline.output import choose_destination, opened, output_error, publish, require_no_input
from adaptrt.predictions import ImageMeta
from adaptrt.quantities import counted
from adaptrt.specs import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec, task_named
from adaptrt.specs.adoption import Adoption
from adaptrt.specs.decoders import another_decoder, find_decoder
from adaptrt.specs.runners import Runner

if TYPE_CHECKING:
    from adaptrt.specs.decoders import Decoder
    from adaptrt.specs.layouts import BoxLayout

MMDEPLOY = "MMDeploy's pipeline.json"
_BATCH = Dim(1, 1, 16, "batch")


class TensorLike(Protocol):
    """An input or output of a file: its name, type, and axes, symbolic ones as ``None`` or a name."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Sequence[int | str | None]: ...


@dataclass(frozen=True)
class Recognized:
    """What the file itself declares; ``source`` names where."""

    source: str
    decoder: str | None = None
    params: Mapping[str, Any] | None = None
    names: tuple[str, ...] = ()
    imgsz: tuple[int, int] | None = None
    image: ImageTransform | None = None


def adopt_spec(
    file: str,
    inputs: Sequence[TensorLike],
    outputs: Sequence[TensorLike],
    metadata: Mapping[str, str],
    said: Adoption,
    params: Mapping[str, Any] | None = None,
    deployed: Deployed | None = None,
) -> tuple[ModelSpec, str]:
    """The spec of a file, and where its decoder comes from. The user's options take precedence over the file.

    ``params`` are parameters of the decoder, ``deployed`` the content of MMDeploy's files next to it. Raises a ``ModelError`` that names what is unknown, with a hint on how to specify it.
    """
    known = recognize(outputs, metadata, deployed)
    if said.decoder is None and known.decoder is not None and known.source == MMDEPLOY and deployed is None:
        raise ModelError(
            f"{file} has the outputs of MMDeploy, but the pipeline.json that says how images are prepared is not beside it.",
            hint="Copy deploy.json and pipeline.json next to it.",
        )
    name = said.decoder or known.decoder
    if name is None:
        raise ModelError(
            f"{file} has no adaptrt spec, and its outputs are not recognized: "
            f"{', '.join(_described(output) for output in outputs)}.",
            hint="Specify the decoder: --decoder yolo (and --imgsz, --names), or convert the checkpoint with adaptrt convert.",
        )
    source = "--decoder" if said.decoder else known.source
    decoder = find_decoder(name)
    task = task_named(decoder.predicts)
    if not task.draws and task.scoring is None:
        raise UsageError(
            f"Decoder {name!r} returns values that cannot be drawn or scored.",
            hint=another_decoder(),
        )
    tensor = _image_input(file, inputs)
    fixed = all(isinstance(side, int) for side in tensor.shape[2:])
    if known.image is not None and known.image.resize == "crop" and known.source == MMDEPLOY and said.imgsz is None:
        _require_crop(file, tensor, known.imgsz)
    size = _image_size(file, tensor, said.imgsz or (None if fixed and known.source == MMDEPLOY else known.imgsz))
    batch = tensor.shape[0]
    own = known.params if name == known.decoder else _rows(decoder, outputs)
    filled = fill_options(decoder.params, {**(own or {}), **(params or {})})
    image = known.image or ImageTransform(resize="stretch" if task.whole_image else "letterbox")
    spec = ModelSpec(
        inputs=(
            InputSpec(
                tensor.name,
                ((Dim.fixed(batch) if isinstance(batch, int) else _BATCH, Dim.fixed(3), *map(Dim.fixed, size)),),
                tensor.dtype,
            ),
        ),
        outputs=tuple(
            OutputSpec(output.name, tuple(axis if axis is not None else "?" for axis in output.shape), output.dtype)
            for output in outputs
        ),
        task=decoder.predicts,
        image=replace(image, input=tensor.name),
        decoder=DecoderSpec(name, {key: getattr(filled, key) for key in option_names(decoder.params)}),
        labels=said.names or known.names,
        metadata=dict(metadata),
    )
    return ModelSpec.from_json(spec.to_json()), source


def _rows(decoder: Decoder, outputs: Sequence[TensorLike]) -> Mapping[str, Any]:
    """Whether boxes are the rows or the columns of the first output, for a decoder that reads both: there are more boxes than numbers of
    each."""
    shape = outputs[0].shape
    if "rows" not in option_names(decoder.params) or len(shape) != 3:
        return {}
    _, first, last = shape
    return {"rows": "anchor"} if isinstance(first, int) and isinstance(last, int) and last < first else {}


def read_as(spec: ModelSpec, source: str) -> str:
    """The decoder of a file from elsewhere, where it comes from, and the boxes and classes that it finds in the outputs."""
    assert spec.decoder is not None
    said = f"decoder {spec.decoder.name}, from {source}"
    decode = find_decoder(spec.decoder.name).decode
    layout = getattr(decode, "layout", None)
    places: BoxLayout | None = layout(spec) if layout is not None else None
    if places is None:
        return said
    part = places.scores
    dims = spec.output(part.output).dims
    if len(dims) != 3:
        return said
    boxes, numbers = (dims[2], dims[1]) if part.channels_first else (dims[1], dims[2])
    stop = part.stop if part.stop is not None else numbers
    if not isinstance(boxes, int) or not isinstance(stop, int):
        return said
    classes = stop - part.start
    said += f", which reads {boxes} boxes and {counted(classes, 'class', 'classes')}"
    return said if boxes >= classes or spec.labels else f"{said}: if these are too few boxes, specify another decoder"


def recognize(
    outputs: Sequence[TensorLike], metadata: Mapping[str, str], deployed: Deployed | None = None
) -> Recognized:
    """What Ultralytics' metadata, MMDeploy's files, or the output names define; empty if none is recognized."""
    from adaptrt.vision.decoders import mmdeploy, mmdeploy_masks
    from adaptrt.vision.decoders.efficient_nms import schema_of

    schema = schema_of([output.name for output in outputs])
    names, stride = _names(metadata.get("names", "")), metadata.get("stride", "")
    if schema is not None:
        return Recognized("outputs of EfficientNMS", "efficient_nms", {}, names, _size(metadata.get("imgsz", "")))
    present = {output.name for output in outputs}
    if set(mmdeploy.OUTPUTS) <= present:
        masks = mmdeploy_masks.MASKS in present
        threshold = deployed.mask_threshold if deployed is not None and masks else None
        own = {} if threshold is None else {"mask_threshold": threshold}
        image, size = (None, None) if deployed is None else (deployed.image, deployed.size)
        rotated = any(output.name == "dets" and len(output.shape) == 3 and output.shape[2] == 6 for output in outputs)
        fitting = "mmdeploy_masks" if masks else "mmdeploy_obb" if rotated else "mmdeploy"
        return Recognized(MMDEPLOY, fitting, own, names, size, image)
    if deployed is not None and deployed.decoder is not None:
        return Recognized(MMDEPLOY, deployed.decoder, deployed.params, names, deployed.size, deployed.image)
    if not names or not stride:
        return Recognized("")
    decoder, params = _ultralytics_decoder(outputs, metadata, len(names))
    image = ImageTransform(stride=1)
    if metadata.get("task") == "classify":
        image = ImageTransform(resize="crop", library="pil")
    return Recognized("metadata of Ultralytics", decoder, params, names, _size(metadata.get("imgsz", "")), image)


def _ultralytics_decoder(
    outputs: Sequence[TensorLike], metadata: Mapping[str, str], classes: int
) -> tuple[str | None, dict[str, Any]]:
    """By the task and the layout of the first output: [B, 4 + nc + E, N], [B, N, 5 + nc + E] or [B, N, 6 + E]."""
    task = metadata.get("task", "detect")
    shape = outputs[0].shape
    if task == "classify":
        return "classify", {"probabilities": True}
    if len(shape) != 3:
        return None, {}
    extras, own = 0, {}
    if task == "segment":
        prototypes = outputs[1].shape if len(outputs) > 1 else ()
        if len(prototypes) != 4 or not isinstance(prototypes[1], int):
            return None, {}
        extras = prototypes[1]
    elif task == "pose":
        points = _literal(metadata.get("kpt_shape", ""))
        if not (isinstance(points, (list, tuple)) and len(points) == 2 and all(isinstance(one, int) for one in points)):
            return None, {}
        extras, own = points[0] * points[1], {"keypoints": list(points)}
    elif task == "obb":
        extras = 1
    elif task != "detect":
        return None, {}
    if shape[2] == 6 + extras and shape[1] != 4 + classes + extras:
        rows = "end2end"
    elif shape[1] == 4 + classes + extras:
        rows = "dense"
    elif shape[2] == 5 + classes + extras:
        rows = "anchor"
    else:
        return None, {}
    if task == "detect":
        return {"dense": "yolo", "anchor": "yolo_anchor", "end2end": "yolo_end2end"}[rows], {}
    limit = {"iou": None} if rows == "end2end" else {}
    return f"yolo_{task}", {"rows": rows, **limit, **own}


def _literal(text: str) -> Any:
    """The value of metadata text, which Ultralytics writes as a Python literal; ``None`` for other text."""
    try:
        return literal_value(text)
    except ValueError:
        return None


def _names(text: str) -> tuple[str, ...]:
    found = _literal(text)
    if isinstance(found, dict) and sorted(map(str, found)) == sorted(map(str, range(len(found)))):
        by_number = {int(key): str(name) for key, name in found.items()}
        return tuple(by_number[number] for number in range(len(by_number)))
    return tuple(map(str, found)) if isinstance(found, (list, tuple)) else ()


def _size(text: str) -> tuple[int, int] | None:
    found = _literal(text)
    if isinstance(found, int) and not isinstance(found, bool) and found > 0:
        return found, found
    if (
        isinstance(found, (list, tuple))
        and len(found) == 2
        and all(isinstance(side, int) and side > 0 for side in found)
    ):
        return found[0], found[1]
    return None


def _image_input(file: str, inputs: Sequence[TensorLike]) -> TensorLike:
    if (
        len(inputs) != 1
        or len(inputs[0].shape) != 4
        or inputs[0].shape[1] not in (3, None)
        or isinstance(inputs[0].shape[1], str)
    ):
        given = ", ".join(map(_described, inputs))
        raise ModelError(
            f"{file} has the inputs {given}; only a single image input [B, 3, H, W] is supported.",
            hint="Pass arrays instead: adaptrt.specs.backends.BACKENDS.find('onnxruntime').open(...)",
        )
    if inputs[0].dtype != "float32":
        raise ModelError(
            f"Input {inputs[0].name!r} of {file} is {inputs[0].dtype}; images are float32.",
            hint="Export the model with float32 inputs.",
        )
    return inputs[0]


def _image_size(file: str, tensor: TensorLike, wanted: tuple[int, int] | None) -> tuple[int, int]:
    sides = tensor.shape[2:]
    if wanted is None:
        fixed = [side for side in sides if isinstance(side, int)]
        if len(fixed) < 2:
            raise ShapeError(
                f"{file} accepts images of any size and does not define its training size.",
                hint="Specify it: --imgsz 640",
            )
        return fixed[0], fixed[1]
    for side, asked in zip(sides, wanted, strict=True):
        if isinstance(side, int) and side != asked:
            raise ShapeError(
                f"{file} requires images of {sides[0]} x {sides[1]}; got {wanted[0]} x {wanted[1]}.",
                hint="Omit --imgsz.",
            )
    return wanted


def _require_crop(file: str, tensor: TensorLike, size: tuple[int, int] | None) -> None:
    """MMDeploy's files crop images to the size of the input: the crop is a part of the resized image."""
    sides = tuple(tensor.shape[2:])
    if size is not None and any(isinstance(side, int) and side != cut for side, cut in zip(sides, size, strict=True)):
        raise ModelError(
            f"{file} requires images of {sides[0]} x {sides[1]}, but the pipeline.json beside it crops them to {size[0]} x {size[1]}.",
            hint="Copy the deploy.json and pipeline.json of this file next to it.",
        )


def _described(tensor: TensorLike) -> str:
    return f"{tensor.name} [{', '.join('?' if axis is None else str(axis) for axis in tensor.shape)}]"


def try_spec(runner: Runner, spec: ModelSpec) -> None:
    """Run and decode a gray image, so that a decoder that does not fit the outputs is an error on opening."""
    from adaptrt.vision.decoders.decode import decode

    tensor = spec.inputs[0]
    shape = tuple(dim.min for dim in tensor.dims)
    outputs = runner.run({tensor.name: np.full(shape, 0.5, np.float32)})
    size = (shape[2], shape[3])
    decode(outputs, [ImageMeta(size, size)] * shape[0], spec)


def write_adopted(source: Path, output: Path, said: Adoption, params: Mapping[str, Any]) -> tuple[Path, ModelSpec, str]:
    """Write a copy of an ONNX file with its spec in the metadata; the graph and other metadata stay as they are.

    ``output`` is the file or its folder, as with ``convert -o``; returns the file, its spec, and where the decoder comes from.
    """
    destination = choose_destination(str(source), output)
    written = destination.path(".onnx")
    if output.suffix and not output.is_dir() and written != output:
        raise UsageError(
            f"-o {output}: the copy is an ONNX file.", hint=f"For example: -o {output.with_suffix('.onnx')}"
        )
    require_no_input(written, [source.resolve()])
    with opened(destination) as workdir:
        adopted = workdir / "adopted.onnx"
        try:
            spec, found = add_spec(source, adopted, said, params)
            publish({written: adopted}, workdir)
        except OSError as error:
            raise output_error(error, destination.folder) from error
    return written, spec, found


def add_spec(source: Path, path: Path, said: Adoption, params: Mapping[str, Any]) -> tuple[ModelSpec, str]:
    """Write such a copy to ``path``; returns its spec, and where the decoder comes from."""
    from adaptrt.onnxfile.reader import read_onnx
    from adaptrt.specs import METADATA_KEY
    from adaptrt.specs.backends import OpenOptions, onnx_backend

    file = read_onnx(source)
    if file.spec is not None:
        raise UsageError(f"{source.name} already has a spec.", hint=f"To see it: adaptrt inspect {in_shell(source)}")
    if file.external:
        raise UsageError(
            f"{source.name} stores its weights in other files ({file.external[0]}).",
            hint="Save it as a single file first.",
        )
    spec, found = adopt_spec(source.name, file.inputs, file.outputs, file.metadata, said, params, read_deployed(source))
    runner = onnx_backend().open(source, OpenOptions())
    try:
        try_spec(runner, spec)
    finally:
        runner.close()
    import onnx
    from onnx import helper

    model = onnx.load(str(source))
    helper.set_model_props(model, {**file.metadata, METADATA_KEY: spec.to_json()})
    onnx.save(model, str(path))
    return spec, found
