"""The network in Triton's Python backend: requests of a batch are joined, run by adaptrt, and split again.

Requires adaptrt in the Python of Triton: pip install 'adaptrt[onnx]' or 'adaptrt[trt]'
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from adaptrt.specs.backends import OpenOptions, backend_of


class TritonPythonModel:
    """Inputs and outputs are those of the model file."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        path = Path(args["model_repository"]) / args["model_version"] / config["parameters"]["file"]["string_value"]
        backend = backend_of(path)
        if backend is None:
            raise pb_utils.TritonModelException(f"no backend of adaptrt opens {path.name}")
        device = f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else None
        self.runner = backend.open(path, OpenOptions(device=device))
        self.inputs = [one["name"] for one in config["input"]]
        self.batched = config["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        arrays = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            for request in requests
        ]
        if not self.batched:
            return [_response(self.runner.run(inputs)) for inputs in arrays]
        outputs = self.runner.run({name: np.concatenate([one[name] for one in arrays]) for name in self.inputs})
        ends = np.cumsum([len(one[self.inputs[0]]) for one in arrays])
        return [
            _response({name: array[end - len(one[self.inputs[0]]) : end] for name, array in outputs.items()})
            for one, end in zip(arrays, ends, strict=True)
        ]

    def finalize(self) -> None:
        self.runner.close()


def _response(outputs: dict[str, Any]) -> Any:
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)
