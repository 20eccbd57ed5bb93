"""What a build is made from: the spec of an ONNX file without one, its hash, and the command that builds it again."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path

from adaptrt.errors import ShapeError, UsageError, did_you_mean
from adaptrt.request import ShapeRequest
from adaptrt.specs import BuildOptions, Dim, InputSpec, ModelSpec, OutputSpec, Precision, Shape, format_shape
from adaptrt.trt.onnx_file import OnnxFile, Tensor, external_files, read_onnx
from adaptrt.trt.source_files import SourceFiles


def spec_of_graph(file: OnnxFile, shapes: ShapeRequest | None = None) -> ModelSpec:
    """A spec for a file without one; axes that are dynamic in the graph have to be given.

    A batch or picture size that is asked for is that of the first input, also where the graph has another one: whoever
    holds the spec against the graph then says so.
    """
    shapes = shapes or ShapeRequest()
    unknown = [name for name in shapes.shapes if name not in [tensor.name for tensor in file.inputs]]
    if unknown:
        raise ShapeError(
            f"The graph has no input {unknown[0]!r}.",
            hint=did_you_mean(unknown[0], [tensor.name for tensor in file.inputs]),
        )
    inputs = tuple(
        InputSpec(
            tensor.name, shapes.shapes.get(tensor.name) or (_shape_of(tensor, shapes, first=not index),), tensor.dtype
        )
        for index, tensor in enumerate(file.inputs)
    )
    outputs = tuple(
        OutputSpec(tensor.name, tuple(size if size is not None else "?" for size in tensor.shape), tensor.dtype)
        for tensor in file.outputs
    )
    return ModelSpec(inputs, outputs)


def _shape_of(tensor: Tensor, shapes: ShapeRequest, *, first: bool) -> Shape:
    axes: list[Dim] = []
    for axis, size in enumerate(tensor.shape):
        asked = shapes.batch if axis == 0 else None
        if axis >= 2 and len(tensor.shape) == 4 and shapes.imgsz:
            asked = Dim.fixed(shapes.imgsz[axis - 2])
        if asked is not None and (first or not isinstance(size, int)):
            axes.append(asked)
        elif isinstance(size, int):
            axes.append(Dim.fixed(size))
        else:
            example = "x".join("1..16" if not isinstance(known, int) else str(known) for known in tensor.shape)
            raise ShapeError(
                f"Input {tensor.name!r} has dynamic axes ({_axes(tensor.shape)}), and the file says nothing about their sizes.",
                hint=f"Give them: --shape {tensor.name}={example}",
            )
    return tuple(axes)


def rebuild_command(
    onnx: str, spec: ModelSpec, precision: Precision, keep_fp32: tuple[str, ...], options: BuildOptions
) -> str:
    """``adaptrt build ...`` that makes the same engine from the same ONNX file."""
    parts = ["adaptrt", "build", onnx]
    for tensor in spec.inputs:
        for shape in tensor.profiles:
            plain = tuple(replace(dim, name=None) for dim in shape)
            parts += ["--shape", f"{tensor.name}={format_shape(plain)}"]
    if precision != "fp32":
        parts += ["--precision", precision]
    for pattern in keep_fp32:
        parts += ["--keep-fp32", pattern]
    if options.workspace is not None:
        parts += ["--workspace", f"{max(1, options.workspace >> 20)}M"]
    if options.optimization_level is not None:
        parts += ["--opt-level", str(options.optimization_level)]
    if options.tf32 is not None:
        parts.append("--tf32" if options.tf32 else "--no-tf32")
    if options.version_compatible:
        parts.append("--version-compatible")
    if options.hardware_compatible != "none":
        parts += ["--hardware-compatible", options.hardware_compatible]
    if options.strip_weights:
        parts.append("--strip-weights")
    if options.refittable:
        parts.append("--refittable")
    for library in options.plugin_libs:
        parts += ["--plugin-lib", library]
    if options.tactic_sources is not None:
        parts += ["--tactic-sources", ",".join(options.tactic_sources)]
    return shlex.join(parts)


def onnx_sha256(path: Path, sources: SourceFiles | None = None) -> str:
    """The hash of an ONNX file; where it keeps weights in other files, of all of them together.

    ``sources`` remembers what was hashed.
    """
    sources = sources or SourceFiles()
    content = sources.content(path)
    others = external_files(path, read_onnx(path))
    if not others:
        return content
    digest = hashlib.sha256(bytes.fromhex(content))
    for file in others:
        if not file.is_file():
            raise UsageError(f"{path.name} keeps weights in {file.name}, which is not there.", hint="Copy both files.")
        digest.update(bytes.fromhex(sources.content(file)))
    return digest.hexdigest()


def _axes(shape: tuple[int | str | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
