"""What the user requested, and the conversion it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from adaptrt.errors import PluginError, ShapeError, UsageError, did_you_mean
from adaptrt.specs import BuildOptions, Dim, ModelSpec, Precision, Shape, format_shape, precision_named
from adaptrt.specs.adoption import Adoption
from adaptrt.specs.argument_types import require_argument_fields
from adaptrt.specs.backends import backend_named, target_named
from adaptrt.specs.build import compile_pattern
from adaptrt.specs.dims import union
from adaptrt.specs.precisions import FP32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.onnxfile.files import OnnxFiles
    from adaptrt.report import Finding
    from adaptrt.specs import ImageTransform
from adaptrt.specs.calibration import CalibrationData, CalibrationRequest, LabeledData

Verify = Literal["full", "quick", "none"]
Exporter = Literal["auto", "dynamo", "torchscript"]
Require = Literal["", "verified"]
NmsKind = Literal["cluster", "onnx", "efficient"]
NmsSchema = Literal["converged", "efficient"]

MAX_CANDIDATES = 3840  # TensorRT's limit for TopK

# the choices on the command line; the Python API accepts any string
_WORDS: Mapping[str, tuple[Any, ...]] = {
    "exporter": get_args(Exporter),
    "verify": get_args(Verify),
    "require": get_args(Require),
}

DEFAULT_BATCH = Dim(1, 8, 16, "batch")


@dataclass(frozen=True)
class ShapeRequest:
    """The requested shapes; whatever is ``None`` or missing is left to the adapter's spec.

    ``dynamic`` names the axes that are dynamic; all others are fixed: ``batch``, ``hw``. ``shapes`` maps an input to
    complete shapes, one for each profile; the other fields must not conflict with them.
    """

    imgsz: tuple[int, int] | None = None
    batch: Dim | None = None
    dynamic: frozenset[str] | None = None
    shapes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch is None or self.dynamic is None or self.batch.dynamic == ("batch" in self.dynamic):
            return
        given = f"--batch {replace(self.batch, name=None)} and --dynamic {','.join(sorted(self.dynamic)) or 'none'}"
        raise ShapeError(
            f"{given} conflict: only the first makes the batch {'dynamic' if self.batch.dynamic else 'fixed'}.",
            hint="For example: --batch 1:8:16 --dynamic batch, or --batch 4 --dynamic hw",
        )

    def apply(self, spec: ModelSpec) -> tuple[ModelSpec, list[str]]:
        """The spec with these shapes, and warnings about sizes that were rounded up to the stride.

        A whole shape is used as it is: see ``nearest_shape``.
        """
        unknown = [name for name in self.shapes if name not in [tensor.name for tensor in spec.inputs]]
        if unknown:
            raise ShapeError(
                f"The model has no input {unknown[0]!r}.",
                hint=did_you_mean(unknown[0], [tensor.name for tensor in spec.inputs]),
            )
        if spec.image is None and (self.imgsz or "hw" in (self.dynamic or ())):
            raise ShapeError(
                "The model has no image input, so an image size cannot be set.",
                hint=f"Specify complete shapes: --shape {spec.inputs[0].name}=..." if spec.inputs else None,
            )
        warnings: list[str] = []
        counts = {len(shapes) for shapes in self.shapes.values() if len(shapes) > 1}
        if len(counts) > 1:
            raise ShapeError(
                "Inputs have different numbers of profiles: "
                + ", ".join(f"{name} {len(shapes)}" for name, shapes in self.shapes.items())
                + ".",
                hint="Specify one shape for every input, or the same number of shapes for all.",
            )
        inputs = []
        for tensor in spec.inputs:
            is_image = spec.image is not None and tensor.name == spec.image.input
            profiles = self.shapes.get(tensor.name)
            if profiles is None:
                sides = spec.image.axes[:2] if is_image and spec.image is not None else None
                profiles = tuple(self._requested(shape, sides) for shape in tensor.profiles)
            else:
                profiles = tuple(_named_like(shape, tensor.profiles[0]) for shape in profiles)
                sides = spec.image.axes[:2] if is_image and spec.image is not None else None
                self.require_same(tensor.name, profiles, sides)
                if is_image and spec.image is not None:
                    _require_channels(tensor.name, profiles, tensor.profiles[0], spec.image)
            if is_image and spec.image is not None and tensor.name not in self.shapes:
                profiles = tuple(_rounded(shape, spec.image, warnings) for shape in profiles)
            inputs.append(replace(tensor, profiles=profiles))
        return replace(spec, inputs=tuple(inputs)), warnings

    def require_same(self, name: str, profiles: tuple[Shape, ...], sides: tuple[int, int] | None) -> None:
        """Reject a ``shape`` that contradicts another option; ``sides`` are the axes of an image's height and width."""
        axes, is_image = union(profiles), sides is not None
        size = "x".join(str(axes[side].opt) for side in sides or ())
        options = []
        if self.batch is not None and replace(self.batch, name=None) != replace(axes[0], name=None):
            options.append(f"--batch {replace(self.batch, name=None)}")
        if is_image and self.imgsz is not None and size != "{}x{}".format(*self.imgsz):
            options.append("--imgsz {}x{}".format(*self.imgsz))
        if self.dynamic is not None:
            dynamic = {"batch"} if axes[0].dynamic else set()
            if any(axes[side].dynamic for side in sides or ()):
                dynamic.add("hw")
            if dynamic != (self.dynamic if is_image else self.dynamic & {"batch"}):
                options.append(f"--dynamic {','.join(sorted(self.dynamic)) or 'none'}")
        if options:
            given = " and ".join(f"{name}={format_shape(shape)}" for shape in profiles)
            raise ShapeError(
                f"--shape {given} and {' and '.join(options)} conflict.",
                hint=f"A complete shape already defines these: omit {' and '.join(options)}.",
            )

    def _requested(self, shape: Shape, sides: tuple[int, int] | None) -> Shape:
        axes = list(shape)
        if self.dynamic is not None:
            # another input may share the image's axes, a mask say; its adapter has them as the image's
            shared = ("height", "width") if "hw" in self.dynamic else ()
            axes = [axis if axis.name in shared else Dim.fixed(axis.opt) for axis in axes]
        if axes:
            axes[0] = self._batch(shape[0])
        if sides is not None:
            sizes = self.imgsz or (axes[sides[0]].opt, axes[sides[1]].opt)
            for axis, size, name in zip(sides, sizes, ("height", "width"), strict=True):
                if self.dynamic is not None and "hw" in self.dynamic:
                    axes[axis] = Dim(max(1, size // 2), size, size * 2, name)
                elif self.imgsz:
                    axes[axis] = Dim.fixed(size)
        return tuple(axes)

    def _batch(self, axis: Dim) -> Dim:
        if self.batch is not None:
            return replace(self.batch, name=axis.name or "batch")
        if self.dynamic is None:
            return axis
        if "batch" not in self.dynamic:
            return Dim.fixed(1)
        return axis if axis.dynamic else DEFAULT_BATCH


def _named_like(shape: Shape, other: Shape) -> Shape:
    if len(shape) != len(other):
        raise ShapeError(
            f"The shape has {len(shape)} axes, but the model's input has {len(other)}.",
            hint=f"For example: {'x'.join(map(str, other))}",
        )
    fallback = ("batch", *[None] * (len(shape) - 1))
    return tuple(
        replace(axis, name=axis.name or known.name or (spare if axis.dynamic else None))
        for axis, known, spare in zip(shape, other, fallback, strict=True)
    )


def _require_channels(name: str, profiles: tuple[Shape, ...], known: Shape, image: ImageTransform) -> None:
    """Reject a complete shape with another number of channels than the model's, such as one whose channels come last."""
    axis = image.axes[2] % len(known)
    channels = known[axis]
    for shape in profiles:
        if not channels.dynamic and (shape[axis].min, shape[axis].max) != (channels.opt, channels.opt):
            given, example = ("x".join(str(replace(dim, name=None)) for dim in dims) for dims in (shape, known))
            order = "batch x channels x height x width" if axis == 1 else "batch x height x width x channels"
            raise ShapeError(
                f"--shape {name}={given}: images of this model have {channels.opt} channels; got "
                f"{replace(shape[axis], name=None)}.",
                hint=f"The order is {order}, for example {name}={example}.",
            )


def _rounded(shape: Shape, image: ImageTransform, warnings: list[str]) -> Shape:
    axes, stride = list(shape), image.stride
    for axis, name in zip(image.axes, ("height", "width"), strict=False):
        dim = axes[axis]
        low, opt, high = (-(-size // stride) * stride for size in (dim.min, dim.opt, dim.max))
        rounded = Dim(low, opt, high, dim.name)
        if rounded != dim:
            shown, found = (str(replace(one, name=None)) for one in (dim, rounded))
            verb = "are not all multiples" if dim.dynamic else "is not a multiple"
            warnings.append(f"{name} {shown} {verb} of the stride {stride}: rounded up to {found}.")
            axes[axis] = rounded
    return tuple(axes)


def nearest_shape(spec: ModelSpec) -> str:
    """``--shape`` with the image's sizes rounded up to the stride; empty where they are multiples of it already.

    A whole shape is used as it was given, and not every network runs at every size.
    """
    if spec.image is None:
        return ""
    tensor = spec.input(spec.image.input)
    rounded = [_rounded(shape, spec.image, []) for shape in tensor.profiles]
    if rounded == list(tensor.profiles):
        return ""
    plain = (tuple(replace(axis, name=None) for axis in shape) for shape in rounded)
    return " ".join(f"--shape {tensor.name}={format_shape(shape)}" for shape in plain)


@dataclass(frozen=True)
class NmsRequest:
    """NMS inside the graph.

    ``kind``: ``cluster`` (standard operators, for every runtime), ``onnx`` (NonMaxSuppression) or ``efficient`` (TensorRT's
    plugin). ``candidates``: number of highest-scoring boxes that enter NMS. ``schema``: ``converged`` adds the output
    ``nms_converged`` to the four of EfficientNMS, ``efficient`` does not. ``multi_label``: a box may have several classes.
    Thresholds are the decoder's parameters: ``conf``, ``iou``, ``max_det``, ``agnostic``, ``classes``.
    """

    kind: NmsKind = "cluster"
    rounds: int = 20
    candidates: int = 1000
    schema: NmsSchema = "converged"
    multi_label: bool = False

    def __post_init__(self) -> None:
        require_argument_fields(self)
        for name, known in (("kind", get_args(NmsKind)), ("schema", get_args(NmsSchema))):
            if getattr(self, name) not in known:
                raise UsageError(f"Unknown NMS {name} {getattr(self, name)!r}.", hint=f"Available: {', '.join(known)}.")
        if not 1 <= self.rounds <= 1000:
            raise UsageError(f"NMS rounds must be between 1 and 1000; got {self.rounds}.", hint="For example: 20")
        if not 1 <= self.candidates <= MAX_CANDIDATES:
            raise UsageError(
                f"NMS candidates must be between 1 and {MAX_CANDIDATES}, the most that TensorRT's TopK returns; "
                f"got {self.candidates}.",
                hint="For example: 1000",
            )


@dataclass(frozen=True)
class Request:
    """One conversion as the user requested it.

    ``options`` are the ``--set`` pairs; ``keep_fp32`` are patterns for the names of nodes that stay float32, ``keep_fp16``
    those of layers that are not quantized, and ``quantize_also`` those of further operators that are. ``to`` names
    the files to write (``("onnx", "engine")``), empty: an ONNX file and, if TensorRT can build one here, an engine.
    ``target`` is the name of the target that the graph is made for (a version of TensorRT can be a number). ``nms``: NMS inside the graph.
    ``embed_preprocess``: the graph takes pixels, uint8 [N, h, w, C], and normalizes them itself.
    ``calibration``: how the graph is quantized; ``data``: the labeled images that a quantized graph is scored on.
    ``diagnose``: if link 2, 3 or 4 fails, compare internal tensors.
    """

    source: str
    adapter: str
    output: Path | None = None
    weights: Path | None = None
    shapes: ShapeRequest = ShapeRequest()
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    opset: int | None = None
    exporter: Exporter = "auto"
    simplify: bool = True
    verify: Verify = "full"
    require: Require = ""
    target: str | None = None
    to: tuple[str, ...] = ()
    precision: str = FP32.name
    keep_fp32: tuple[str, ...] = ()
    keep_fp16: tuple[str, ...] = ()
    quantize_also: tuple[str, ...] = ()
    build: BuildOptions = field(default_factory=BuildOptions)
    nms: NmsRequest | None = None
    embed_preprocess: bool = False
    calibration: CalibrationRequest | None = None
    data: LabeledData | None = None
    cache: bool = True
    diagnose: bool = False
    image: Path | None = None
    test_image: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    trust_checkpoint: bool = False
    ort_custom_ops: tuple[Path, ...] = ()
    plugins_file: Path | None = None
    seed: int = 0
    command: str = ""
    verbose: int = 0

    def __post_init__(self) -> None:
        for name, known in _WORDS.items():
            value = getattr(self, name)
            if value not in known:
                words = [str(word) for word in known if word]
                raise UsageError(f"Unknown {name} {value!r}.", hint=did_you_mean(str(value), words))
        self._require_quantizing(precision_named(self.precision))
        if self.target is not None:
            object.__setattr__(self, "target", str(self.target))
            target_named(str(self.target))
        for word in self.to:
            backend_named(word)
        if self.opset is not None and self.opset < 11:
            raise UsageError(
                f"Opset {self.opset} is too old.", hint="Use 11 or later; every TensorRT since 8.6 supports 17."
            )
        for flag, patterns in (
            ("--keep-fp32", self.keep_fp32),
            ("--keep-fp16", self.keep_fp16),
            ("--quantize-also", self.quantize_also),
        ):
            for pattern in patterns:
                compile_pattern(pattern, flag)

    def _require_quantizing(self, precision: Precision) -> None:
        """Reject calibration and labeled data for a precision that is not quantized: they would have no effect."""
        for flag, given in (
            ("--calib", self.calibration),
            ("--data", self.data),
            ("--keep-fp16", self.keep_fp16 or None),
            ("--quantize-also", self.quantize_also or None),
        ):
            if given is not None and precision.form != "qdq":
                raise UsageError(
                    f"{flag} is for int8, and the precision is {precision.name}.", hint=f"Add --int8, or omit {flag}."
                )


@dataclass(frozen=True)
class BuildRequest(Request):
    """A build of an engine from an ONNX file, without an adapter. ``adoption`` describes a file without a spec."""

    adapter: str = ""
    set_dynamic_batch: bool = False
    adoption: Adoption = field(default_factory=Adoption)


def silent(*_: Any) -> None:
    """No-op callback."""


@dataclass(frozen=True)
class Conversion:
    """The ``ctx`` argument of hooks.

    ``options``: the adapter's options, filled. ``workdir``: a folder that is removed when the conversion ends.
    ``settings``: the ``[settings]`` table of plugins.toml, by plugin. ``notes``: sentences for the report;
    ``findings``: what the export found in the model's code.
    ``warn`` shows a message to the user immediately, ``tell`` only in verbose mode (``request.verbose``);
    ``progress(done, total, text)`` reports the progress of a long step (``total`` 0: unknown).
    ``builder_plugins`` are the plugins with a ``configure_builder`` hook. ``reduced_graph``: whether half precision is
    expressed in a reduced-precision graph; if not, it is a build option of the backend. ``samples``: the inputs that the
    result is compared on, by name; real images if there is an ``--image``; available from ``export_onnx`` on, except in
    ``configure_builder``, which runs in the build process.
    ``keep_fp32``: the patterns in effect for nodes that stay float32, and ``keep_fp16`` those for layers that are not
    quantized. They are the request's, except where ``adaptrt tune`` builds several configurations; ``reduced_graph`` and the
    ``precision`` that a hook receives then belong to the configuration, too.
    ``failed_exporters``: exporters that ``auto`` tried without success. ``integers``: the lowest and highest value that the
    model accepts, for each integer input, determined in the reference stage.
    ``calibration``: preprocessed inputs to measure activation ranges on, if ``--calib`` names some.
    ``newest_opset``: the newest ONNX opset that the target reads.
    ``onnx`` reads and hashes each ONNX file of this conversion once: ``ctx.onnx.outline(path)``.
    """

    request: Request
    options: Any
    workdir: Path
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warn: Callable[[str], None] = silent
    tell: Callable[[str], None] = silent
    progress: Callable[[int, int, str], None] = silent
    builder_plugins: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    reduced_graph: bool = False
    keep_fp32: tuple[str, ...] = ()
    keep_fp16: tuple[str, ...] = ()
    samples: tuple[Mapping[str, NDArray[Any]], ...] = ()
    failed_exporters: list[str] = field(default_factory=list)
    integers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    onnx: OnnxFiles | None = None
    calibration: CalibrationData | None = None
    newest_opset: int | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Old names that plugins may still use."""
            if name in _RENAMED:
                raise PluginError(f"ctx.{name} is now called ctx.{_RENAMED[name]}.", hint="Update the plugin.")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_RENAMED = {"typed_graph": "reduced_graph"}
