"""The spec of a model: the single source of example inputs, dynamic axes, profiles, checks and the manifest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from adaptrt.errors import AdaptrtError, ModelError, did_you_mean
from adaptrt.field_types import require_field_types
from adaptrt.specs.dims import Dim
from adaptrt.specs.image import ImageTransform
from adaptrt.specs.tensors import InputSpec, OutputSpec
from adaptrt.specs.versions import upgrade_spec

T = TypeVar("T", InputSpec, OutputSpec)

METADATA_KEY = "adaptrt.spec"
MAX_IMAGE_PIXELS = 1 << 26  # of one image input; float32 it takes 768 MiB


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder by name, with the defaults of its parameters for this model.

    ``distribution`` provides it, unless it is one of core's: what to install if the decoder is missing.
    """

    name: str
    params: dict[str, Any] = field(default_factory=dict)
    distribution: str | None = None

    def __post_init__(self) -> None:
        require_field_types(self)


@dataclass(frozen=True)
class ModelSpec:
    """Inputs, outputs, image preprocessing and the decoder.

    ``metadata`` is written to the ONNX file unchanged, key by key, for other tools.
    ``adapter`` names the adapter whose hooks are called at run time, if it is installed; most specs need none.
    ``task`` names what is predicted (entry-point group ``adaptrt.tasks``; core's are in the reference of tasks, from ``detect``
    to ``values``); it is looked up at prediction time.
    ``exporter`` is the front end that ``--exporter auto`` selects for this model. ``float_nodes`` are regular expressions:
    layers whose name they match are not quantized to int8. ``version`` is the file format version.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...] = ()
    task: str = "values"
    image: ImageTransform | None = None
    decoder: DecoderSpec | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    adapter: str | None = None
    exporter: Literal["dynamo", "torchscript"] | None = None
    float_nodes: tuple[str, ...] = ()
    version: int = 2

    def __post_init__(self) -> None:
        require_field_types(self)

    def _require_bounded_image(self) -> None:
        if self.image is not None:
            height, width, _ = self._image_axes()
            if height.opt * width.opt > MAX_IMAGE_PIXELS:
                raise ModelError(f"An image input of {height.opt} x {width.opt} pixels is too large.")

    def _image_axes(self) -> tuple[Dim, Dim, Dim]:
        """Height, width and channels of the first profile."""
        assert self.image is not None
        tensor = next((one for one in self.inputs if one.name == self.image.input), None)
        if tensor is None or len(tensor.profiles[0]) != 4:
            raise ModelError(f"The image input {self.image.input!r} must be an input of the spec with 4 axes.")
        height, width, channels = (tensor.profiles[0][axis] for axis in self.image.axes)
        return height, width, channels

    def input(self, name: str) -> InputSpec:
        return _by_name(self.inputs, name, "input")

    def output(self, name: str) -> OutputSpec:
        return _by_name(self.outputs, name, "output")

    def is_batch(self, axis: int, dim: Dim) -> bool:
        """Whether an axis is the batch: it has the name of the first input's first axis; without names, any first axis."""
        first = self.inputs[0].dims if self.inputs else ()
        name = first[0].name if first else None
        return dim.name == name if name and dim.name else axis == 0

    @property
    def trace_shapes(self) -> dict[str, tuple[int, ...]]:
        """By input: opt sizes of the first profile, and batch 2 if any profile allows it, since exporters freeze an
        axis of size 1. Axes with the same name have the same size."""
        return {
            tensor.name: tuple(
                max(dim.min, min(2, dim.max)) if dim.dynamic and self.is_batch(axis, dim) else opt.opt
                for axis, (dim, opt) in enumerate(zip(tensor.dims, tensor.profiles[0], strict=True))
            )
            for tensor in self.inputs
        }

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels, that images are resized to: the opt sizes of the image input."""
        if self.image is None:
            raise _no_image_input()
        height, width, _ = self._image_axes()
        return height.opt, width.opt

    @property
    def image_channels(self) -> int:
        """Channels of the image input: 3 for RGB, 1 for gray, any other number for bands."""
        if self.image is None:
            raise _no_image_input()
        return self._image_axes()[2].opt

    @property
    def dynamic_size(self) -> bool:
        """Whether height or width of the image are dynamic."""
        if self.image is None:
            return False
        dims = self.input(self.image.input).dims
        return any(dims[axis].dynamic for axis in self.image.axes[:2])

    def to_json(self) -> str:
        import msgspec

        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelSpec:
        """Read a spec; a ``ModelError`` names the invalid field."""
        import msgspec

        try:
            spec = msgspec.convert(upgrade_spec(msgspec.json.decode(text)), cls)
            spec._require_bounded_image()
        except (msgspec.DecodeError, UnicodeError, RecursionError, AdaptrtError) as error:
            _refuse_later(text)
            raise ModelError(
                f"The spec in this file cannot be read: {error}.", hint="Convert the model again."
            ) from error
        _refuse_later(text)
        return spec

    def with_decoder_params(self, **params: Any) -> ModelSpec:
        """The same spec with other decoder defaults; unknown names are rejected."""
        decoder = self.decoder or DecoderSpec("raw")
        return replace(self, decoder=replace(decoder, params={**decoder.params, **params}))


def _refuse_later(text: str | bytes) -> None:
    """Reject specs of later versions, which this version cannot interpret."""
    import msgspec

    try:
        version = msgspec.json.decode(text, type=dict[str, Any]).get("version")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return
    if isinstance(version, int) and version > ModelSpec.version:
        raise ModelError(
            f"The spec in this file has version {version}; this version of adaptrt reads up to {ModelSpec.version}.",
            hint="Update: pip install -U adaptrt",
        )


def _no_image_input() -> ModelError:
    return ModelError(
        "This model has no image input: its spec has no image transform.",
        hint="Pass arrays by input name (on the command line: adaptrt run FILE --inputs arrays.npz); an adapter for images "
        "declares ModelSpec(image=ImageTransform()).",
    )


def _by_name(tensors: tuple[T, ...], name: str, kind: str) -> T:
    for tensor in tensors:
        if tensor.name == name:
            return tensor
    raise ModelError(f"Unknown {kind} {name!r}.", hint=did_you_mean(name, [tensor.name for tensor in tensors]))
