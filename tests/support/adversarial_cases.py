"""Adversarial cases: models built to be converted wrongly, each with a correct sibling.

A case is one entry of ``CASES`` in ``tests/adversarial/cases_<subject>.py``; ``test_cases.py`` runs all of them, and the
page ``docs/explanation/verification.md`` lists them. The wrong model must never be called verified: either its conversion
ends with ``error``, or its verdict lacks ``missing``. The sibling, ``right``, must be verified.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    import torch
    from torch import nn

    from adaptrt import Report

FOLDER = Path(__file__).parents[1] / "adversarial"
EXTENSION = "adversarial_fault"

Build = Callable[[], "nn.Module"]
Fault = Callable[["onnx.ModelProto"], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to convert a model wrongly.

    - ``name``: a slug; ``what``: what goes wrong, one line for the page
    - ``wrong``, ``right``: the module, or a function that returns it. Without ``right`` the sibling is ``wrong`` itself,
      converted without the ``fault`` (which a case then has)
    - ``fault``: changes the exported ONNX model in place, as a faulty exporter would
    - ``shapes``: as ``--shape``; ``options``: as ``--set``; ``request``: other keywords of ``adaptrt.convert``
    - ``error``: part of the message that ends the conversion, a regular expression; or ``missing``: part of what the
      verdict lacks. One of the two
    - ``adapter``, ``source``: another adapter than ``torch``. ``source(folder, wrong)`` writes what is converted into the
      folder and returns the source; ``wrong`` and ``right`` are then left out
    - ``everyday``: run every day, not only in the full suite
    - ``sibling``: the name of the case that has the same sibling, which is then converted once
    """

    name: str
    what: str
    wrong: Build | None = None
    right: Build | None = None
    fault: Fault | None = None
    shapes: tuple[str, ...] = ("x=1..4x6",)
    options: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    missing: str = ""
    adapter: str = "torch"
    source: Callable[[Path, bool], str] | None = None
    everyday: bool = False
    sibling: str = ""

    def __post_init__(self) -> None:
        assert bool(self.error) != bool(self.missing), f"{self.name}: give either error or missing"
        assert self.wrong or self.source, f"{self.name}: there is nothing to convert"
        assert self.right or self.fault or self.source, f"{self.name}: there is no sibling"

    def convert(self, folder: Path, *, wrong: bool) -> Report:
        """Convert the wrong model or its sibling, in this process; raises what the conversion raises."""
        import adaptrt

        source = f"{__name__}:current_model" if self.source is None else self.source(folder, wrong)
        build = self.wrong if wrong or self.right is None else self.right
        keywords = {"exporter": "torchscript", "html": False, "cache": False, **self.request}
        if self.adapter == "torch":
            keywords["shape"] = self.shapes
        with _current(build, self.fault if wrong else None):
            return adaptrt.convert(
                source, adapter=self.adapter, options=self.options, output=folder / "out.onnx", **keywords
            )


@dataclass
class _Current:
    build: Build | None = None
    fault: Fault | None = None


_now = _Current()


def current_model() -> nn.Module:
    """The source of the conversion in progress."""
    assert _now.build is not None
    return _now.build()


def inject_fault(path: Path) -> Path:
    """Apply the fault of the case in progress to an exported file: what the extension does."""
    if _now.fault is not None:
        import onnx

        model = onnx.load(str(path))
        _now.fault(model)
        onnx.save(model, str(path))
    return path


@contextmanager
def _current(build: Build | None, fault: Fault | None) -> Iterator[None]:
    _now.build, _now.fault = build, fault
    try:
        yield
    finally:
        _now.build = _now.fault = None


# the extension that is installed for these tests
EXTENSION_SOURCE = """
from adaptrt import hookimpl
from adversarial_cases import inject_fault


@hookimpl(wrapper=True)
def export_onnx():
    path = yield
    return inject_fault(path)
"""


def perturbed(model: nn.Module, seed: int = 7) -> nn.Module:
    """Seeded weights and statistics that are not those of a fresh network, so that outputs depend on inputs."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=generator)
    return model.eval()


def module(forward: Callable[..., Any], **parts: Any) -> Build:
    """A module made of a forward function that takes it first, and of its parts: modules, tensors (buffers), or values.

    ``module(lambda self, x: self.linear(x), linear=lambda: nn.Linear(6, 4))``: a part that is a function is called.
    """

    def build() -> nn.Module:
        import torch
        from torch import nn

        class Adversarial(nn.Module):
            pass

        Adversarial.forward = forward  # type: ignore[method-assign]
        made = Adversarial()
        for name, part in parts.items():
            value = part() if callable(part) and not isinstance(part, nn.Module) else part
            if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
                made.register_buffer(name, value)
            else:
                setattr(made, name, value)
        return perturbed(made) if any(True for _ in made.parameters()) else made.eval()

    return build


def scale_output(factor: float, index: int = 0) -> Fault:
    """A fault: one output multiplied by a number."""

    def fault(model: onnx.ModelProto) -> None:
        append_node(model, index, "Mul", factor)

    return fault


def append_node(model: onnx.ModelProto, index: int, operator: str, value: Any) -> None:
    """Put ``operator(output, value)`` behind an output of the graph; ``value`` is a number or an array."""
    import numpy as np
    from onnx import helper, numpy_helper

    output = model.graph.output[index]
    inner = f"{output.name}_before_fault"
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == output.name:
                node.output[place] = inner
        for place, name in enumerate(node.input):
            if name == output.name:
                node.input[place] = inner
    dtype = helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
    constant = numpy_helper.from_array(np.asarray(value, dtype), f"{output.name}_fault")
    model.graph.initializer.append(constant)
    model.graph.node.append(helper.make_node(operator, [inner, constant.name], [output.name]))


def change_initializer(model: onnx.ModelProto, change: Callable[[Any], Any], *, largest: bool = True) -> None:
    """Replace the values of the largest (or first) float initializer."""
    from onnx import numpy_helper

    arrays = [(tensor, numpy_helper.to_array(tensor)) for tensor in model.graph.initializer]
    arrays = [(tensor, array) for tensor, array in arrays if array.dtype.kind == "f"]
    tensor, array = max(arrays, key=lambda one: one[1].size) if largest else arrays[0]
    tensor.CopyFrom(numpy_helper.from_array(change(array.copy()).astype(array.dtype), tensor.name))


@cache
def all_cases() -> dict[str, tuple[Case, ...]]:
    """The cases of each subject, in the order of their files."""
    found = {}
    for path in sorted(FOLDER.glob("cases_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = loaded
        spec.loader.exec_module(loaded)
        found[path.stem.removeprefix("cases_")] = tuple(loaded.CASES)
    return found


def tensor(*values: float) -> torch.Tensor:
    """A float32 vector: short for the parts of ``module``."""
    import torch

    return torch.tensor(values)
