"""Preprocessing inside the graph: prepended to the verified graphs, then compared with preprocessing in NumPy.

The reference stays the untouched model: links 0 to 3 compare the network as it is. From then on samples are pixels, and the
reference is asked for the values that the graph computes from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.backends.choice import targets_of
from adaptrt.errors import UsageError
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Artifact
from adaptrt.report import Check
from adaptrt.specs import InputSpec, ModelSpec, Shape

if TYPE_CHECKING:
    from adaptrt.pipeline.job import Job
    from adaptrt.pipeline.verification.samples import Sample
    from adaptrt.plugins.facade import Hooks
    from adaptrt.request import Request
    from adaptrt.specs import ImageTransform

_OPTION = "--embed-preprocess"


def require_embeddable(request: Request, hooks: Hooks, spec: ModelSpec) -> None:
    """Reject ``--embed-preprocess`` for a model whose preprocessing is not a function of single pixels, before it is exported."""
    if not request.embed_preprocess:
        return
    if spec.image is None:
        raise UsageError(f"{_OPTION}: the model has no image input.", hint=f"Omit {_OPTION}.")
    if spec.input(spec.image.input).dtype != "float32":
        raise UsageError(
            f"{_OPTION}: input {spec.image.input!r} is {spec.input(spec.image.input).dtype}, not float32.",
            hint=f"Omit {_OPTION}.",
        )
    if not hooks.only_core("preprocess"):
        raise UsageError(
            f"{_OPTION}: a plugin preprocesses the images of this model, which a graph cannot repeat.",
            hint=f"Omit {_OPTION}, or the plugin that implements the hook preprocess.",
        )
    _pad_pixel(spec.image)


def embedded_spec(spec: ModelSpec) -> ModelSpec:
    """The spec of the graph that normalizes images itself: its image input is uint8 [N, h, w, C]."""
    assert spec.image is not None
    image = replace(spec.image, embedded=True, pad=_pad_pixel(spec.image))
    inputs = tuple(_as_pixels(one) if one.name == image.input else one for one in spec.inputs)
    return replace(spec, image=image, inputs=inputs)


def network_spec(spec: ModelSpec) -> ModelSpec:
    """The spec of the network inside a graph with embedded preprocessing; others as they are."""
    if spec.image is None or not spec.image.embedded:
        return spec
    image = replace(spec.image, embedded=False)
    inputs = tuple(_as_values(one) if one.name == image.input else one for one in spec.inputs)
    return replace(spec, image=image, inputs=inputs)


@dataclass(kw_only=True)
class EmbeddedPreprocessing:
    """The stage of a conversion that prepends preprocessing."""

    job: Job
    raw: ModelSpec

    def embed(self, float32: Artifact, reduced: Artifact) -> tuple[Artifact, Artifact, ModelSpec]:
        """Both graphs with preprocessing, and their spec. The samples of the job are pixels from then on."""
        from adaptrt.graph.lint import check_graph
        from adaptrt.graph.model_file import count_operators, graph_of

        spec = embedded_spec(self.raw)
        with self.job.timed("preprocessing"):
            begun = self.write(float32, spec, "onnx", ".onnx")
            smaller = begun
            if reduced is not float32:
                smaller = self.write(reduced, spec, "reduced", f".{self.job.precision.name}.onnx")
            graph = graph_of(begun.path, self.job.onnx)
            self.job.report.operators["final"] = count_operators(graph)
            for target in targets_of(self.job.request):
                self.job.add_findings(check_graph(graph, spec, target))
            assert spec.image is not None
            height, width = spec.image_size
            self.job.report.notes.append(
                f"Preprocessing in the graph: {spec.image.input} is uint8 [N, {height}, {width}, {spec.image_channels}], "
                f"{'RGB' if spec.image_channels == 3 else 'the channels of the image'}; resizing and padding are done before."
            )
            self.job.samples[:] = [self.as_pixels(sample, spec) for sample in self.job.samples]
            self.job.held_rows = [self.as_pixels(sample, spec) for sample in self.job.held_rows]
        self.job.report.spec = spec
        self.compare(spec)
        return begun, smaller, spec

    def write(self, artifact: Artifact, spec: ModelSpec, kind: str, suffix: str) -> Artifact:
        import onnx_ir

        from adaptrt.graph.model_file import graph_of
        from adaptrt.graph.preprocessing import embed_preprocessing

        path = self.job.workdir / f"{artifact.path.stem}.embedded.onnx"
        model = onnx_ir.to_proto(graph_of(artifact.path, self.job.onnx))
        embed_preprocessing(model, path, spec)
        self.job.onnx.hold(path, onnx_ir.from_proto(model))
        if self.job.writes_onnx:
            self.job.add_file(kind, path, suffix)
        return replace(artifact, path=path)

    def as_pixels(self, sample: Sample, spec: ModelSpec) -> Sample:
        """A sample whose image is the nearest pixels; the reference runs again if these are other values."""
        from adaptrt.vision.transforms import normalize_pixels, pixels_of

        assert spec.image is not None
        name, values = spec.image.input, sample.inputs[spec.image.input]
        pixels = pixels_of(values, spec.image)
        normalized = normalize_pixels(pixels, spec.image)
        changed = not np.array_equal(normalized, values)
        found = replace(sample, inputs={**sample.inputs, name: pixels}, normalized={**sample.inputs, name: normalized})
        if not changed or not sample.reference:
            return found
        assert sample.again is not None
        return replace(found, reference=sample.again(found.given))

    def compare(self, spec: ModelSpec) -> None:
        """Part of link 2: the added nodes and NumPy give the same values for every pixel value."""
        if self.job.request.verify == "none":
            return
        import onnxruntime

        from adaptrt.graph.preprocessing import preprocessing_alone
        from adaptrt.vision.transforms import normalize_pixels

        assert spec.image is not None
        with self.job.timed("preprocessing vs. numpy", verifying=True), links.guarded(self.job.report.link(2)):
            model = preprocessing_alone(spec.image, spec.image_channels).SerializeToString()
            session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            rows = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
            # another order in each channel, so that exchanged channels show
            pixels = np.concatenate([rows ^ np.uint8(37 * channel % 256) for channel in range(spec.image_channels)], 3)
            (found,) = session.run(None, {"pixels": pixels})
            same = float((found == normalize_pixels(pixels, spec.image)).mean())
            check = Check(
                name="preprocessing in the graph identical to NumPy",
                unit="share",
                value=same,
                limit=1.0,
                passed=same == 1.0,
                reason="every pixel value gives the same float32",
                samples=1,
                higher_is_better=True,
                kind="metric",
            )
        links.record_link(self.job.report.link(2), [check])


def _as_pixels(tensor: InputSpec) -> InputSpec:
    def moved(shape: Shape) -> Shape:
        batch, channels, height, width = shape
        return batch, height, width, channels

    return replace(tensor, profiles=tuple(map(moved, tensor.profiles)), dtype="uint8")


def _as_values(tensor: InputSpec) -> InputSpec:
    def moved(shape: Shape) -> Shape:
        batch, height, width, channels = shape
        return batch, channels, height, width

    return replace(tensor, profiles=tuple(map(moved, tensor.profiles)), dtype="float32")


def _pad_pixel(image: ImageTransform) -> int:
    """The pixel value whose normalized value is the padding."""
    if image.pad is not None:
        return image.pad
    if any(image.mean) and image.resize == "letterbox":
        raise UsageError(
            f"{_OPTION}: the model pads with zeros after the normalization, and no pixel value becomes zero there.",
            hint=f"Omit {_OPTION}.",
        )
    return 0
