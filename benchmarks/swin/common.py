"""Shared by the Swin benchmarks: models with perturbed weights, conversions, result files that are extended model by model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.results import FOLDER, machine


def perturbed(name: str, folder: Path, seed: int = 0) -> Path:
    """Weights of a model of timm, moved away from their initialization, where outputs hardly depend on the input.

    Statistics of BatchNorm are then measured anew, on images: with others, values grow from layer to layer.
    """
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = timm.create_model(name)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape)
            if "bias_table" in key:
                value.add_(noise)
            elif value.ndim > 1:
                value.add_(noise * value.std().clamp_min(0.01))
            else:
                value.add_(noise * 0.1)
    settle(model)
    path = folder / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


def settle(model: Any) -> None:
    """Give each BatchNorm the statistics of what arrives there."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    height, width = model.pretrained_cfg["input_size"][-2:]
    with torch.no_grad():
        model(torch.from_numpy(image_batch((height, width), 8, seed=1)))


def image_batch(size: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    """Noise with the spectrum of photographs, normalized: float32 [count, 3, h, w]."""
    from adaptrt.vision.examples import image_noise

    rng = np.random.default_rng(seed)
    images = np.stack([image_noise(rng, size) for _ in range(count)]).astype(np.float32)
    mean, std = np.array([123.7, 116.3, 103.5], np.float32), np.array([58.4, 57.1, 57.4], np.float32)
    return np.ascontiguousarray(((images - mean) / std).transpose(0, 3, 1, 2))


def session(path: Path) -> Any:
    """ONNX Runtime on one thread: threads of a busy machine wait for each other."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def each_alone(module: str, names: list[str], result: str, packages: tuple[str, ...], *extra: str) -> None:
    """Measures each model in a separate process, and adds the last line that it prints to ``results/<result>.json``."""
    path = FOLDER / f"{result}.json"
    for name in names:
        print(f"{name} ...", flush=True)
        done = subprocess.run([sys.executable, "-m", module, "--one", name, *extra], stdout=subprocess.PIPE, text=True)
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            print(f"  failed ({done.returncode})", flush=True)
            continue
        kept = json.loads(path.read_text()) if path.is_file() else {"models": {}}
        kept["models"][name] = json.loads(lines[-1])
        kept["machine"] = machine(*packages)
        path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        print(f"  {lines[-1]}", flush=True)
