"""Default hooks for images: preprocessing, postprocessing and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptrt.contributions import Metric
from adaptrt.hookspecs import hookimpl
from adaptrt.predictions import ImageMeta, Predictions
from adaptrt.specs import ModelSpec, Precision, task_named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@hookimpl(trylast=True)
def preprocess(image: NDArray[np.uint8], spec: ModelSpec) -> tuple[dict[str, NDArray[Any]], ImageMeta]:
    from adaptrt.vision.transforms import transform_batch

    arrays, metas = transform_batch([image], spec)
    return dict(arrays), metas[0]


@hookimpl(trylast=True)
def postprocess(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec
) -> Sequence[Predictions]:
    from adaptrt.vision.decoders.decode import decode

    return decode(outputs, metas, spec)


@hookimpl(trylast=True)
def metrics(spec: ModelSpec, precision: Precision) -> list[Metric]:
    return task_named(spec.task).metrics(spec, precision)
