"""The configurations of a repository, as messages of Triton's ``ModelConfig``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adaptrt import ModelSpec
from adaptrt.specs.packagers import PackageRequest
from adaptrt_triton.options import TritonOptions
from adaptrt_triton.tensors import Batching, data_type, inputs_of, outputs_of
from adaptrt_triton.text_format import Name, Value, entries

_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
META = 8  # numbers that describe the position of an image in the input: see models/preprocessing.py


@dataclass(frozen=True)
class Network:
    """How a Triton backend runs the network: its names, and the file in the version folder."""

    backend: str
    platform: str
    file: str


def network_of(name: str, suffix: str) -> Network:
    """``suffix`` is that of the model file."""
    if name == "tensorrt":
        return Network("tensorrt", "tensorrt_plan", "model.plan")
    if name == "onnxruntime":
        return Network("onnxruntime", "onnxruntime_onnx", f"model{suffix}")
    return Network("python", "", "model.py")


def network_config(
    request: PackageRequest, options: TritonOptions, network: Network, batching: Batching, name: str, model_file: str
) -> dict[str, Value]:
    """The network. Apart from backend, platform, model file and CUDA settings, it is the same for every backend."""
    spec = request.spec
    on_gpu = network.backend == "tensorrt" or (network.backend == "python" and bool(request.built_with))
    instances: dict[str, Value] = {
        "count": options.instances,
        "kind": Name("KIND_GPU" if on_gpu else "KIND_AUTO" if network.backend == "onnxruntime" else "KIND_CPU"),
    }
    if network.backend == "tensorrt":
        instances["profile"] = [str(index) for index in range(len(spec.inputs[0].profiles))]
    outputs = outputs_of(spec, batching)
    for output in outputs:
        if output["dims"] == [len(spec.labels)]:
            output["label_filename"] = "labels.txt"
    config: dict[str, Value] = {"name": name, "backend": network.backend}
    if network.platform:
        config["platform"] = network.platform
    config |= {
        "max_batch_size": batching.largest,
        "default_model_filename": network.file,
        "input": inputs_of(spec, batching),
        "output": outputs,
        "instance_group": [instances],
    }
    if batching.largest > 1:
        config["dynamic_batching"] = {
            "preferred_batch_size": list(batching.preferred),
            "max_queue_delay_microseconds": options.queue_delay,
        }
    if network.backend == "tensorrt":
        config["optimization"] = {"cuda": {"graphs": True, "graph_spec": graph_specs(spec, batching)}}
    config["model_warmup"] = [_warmup(request, batching, size) for size in warmup_sizes(batching)]
    parameters = {"file": model_file}
    if request.built_with:
        parameters["tensorrt_version"] = request.built_with
    config["parameters"] = entries({key: {"string_value": value} for key, value in parameters.items()})
    return config


def warmup_sizes(batching: Batching) -> tuple[int, ...]:
    return (1, *batching.preferred) if batching.largest else (1,)


def graph_specs(spec: ModelSpec, batching: Batching) -> list[Value]:
    """A CUDA graph for each batch size that is likely: 1, opt and max, at the opt size of other axes."""
    inputs = inputs_of(spec, batching, opt=True)
    shapes = entries({str(one["name"]): {"dim": one["dims"]} for one in inputs})
    sizes = warmup_sizes(batching) if batching.largest else (0,)
    return [{"batch_size": size, "input": shapes} for size in sizes]


def sample_file(spec: ModelSpec, name: str) -> str:
    """The file of an input's warmup sample. The name of an input may be any text, such as a path."""
    if _FILE_NAME.fullmatch(name):
        return name
    return f"input.{[tensor.name for tensor in spec.inputs].index(name)}"


def _warmup(request: PackageRequest, batching: Batching, size: int) -> dict[str, Value]:
    inputs: dict[str, Value] = {}
    for one in inputs_of(request.spec, batching, opt=True):
        name = str(one["name"])
        inputs[name] = {
            "data_type": one["data_type"],
            "dims": one["dims"],
            "input_data_file": sample_file(request.spec, name),
        }
    return {"name": f"batch {size}", "batch_size": size, "inputs": entries(inputs)}


def preprocessing_config(
    request: PackageRequest, options: TritonOptions, batching: Batching, name: str
) -> dict[str, Value]:
    inputs = inputs_of(request.spec, batching, opt=True)
    config = _processing(options, batching, name)
    config["input"] = [_text("image")]
    config["output"] = [*inputs, _meta(batching)]
    if request.image is not None:
        sample: Value = {"data_type": Name("TYPE_STRING"), "dims": [1], "input_data_file": "image"}
        config["model_warmup"] = [{"name": "image", "batch_size": 1, "inputs": entries({"image": sample})}]
    return config


def postprocessing_config(
    request: PackageRequest, options: TritonOptions, batching: Batching, name: str
) -> dict[str, Value]:
    config = _processing(options, batching, name)
    config["input"] = [*outputs_of(request.spec, batching), _meta(batching)]
    config["output"] = [_text("prediction")]
    return config


def ensemble_config(spec: ModelSpec, batching: Batching, name: str, steps: tuple[str, str, str]) -> dict[str, Value]:
    """``steps``: the names of preprocessing, network and postprocessing."""
    inputs = [tensor.name for tensor in spec.inputs]
    outputs = [output.name for output in spec.outputs]
    before, network, after = steps
    return {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": batching.largest,
        "input": [_text("image")],
        "output": [_text("prediction")],
        "ensemble_scheduling": {
            "step": [
                _step(before, {"image": "image"}, {**{one: f"input {one}" for one in inputs}, "meta": "meta"}),
                _step(network, {one: f"input {one}" for one in inputs}, {one: f"output {one}" for one in outputs}),
                _step(
                    after, {**{one: f"output {one}" for one in outputs}, "meta": "meta"}, {"prediction": "prediction"}
                ),
            ]
        },
    }


def _step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> Value:
    return {
        "model_name": model,
        "model_version": -1,
        "input_map": entries(dict(inputs)),
        "output_map": entries(dict(outputs)),
    }


def _processing(options: TritonOptions, batching: Batching, name: str) -> dict[str, Value]:
    return {
        "name": name,
        "backend": "python",
        "max_batch_size": batching.largest,
        "instance_group": [{"count": options.processing_instances, "kind": Name("KIND_CPU")}],
    }


def _text(name: str) -> Value:
    return {"name": name, "data_type": Name("TYPE_STRING"), "dims": [1]}


def _meta(batching: Batching) -> Value:
    return {"name": "meta", "data_type": data_type("float64"), "dims": [META] if batching.largest else [1, META]}
