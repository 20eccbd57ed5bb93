"""Why a model is not deterministic: random numbers, or state that its forward modifies."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from adaptrt.export.state import changed, fingerprint, written_parts


def why_unrepeatable(model: nn.Module, run: Callable[[], Any]) -> str:
    """Why two runs with the same inputs differ, as a clause that follows "the model"."""
    parts = random_modules(model, run)
    if parts:
        return f"draws random numbers in {', '.join(parts[:3])}"
    before = fingerprint(model)
    run()
    written = written_parts(changed(before, fingerprint(model)))
    if written:
        return f"reads state that its forward modifies: {', '.join(written[:3])}"
    return "depends on something other than its inputs and its own state, such as a global variable, the time or a file"


def random_modules(model: nn.Module, run: Callable[[], Any]) -> list[str]:
    """The innermost modules in which random numbers of torch, numpy or Python are drawn during ``run``."""
    found: list[str] = []
    started: dict[nn.Module, tuple[int, int]] = {}
    removals = []

    def before(module: nn.Module, _: Any) -> None:
        started[module] = (random_state(), len(found))

    def after(module: nn.Module, *_: Any) -> None:
        state, count = started.pop(module, (None, 0))
        if state is not None and state != random_state() and len(found) == count:
            found.append(names[module])

    names = {
        module: f"module `{path}` ({type(module).__name__})" if path else f"the forward of {type(module).__name__}"
        for path, module in model.named_modules()
    }
    for module in names:
        if not isinstance(module, torch.jit.ScriptModule):
            removals += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    state = random_state()
    try:
        run()
    finally:
        for removal in removals:
            removal.remove()
    if not found and state != random_state():
        found.append(f"the forward of {type(model).__name__}")
    return list(dict.fromkeys(found))


def random_state() -> int:
    """A number that changes when torch, numpy or Python draws random numbers."""
    words = torch.get_rng_state().numpy().tobytes()
    _, keys, position, *_ = np.random.get_state()
    return hash((zlib.crc32(words), zlib.crc32(np.asarray(keys).tobytes()), position, random.getstate()))
