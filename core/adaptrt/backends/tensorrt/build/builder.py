"""Builds a plan from an ONNX file with TensorRT's API. Runs in the build process."""

from __future__ import annotations

import ctypes
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adaptrt.backends.tensorrt.build.inspector import Inspection, inspect_engine
from adaptrt.backends.tensorrt.build.log import Severity
from adaptrt.backends.tensorrt.build.messages import BuildMessage, Built
from adaptrt.backends.tensorrt.build.network import MemoryLog, layer_node, network_layers
from adaptrt.backends.tensorrt.build.profiles import Profile, fit_profiles
from adaptrt.backends.tensorrt.build.progress import Progress, progress_monitor
from adaptrt.backends.tensorrt.build.timing_cache import load_timing_cache, save_timing_cache, timing_cache_path
from adaptrt.backends.tensorrt.device import Device, describe_device
from adaptrt.backends.tensorrt.generations import Generation, TensorRT, capabilities_of, require_supported
from adaptrt.errors import BuildError
from adaptrt.onnxfile.node_rules import kept_float32, require_quantized
from adaptrt.onnxfile.reader import Node, OnnxFile, read_onnx
from adaptrt.specs import BuildOptions, precision_named
from adaptrt.specs.precisions import FP32

Say = Callable[[str], None]
# a cast has the type that it is for, and a plugin those that it supports (8.6 builds no RoiAlign with a constraint); the bounds of
# loops and branches, and layers that only move data, have that of what they carry: constrained, 8.6 rejects fused parts with them
_UNCONSTRAINED = (
    *("CONSTANT", "CAST", "PLUGIN", "PLUGIN_V2", "PLUGIN_V3"),
    *("TRIP_LIMIT", "RECURRENCE", "ITERATOR", "LOOP_OUTPUT", "CONDITION", "CONDITIONAL_INPUT", "CONDITIONAL_OUTPUT"),
    *("SHUFFLE", "SLICE", "CONCATENATION", "SHAPE", "IDENTITY", "GATHER"),
)
# how TensorRT 8.6 fails where no kernel, or no fused part of the graph, meets the constraints
_NO_IMPLEMENTATION = "Could not find any implementation for node"
_UNMET_CONSTRAINTS = ("incorrectly marked as an int8 node", _NO_IMPLEMENTATION)


def make_logger(trt: Any, log: Callable[[Severity, str], None]) -> Any:
    """A TensorRT logger that passes every message to ``log``."""
    names: dict[Any, Severity] = {
        trt.ILogger.Severity.INTERNAL_ERROR: "internal error",
        trt.ILogger.Severity.ERROR: "error",
        trt.ILogger.Severity.WARNING: "warning",
        trt.ILogger.Severity.INFO: "info",
        trt.ILogger.Severity.VERBOSE: "verbose",
    }

    class ForwardingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 requires this form

        def log(self, severity: Any, message: str) -> None:
            log(names[severity], message)

    return ForwardingLogger()


def require_precision(file: OnnxFile, precision: str, tensorrt: TensorRT) -> None:
    """Reject precisions that the graph does not express: int8 without Q/DQ nodes, and half precision without its types."""
    kind = precision_named(precision)
    require_quantized(file, kind)
    wanted = kind.onnx_type if kind.form == "cast" else None
    if wanted and tensorrt.generation.strongly_typed and wanted not in file.weight_types:
        raise BuildError(
            f"{tensorrt.title} reads the precision from the graph, but this graph has no {wanted} weights.",
            hint=f"Write the reduced-precision graph and build it: adaptrt build model.onnx --precision {precision}",
        )


def build_plan(
    tensorrt: TensorRT,
    message: BuildMessage,
    *,
    log: Callable[[Severity, str], None],
    stage: Say,
    progress: Callable[[Progress], None],
) -> Built:
    """Parse, configure, build and inspect; the plan is written to ``message.plan``."""
    trt, features, options = tensorrt.trt, tensorrt.generation, message.options
    require_supported(options, message.precision, tensorrt.version, tensorrt.product)
    capabilities = capabilities_of(options, features)
    device = None if capabilities else describe_device(options.device)
    memory = MemoryLog(log)
    logger = make_logger(trt, memory)
    trt.init_libnvinfer_plugins(logger, "")
    load_plugin_libraries(trt, options.plugin_libs)
    builder = create_builder(trt, logger)
    network = builder.create_network(network_flags(trt, features))

    stage("parse")
    file = read_onnx(Path(message.onnx))  # this process shares no memory with the job, which has read it too
    require_precision(file, message.precision, tensorrt)
    parser = parse_onnx(tensorrt, network, logger, Path(message.onnx), file)

    config = builder.create_builder_config()
    configure(trt, features, config, options, message.precision, device)
    set_capabilities(trt, config, capabilities)
    profiles = add_profiles(builder, network, config, message)
    kept, preferred = 0, False
    names: list[str] = []
    if not features.strongly_typed and precision_named(message.precision).reduced:
        names = kept_float32(file, message.spec, message.keep_fp32)
        kept = keep_float32(trt, network, config, names)
        if names and not kept:
            log("warning", f"None of the {len(names)} nodes to keep in float32 was found in the network.")
    monitor = progress_monitor(trt, progress) if features.progress else None
    if monitor is not None:
        config.progress_monitor = monitor
    if message.configure:
        _call(message.configure, network, config, message.configure_with)
    cache = None
    # at level 0, TensorRT measures nothing: it ignores a cache, and 8.6 writes an unreadable one
    if message.timing_cache and features.timing_cache and device is not None and options.optimization_level != 0:
        cache = timing_cache_path(Path(message.timing_cache), tensorrt.version, device, config)
    if not load_timing_cache(config, cache, memory.errors_of) and cache is not None:
        log("warning", f"TensorRT cannot use the timing cache {cache.name}: kernels are measured again.")
    layers = network_layers(trt, network) if device is None else ""

    stage("build")
    started = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    if plan is None and kept and prefer_constraints(trt, network, config, memory.errors):
        preferred = True
        log(
            "warning",
            "TensorRT does not build this graph with float32 constraints; nodes to keep in float32 are preferences.",
        )
        plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - started
    del parser, monitor  # the network's weights and the builder refer to them until here
    if plan is None:
        raise BuildError(f"{tensorrt.product.title} could not build the engine.")
    save_timing_cache(config, cache, memory.errors_of)
    Path(message.plan).write_bytes(memoryview(plan))

    if device is None:
        found = Inspection(layers, memory.activations, memory.weights)
    else:
        stage("inspect")
        found = inspect_plan(trt, logger, plan, message, profiles)
    return Built(
        tensorrt=tensorrt.version,
        gpu=device.name if device else "",
        capability=device.capability if device else "",
        memory=device.memory if device else 0,
        cuda=device.cuda if device else "",
        driver=device.driver if device else None,
        seconds=seconds,
        layers=found.layers,
        kept_layers=kept,
        preferred=tuple(names) if preferred else (),
        profiles=len(profiles),
        device_memory=found.device_memory,
        weight_bytes=found.weight_bytes,
        compute_capabilities=capabilities,
        inspected=device is not None,
    )


def create_builder(trt: Any, logger: Any) -> Any:
    try:
        return trt.Builder(logger)
    except TypeError as error:  # the factory returned None: TensorRT failed to initialize
        raise BuildError(
            "TensorRT failed to initialize on this machine.",
            hint="It requires an NVIDIA GPU and a driver that supports its CUDA version: check nvidia-smi.",
        ) from error


def network_flags(trt: Any, features: Generation) -> int:
    flags = 0
    if features.explicit_batch_flag:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if features.needs_strong_flag:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def load_plugin_libraries(trt: Any, libraries: Sequence[str]) -> None:
    """Load each library; one with the newer entry points is also registered with TensorRT's plugin registry."""
    for library in libraries:
        path = Path(library).resolve()
        if not path.is_file():
            raise BuildError(f"Plugin library not found: {library}.", hint="Check the path given to --plugin-lib.")
        try:
            opened = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise BuildError(
                f"{path.name} cannot be loaded: {error}.", hint="Check that it was built for this TensorRT and CUDA."
            ) from error
        if hasattr(opened, "getPluginCreators") or hasattr(opened, "getCreators"):
            trt.get_plugin_registry().load_library(str(path))


def parse_onnx(tensorrt: TensorRT, network: Any, logger: Any, path: Path, file: OnnxFile) -> Any:
    """Populate the network; nodes that the parser rejects are named. The parser must outlive the build."""
    parser = tensorrt.trt.OnnxParser(network, logger)
    if parser.parse_from_file(str(path)):
        return parser
    problems = [describe_parser_error(parser.get_error(index), file.nodes) for index in range(parser.num_errors)]
    hint = next((hint for marker, hint in _PARSER_HINTS if any(marker in problem for problem in problems)), None)
    raise BuildError(
        f"{tensorrt.product.title} cannot read {path.name}: " + "; ".join(problems or ["no reason is given"]),
        hint=hint or "To avoid this operator, try another --exporter or --opset, or patch that line of the model.",
    )


_PARSER_HINTS = (
    (
        "GEMM must have 2D inputs",
        "TensorRT 8 does not read this form: convert with --target 8 (TorchScript, opset 17).",
    ),
    ("No importer", "An operator without an importer requires a plugin: --plugin-lib my.so"),
    ("Plugin not found", "The plugin's library is missing: --plugin-lib my.so"),
    (
        "plugin registry",
        "The operator is a plugin that is not included, or whose creation requires a CUDA device; "
        "adaptrt lint MODEL.onnx --target rtx names such operators.",
    ),
    ("getPluginCreator", "The plugin's library is missing: --plugin-lib my.so"),
)


def describe_parser_error(error: Any, nodes: Sequence[Node]) -> str:
    """One parser error, with the node's name, operator and line of Python, if the file records them."""
    index = int(error.node())
    node = nodes[index] if 0 <= index < len(nodes) else None
    text = " ".join(str(error.desc()).split())
    if node is None:
        return text
    where = f"node {node.name} ({node.operator})"
    if node.source:
        where += f", created by {node.source}"
    return f"{where}: {text}"


def configure(
    trt: Any, features: Generation, config: Any, options: BuildOptions, precision: str, device: Device | None
) -> None:
    """The builder configuration except profiles, compute capabilities and timing cache."""
    flag = trt.BuilderFlag
    workspace = options.workspace or (device.free if device else None)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # required by the precision report
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    kind = precision_named(precision)
    tf32 = kind != FP32 if options.tf32 is None else options.tf32
    (config.set_flag if tf32 else config.clear_flag)(flag.TF32)
    if not features.strongly_typed and kind.reduced:
        config.set_flag(flag.FP16)  # with int8, for what is not quantized
        if kind.form == "qdq":
            config.set_flag(flag.INT8)
    if features.sharing_preview:
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if options.version_compatible:
        config.set_flag(flag.VERSION_COMPATIBLE)
    if options.hardware_compatible == "ampere+":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    elif options.hardware_compatible == "same-cc":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    if options.strip_weights:
        config.set_flag(flag.STRIP_PLAN)
    if options.refittable:
        config.set_flag(flag.REFIT)
    elif options.strip_weights:
        config.set_flag(flag.REFIT_IDENTICAL)
    if options.tactic_sources is not None:
        sources = {1 << int(trt.TacticSource.__members__[name.upper()]) for name in options.tactic_sources}
        config.set_tactic_sources(sum(sources))


def set_capabilities(trt: Any, config: Any, capabilities: Sequence[str]) -> None:
    """Set the compute capabilities of the engine, unless it is for the local GPU."""
    if not capabilities:
        return
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        member = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}", None)
        if member is None or not config.set_compute_capability(member, index):
            raise BuildError(
                f"This version does not support compute capability {capability}.",
                hint="Remove it from --compute-capability.",
            )


def add_profiles(builder: Any, network: Any, config: Any, message: BuildMessage) -> list[Profile]:
    """Add the profiles of the spec; a network without dynamic axes needs none."""
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in tensors}
    profiles = fit_profiles(message.spec, shapes)
    if not any(size < 0 for shape in shapes.values() for size in shape) and not any(
        tensor.is_shape_tensor for tensor in tensors
    ):
        return profiles[:1]
    for tensor in tensors:
        if tensor.is_shape_tensor:
            raise BuildError(
                f"Input {tensor.name!r} is a shape tensor, which adaptrt does not support.",
                hint="Make that size a constant of the model, or part of an input's shape.",
            )
    for profile in profiles:
        made = builder.create_optimization_profile()
        for name in profile.shapes:
            low, opt, high = profile.sizes(name)
            made.set_shape(name, low, opt, high)
        if config.add_optimization_profile(made) < 0:
            raise BuildError(f"TensorRT rejects {profile}.", hint="Check min, opt and max of each axis.")
    return profiles


def keep_float32(trt: Any, network: Any, config: Any, names: Sequence[str]) -> int:
    """Constrain the layers of these ONNX nodes to float32 (weak typing only); returns the number of layers."""
    wanted = set(names)
    count = 0
    for index in range(network.num_layers if wanted else 0):
        layer = network.get_layer(index)
        if layer_node(layer) not in wanted or layer.type.name in _UNCONSTRAINED:
            continue
        outputs = [layer.get_output(number) for number in range(layer.num_outputs)]
        if not outputs or any(output is None or output.dtype != trt.DataType.FLOAT for output in outputs):
            continue  # indices and shapes
        layer.precision = trt.DataType.FLOAT
        for number in range(layer.num_outputs):
            layer.set_output_type(number, trt.DataType.FLOAT)
        count += 1
    if count:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    return count


def prefer_constraints(trt: Any, network: Any, config: Any, errors: Sequence[str]) -> bool:
    """Make precision constraints preferences, if they may be why a build failed.

    With them, TensorRT 8.6 rejects every candidate for an int8 layer that also computes in float (a convolution with a
    float addend), whatever layers are constrained; and it may find no implementation of a fused part in which some layers
    are constrained and others are not, because types of outputs are never a preference: then they are left to it.
    """
    if not any(reason in error for error in errors for reason in _UNMET_CONSTRAINTS):
        return False
    if any(_NO_IMPLEMENTATION in error for error in errors):
        for layer in (network.get_layer(index) for index in range(network.num_layers)):
            for number in range(layer.num_outputs):
                layer.reset_output_type(number)
    config.clear_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
    return True


def inspect_plan(trt: Any, logger: Any, plan: Any, message: BuildMessage, profiles: Sequence[Profile]) -> Inspection:
    """Inspect the engine that was built."""
    runtime = trt.Runtime(logger)
    if message.options.version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError("TensorRT cannot load the engine that it built.", hint="See the messages above.")
    return inspect_engine(trt, engine, profiles)


def _call(target: str, network: Any, config: Any, argument: str | None) -> None:
    module, _, function = target.partition(":")
    getattr(importlib.import_module(module), function)(network, config, argument)
