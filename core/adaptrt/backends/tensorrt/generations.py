"""Detects the installed TensorRT, and lists the features of each generation: all version differences are here."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal

from adaptrt.errors import DependencyError, UsageError, did_you_mean
from adaptrt.specs import BuildOptions, precision_named
from adaptrt.specs.targets import Target

Flavor = Literal["full", "lean", "dispatch"]
ProductName = Literal["tensorrt", "rtx"]


@dataclass(frozen=True, kw_only=True)
class Product:
    """One of NVIDIA's libraries with TensorRT's API.

    - ``modules`` to import, most capable first; in newer wheels, ``tensorrt`` imports the bindings packages
    - ``extra`` of adaptrt that installs it, and ``needs``: supported platforms
    - ``known``: the versions that adaptrt supports
    """

    name: ProductName
    title: str
    modules: Mapping[Flavor, tuple[str, ...]]
    distributions: tuple[str, ...]
    extra: str
    needs: str
    known: str


TENSORRT = Product(
    name="tensorrt",
    title="TensorRT",
    modules={
        "full": ("tensorrt", "tensorrt_bindings"),
        "lean": ("tensorrt_lean", "tensorrt_lean_bindings"),
        "dispatch": ("tensorrt_dispatch", "tensorrt_dispatch_bindings"),
    },
    distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11"),
    extra="trt",
    needs="Linux, NVIDIA GPU",
    known="TensorRT 8.6, 10 and 11",
)
RTX = Product(
    name="rtx",
    title="TensorRT-RTX",
    modules={"full": ("tensorrt_rtx", "tensorrt_rtx_bindings")},
    distributions=("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
    extra="rtx",
    needs="Linux on x86-64",
    known="TensorRT-RTX 1",
)
_PRODUCTS: Mapping[ProductName, Product] = {product.name: product for product in (TENSORRT, RTX)}


_OWN_KERNELS = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
_ALL_KERNELS = ("CUBLAS", "CUBLAS_LT", "CUDNN", *_OWN_KERNELS)


@dataclass(frozen=True, kw_only=True)
class Generation(Target):
    """A TensorRT generation and the features of its builder; by default those of TensorRT 11.

    - ``generation``: 8, 10 or 11, of its parser and API
    - ``flag_types``: the ONNX element types that it has a builder flag for, unless it is strongly typed
    - ``quantized_types``: the element types that its Q/DQ nodes quantize to, in the opsets that it reads
    - ``sharing_preview``: several contexts on one profile need a preview feature at build
    - ``needs_strong_flag``: strong typing has to be enabled explicitly (11 is always strongly typed)
    - ``tactic_sources``: the available tactic sources
    - ``timing_cache``: the builder times kernels, and timings can be cached
    - ``compute_capabilities`` that an engine can be built for without a GPU, and ``default_capabilities`` unless others
      are requested; empty: an engine is built on the GPU that it is for
    """

    generation: int
    product: Product = field(default=TENSORRT, repr=False)
    flag_types: tuple[str, ...] = ()
    quantized_types: tuple[str, ...] = ("int8",)
    strip_plan: bool = True
    progress: bool = True
    sharing_preview: bool = False
    explicit_batch_flag: bool = False
    needs_strong_flag: bool = False
    same_cc: bool = True
    ampere_plus: bool = True
    version_compatible: bool = True
    timing_cache: bool = True
    tactic_sources: tuple[str, ...] = _OWN_KERNELS
    compute_capabilities: tuple[str, ...] = ()
    default_capabilities: tuple[str, ...] = ()


_GENERATIONS = (
    Generation(
        name="8",
        title="TensorRT 8",
        operator_table="8",
        efficient_nms=True,
        generation=8,
        newest_opset=17,
        strongly_typed=False,
        flag_types=("float16",),
        bf16=False,
        int64=False,
        exporter="torchscript",  # it rejects parts of opset 18, the lowest that dynamo writes
        strip_plan=False,
        progress=False,
        sharing_preview=True,
        explicit_batch_flag=True,
        same_cc=False,
        tactic_sources=_ALL_KERNELS,
    ),
    Generation(
        name="10",
        title="TensorRT 10",
        operator_table="10",
        efficient_nms=True,
        generation=10,
        newest_opset=20,
        strongly_typed=True,
        quantized_types=("int8", "float8_e4m3fn"),
        bf16=True,
        int64=True,
        needs_strong_flag=True,
        tactic_sources=_ALL_KERNELS,
    ),
    Generation(
        name="11",
        title="TensorRT 11",
        operator_table="11",
        generation=11,
        newest_opset=20,
        strongly_typed=True,
        quantized_types=("int8", "float8_e4m3fn"),
        bf16=True,
        int64=True,
    ),
    Generation(
        name="rtx",
        title="TensorRT-RTX 1",
        operator_table="rtx",
        onnx_nms=False,
        product=RTX,
        generation=11,
        newest_opset=20,
        strongly_typed=True,
        bf16=True,
        int64=True,
        same_cc=False,
        ampere_plus=False,
        version_compatible=False,
        timing_cache=False,
        compute_capabilities=("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"),
        default_capabilities=("8.0", "8.6", "8.9", "12.0", "12.1"),
    ),
)
_BY_NAME = {generation.name: generation for generation in _GENERATIONS}
_MAJORS = {"tensorrt": {8: "8", 10: "10", 11: "11"}, "rtx": {1: "rtx"}}
NEWEST = max(_MAJORS["tensorrt"])


@dataclass(frozen=True)
class TensorRT:
    """An imported TensorRT: ``trt`` is its module. Only the full product can build."""

    trt: Any
    version: str
    flavor: Flavor
    product: Product = TENSORRT

    @property
    def generation(self) -> Generation:
        return generation_of(self.version, self.product)

    @property
    def title(self) -> str:
        return f"{self.product.title} {self.version}"


def product_named(name: ProductName) -> Product:
    return _PRODUCTS[name]


def generations_of(product: Product) -> dict[str, Generation]:
    """The generations of a product by name, the oldest first."""
    return {generation.name: generation for generation in _GENERATIONS if generation.product is product}


def generation_of(version: str | int, product: Product = TENSORRT) -> Generation:
    """The generation of a version such as ``8.6.0``, or by name (``8``, ``rtx``). Unknown ones raise an error."""
    text = str(version)
    if text in _BY_NAME:
        return _BY_NAME[text]
    parts = text.split(".")
    major = int(parts[0]) if parts[0].isdigit() else 0
    hint = f"Supported versions: {product.known}. Run pip install 'adaptrt[{product.extra}]'"
    if product is TENSORRT and major == 8 and len(parts) > 1 and parts[1].isdigit() and int(parts[1]) < 6:
        raise DependencyError(f"TensorRT {version} is too old.", hint=hint)
    if major not in _MAJORS[product.name]:
        raise DependencyError(f"Unknown version of {product.title}: {version}.", hint=hint)
    return _BY_NAME[_MAJORS[product.name][major]]


def can_build(product: Product = TENSORRT) -> bool:
    """Whether the full product is installed; nothing is imported."""
    return any(importlib.util.find_spec(name) is not None for name in product.modules["full"])


def installed_version(product: Product = TENSORRT) -> str | None:
    """The version of the full product, from its metadata: nothing is imported."""
    for distribution in product.distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def default_target() -> Generation:
    """The generation that graphs are made for: the installed one, else the newest."""
    return generation_of(installed_version() or NEWEST)


def import_tensorrt(product: Product = TENSORRT, *, builder: bool = False) -> TensorRT:
    """The full product, else (unless ``builder``) its lean or dispatch runtime."""
    problems = []
    for flavor, names in product.modules.items():
        if builder and flavor != "full":
            continue
        for name in names:
            if importlib.util.find_spec(name) is None:
                continue
            try:
                module = importlib.import_module(name)
            except (ImportError, OSError, RuntimeError) as error:
                problems.append(f"{name}: {error}")
                continue
            version = str(module.__version__)
            generation_of(version, product)
            return TensorRT(module, version, flavor, product)
    if problems:
        raise DependencyError(
            f"{product.title} is installed but cannot be imported: {problems[0]}",
            hint="A required library is missing or incompatible: check LD_LIBRARY_PATH and the CUDA version.",
        )
    what = "building an engine requires the full library" if builder else "running an engine requires it"
    raise DependencyError(
        f"{product.title} is not installed; {what}.",
        hint=f"Install it: pip install 'adaptrt[{product.extra}]' ({product.needs})",
    )


def capabilities_of(options: BuildOptions, generation: Generation) -> tuple[str, ...]:
    """The compute capabilities that an engine is built for; empty: that of the local GPU."""
    return options.compute_capabilities or generation.default_capabilities


def require_supported(options: BuildOptions, precision: str, version: str, product: Product = TENSORRT) -> None:
    """Raise an error that names the option this version does not support."""
    features = generation_of(version, product)
    title = features.title if version == features.name else f"{product.title} {version}"
    compatible = options.hardware_compatible
    # option: whether it is requested, the field with its support, what to do instead
    wanted = {
        f"--precision {precision}": (_is_bfloat16(precision), "bf16", "Use --precision fp16"),
        "--strip-weights": (options.strip_weights, "strip_plan", "Remove it"),
        "--version-compatible": (options.version_compatible, "version_compatible", "Remove it"),
        "--hardware-compatible ampere+": (compatible == "ampere+", "ampere_plus", "Remove it"),
        "--hardware-compatible same-cc": (
            compatible == "same-cc",
            "same_cc",
            "Use --hardware-compatible ampere+" if features.ampere_plus else "Remove it",
        ),
    }
    for name, (asked, has, instead) in wanted.items():
        if asked and not getattr(features, has):
            others = [generation.title for generation in _GENERATIONS if getattr(generation, has)]
            raise UsageError(
                f"{title} does not support {name.removeprefix('--')}: {name} requires {' or '.join(others)}.",
                hint=f"{instead}, or build with one of these.",
            )
    for name in options.tactic_sources or ():
        if name.upper() not in features.tactic_sources:
            raise UsageError(
                f"{title} has no tactic source {name!r}.",
                hint=did_you_mean(name.upper(), features.tactic_sources),
            )
    _require_capabilities(options, precision, features)


def _is_bfloat16(precision: str) -> bool:
    return bool(precision) and precision_named(precision).onnx_type == "bfloat16"


def _require_capabilities(options: BuildOptions, precision: str, features: Generation) -> None:
    if (options.refittable or options.strip_weights) and len(capabilities_of(options, features)) > 1:
        raise UsageError(
            f"{features.title} builds engines with replaceable weights for a single compute capability only.",
            hint="Specify one, for example --compute-capability 8.6, or remove --refittable and --strip-weights.",
        )
    known = ", ".join(features.compute_capabilities)
    for capability in options.compute_capabilities:
        if not known:
            raise UsageError(
                f"{features.title} builds for the local GPU only, not for --compute-capability {capability}.",
                hint="Remove it; --to rtx builds for other GPUs.",
            )
        if capability not in features.compute_capabilities:
            raise UsageError(
                f"{features.title} does not support compute capability {capability}.", hint=f"Supported: {known}"
            )
        if _is_bfloat16(precision) and float(capability) < 8:
            raise UsageError(
                f"Compute capability {capability} does not support bfloat16.",
                hint="Use --precision fp16, or remove it from --compute-capability.",
            )
