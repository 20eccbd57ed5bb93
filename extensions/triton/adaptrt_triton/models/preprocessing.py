"""Preprocessing of an ensemble in Triton's Python backend: image files to the inputs of the network, as ``adaptrt predict`` does.

Requires adaptrt with OpenCV in the Python of Triton: pip install 'adaptrt[onnx]'
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from adaptrt import AdaptrtError, ModelSpec, Processing
from adaptrt.vision.images import decode_image


class TritonPythonModel:
    """Inputs: ``image``, the contents of image files. Outputs: those of the network, and ``meta``, the position of each image in them."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.processing = Processing(ModelSpec.from_json((folder / "spec.json").read_bytes()))
        config = json.loads(args["model_config"])
        self.types = {output["name"]: output["data_type"] for output in config["output"]}

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().ravel()
        channels = self.processing.spec.image_channels
        try:
            found = [self.processing.preprocess(decode_image(bytes(image), channels)) for image in images]
        except AdaptrtError as error:
            return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(error.message))
        tensors = []
        for name in found[0][0]:
            dtype = pb_utils.triton_string_to_numpy(self.types[name])
            array = np.concatenate([inputs[name] for inputs, _ in found])
            tensors.append(pb_utils.Tensor(name, np.ascontiguousarray(array, dtype)))
        metas = [[*meta.original_size, *meta.input_size, *meta.scale, *meta.offset] for _, meta in found]
        tensors.append(pb_utils.Tensor("meta", np.array(metas, np.float64)))
        return pb_utils.InferenceResponse(output_tensors=tensors)
