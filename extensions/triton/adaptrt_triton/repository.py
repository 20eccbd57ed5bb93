"""Writes a model repository."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

from adaptrt import UsageError
from adaptrt.specs.packagers import Package, PackageRequest
from adaptrt_triton.check import can_check, parse_config
from adaptrt_triton.configs import (
    Network,
    ensemble_config,
    network_config,
    network_of,
    postprocessing_config,
    preprocessing_config,
)
from adaptrt_triton.options import TritonOptions
from adaptrt_triton.tensors import Batching, batching_of
from adaptrt_triton.text_format import Value, text_of

MODELS = Path(__file__).parent / "models"
_RUNS = {
    "onnxruntime": ("onnxruntime",),
    "tensorrt": ("tensorrt",),
}  # adaptrt's backends whose files a Triton backend runs


def write_repository(request: PackageRequest, folder: Path) -> Package:
    """The network, and with ``ensemble`` the models around it. Without it, the network has the name of the model."""
    options = request.options
    assert isinstance(options, TritonOptions)
    chosen = options.network_backend or ("onnxruntime" if request.backend == "onnxruntime" else "tensorrt")
    _require_runnable(request, options, chosen)
    batching = batching_of(request.spec)
    notes = _notes(request, options, chosen, batching)
    if not options.ensemble:
        _write_network(request, options, chosen, batching, folder / request.name)
    else:
        if request.spec.image is None:
            raise UsageError("An ensemble needs a model with an image input.", hint="Omit --ensemble.")
        if not batching.largest and request.spec.inputs[0].dims[0].max > 1:
            size = request.spec.inputs[0].dims[0].max
            raise UsageError(
                f"An ensemble needs a dynamic batch; the model has a fixed batch of {size}.",
                hint=f"Convert it with --batch 1:{size}.",
            )
        _write_ensemble(request, options, chosen, batching, folder)
    files = tuple(sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()))
    if can_check():
        for path in files:
            if path.name == "config.pbtxt":
                parse_config((folder / path).read_text(encoding="utf-8"), str(path))
    else:
        notes.append(
            "the configurations were not checked: tritonclient is missing (pip install 'adaptrt-triton[check]')"
        )
    return Package(files=files, notes=tuple(notes))


def _require_runnable(request: PackageRequest, options: TritonOptions, chosen: str) -> None:
    if request.backend not in _RUNS.get(chosen, (request.backend,)):
        raise UsageError(
            f"Triton's {chosen} backend does not run {request.model.name}.",
            hint="Use --network-backend python, or package "
            + ("an engine." if chosen == "tensorrt" else "the ONNX file."),
        )
    if options.tensorrt and request.built_with and not _same_version(options.tensorrt, request.built_with):
        raise UsageError(
            f"{request.model.name} was built with TensorRT {request.built_with}; the server has {options.tensorrt}.",
            hint="Build the engine with the server's version, or choose a release of Triton with that version.",
        )


def _same_version(wanted: str, built: str) -> bool:
    parts = wanted.split(".")
    return built.split(".")[: len(parts)] == parts


def _notes(request: PackageRequest, options: TritonOptions, chosen: str, batching: Batching) -> list[str]:
    notes = []
    if chosen == "tensorrt" and not options.tensorrt:
        version = f"TensorRT {request.built_with}" if request.built_with else "the same version of TensorRT"
        notes.append(f"Triton must contain {version}: check it with --tensorrt VERSION")
    if options.ensemble and request.spec.adapter:
        notes.append(
            f"adapter {request.spec.adapter!r} takes part in pre- or postprocessing: the Python of Triton needs its distribution too"
        )
    if not batching.largest:
        notes.append(
            "the batch is fixed, so Triton does not join requests: convert with --batch 1:16 for dynamic batching"
        )
    return notes


def _write_network(
    request: PackageRequest, options: TritonOptions, chosen: str, batching: Batching, folder: Path
) -> None:
    suffix = "".join(request.model.suffixes[-1:])
    network = network_of(chosen, suffix)
    model_file = network.file if chosen != "python" else _model_name(request)
    config = network_config(request, options, network, batching, folder.name, model_file)
    _write(folder, config)
    _copy_model(request, network, folder / "1", model_file)
    if request.spec.labels:
        lines = "".join(" ".join(label.splitlines()) + "\n" for label in request.spec.labels)
        (folder / "labels.txt").write_text(lines, encoding="utf-8")
    warmup = folder / "warmup"
    warmup.mkdir()
    for name, array in request.sample.items():
        (warmup / name).write_bytes(array.tobytes())


def _model_name(request: PackageRequest) -> str:
    """The file for adaptrt: ``model`` with every suffix that its backend needs (``.rtx.engine``)."""
    return f"model.{request.model.name.partition('.')[2]}"


def _copy_model(request: PackageRequest, network: Network, folder: Path, model_file: str) -> None:
    shutil.copyfile(request.model, folder / model_file)
    stem = request.model.name.partition(".")[0]
    is_onnx = request.model.suffix.lower() == ".onnx"
    for path in request.files[1:]:
        manifest = path.name == f"{request.model.name}.json"
        if manifest and network.backend != "python":
            continue
        # in an ONNX file the names of its weights are fixed; other files belong to the model that is named alike
        alike = not is_onnx and path.name.startswith(f"{stem}.")
        shutil.copyfile(path, folder / (f"model{path.name[len(stem) :]}" if alike else path.name))
    if network.backend == "python":
        shutil.copyfile(MODELS / "network.py", folder / "model.py")


def _write_ensemble(
    request: PackageRequest, options: TritonOptions, chosen: str, batching: Batching, folder: Path
) -> None:
    name = request.name
    before, network, after = steps = (f"{name}_preprocessing", f"{name}_network", f"{name}_postprocessing")
    _write(folder / name, ensemble_config(request.spec, batching, name, steps))
    _write_network(request, options, chosen, batching, folder / network)
    _write(folder / before, preprocessing_config(request, options, batching, before))
    _write(folder / after, postprocessing_config(request, options, batching, after))
    for step, program in ((before, "preprocessing.py"), (after, "postprocessing.py")):
        shutil.copyfile(MODELS / program, folder / step / "1" / "model.py")
        (folder / step / "1" / "spec.json").write_text(request.spec.to_json(), encoding="utf-8")
    if request.image is not None:
        warmup = folder / before / "warmup"
        warmup.mkdir()
        # Triton's form of a string: its length in four bytes, then the bytes
        (warmup / "image").write_bytes(struct.pack("<I", len(request.image)) + request.image)


def _write(folder: Path, config: Mapping[str, Value]) -> None:
    """``config.pbtxt``, and the folder of version 1, which Triton requires of an ensemble too."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(text_of(config), encoding="utf-8")
