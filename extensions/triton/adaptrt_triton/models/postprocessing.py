"""Postprocessing of an ensemble in Triton's Python backend: outputs of the network to predictions, as ``adaptrt predict --json``.

Requires adaptrt with OpenCV in the Python of Triton: pip install 'adaptrt[onnx]'
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from adaptrt import AdaptrtError, ImageMeta, ModelSpec, Processing
from adaptrt.specs import task_named


class TritonPythonModel:
    """Inputs: the outputs of the network, and ``meta``. Outputs: ``prediction``, JSON text for each image."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.processing = Processing(ModelSpec.from_json((folder / "spec.json").read_bytes()))
        self.batched = json.loads(args["model_config"])["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        spec = self.processing.spec
        outputs = {one.name: pb_utils.get_input_tensor_by_name(request, one.name).as_numpy() for one in spec.outputs}
        metas = [_meta_of(row) for row in pb_utils.get_input_tensor_by_name(request, "meta").as_numpy()]
        task = task_named(spec.task)
        try:
            found = self.processing.postprocess(outputs, metas)
        except AdaptrtError as error:
            return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(error.message))
        rows = [
            {"height": meta.original_size[0], "width": meta.original_size[1], **task.row(prediction)}
            for meta, prediction in zip(metas, found, strict=True)
        ]
        texts = np.array([json.dumps(row).encode() for row in rows], object)
        tensor = pb_utils.Tensor("prediction", texts.reshape(-1, 1) if self.batched else texts)
        return pb_utils.InferenceResponse(output_tensors=[tensor])


def _meta_of(row: Any) -> ImageMeta:
    return ImageMeta(
        original_size=(int(row[0]), int(row[1])),
        input_size=(int(row[2]), int(row[3])),
        scale=(float(row[4]), float(row[5])),
        offset=(float(row[6]), float(row[7])),
    )
