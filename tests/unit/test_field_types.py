"""A wrong value in a dataclass that a plugin constructs is rejected at once, with what the field takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from adaptrt import (
    DecoderSpec,
    Dim,
    FunctionPatch,
    GraphPass,
    ImageTransform,
    InputSpec,
    Metric,
    ModelSpec,
    OutputGroup,
    OutputSpec,
)

IMAGE = InputSpec.image(32, 32)


def spec(**fields: Any) -> ModelSpec:
    return ModelSpec(**{"inputs": (IMAGE,), **fields})


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (
            lambda: spec(inputs=(IMAGE)),
            "ModelSpec.inputs must be a tuple of InputSpec; got InputSpec. "
            "A tuple with one item ends with a comma: (item,).",
        ),
        (lambda: spec(inputs=("images",)), "ModelSpec.inputs must be a tuple of InputSpec; got str 'images'."),
        (lambda: spec(outputs=("logits",)), "ModelSpec.outputs must be a tuple of OutputSpec; got str 'logits'."),
        (lambda: spec(decoder="semantic"), "ModelSpec.decoder must be DecoderSpec or None; got str 'semantic'."),
        (lambda: spec(image="letterbox"), "ModelSpec.image must be ImageTransform or None; got str 'letterbox'."),
        (lambda: spec(labels="cat"), "ModelSpec.labels must be a tuple of str; got str 'cat'. A tuple with one item"),
        (lambda: spec(labels={0: "cat"}), "ModelSpec.labels must be a tuple of str; got dict."),
        (lambda: spec(labels=("cat", 2)), "ModelSpec.labels must be a tuple of str; got int 2."),
        (lambda: spec(metadata={"stride": 32}), "ModelSpec.metadata must be a dict of str to str; got int 32."),
        (lambda: DecoderSpec("yolo", [0.5]), "DecoderSpec.params must be a dict of str to Any; got list."),
        (
            lambda: OutputSpec("x", groups=OutputGroup("x", "logits")),
            "OutputSpec.groups must be a tuple of OutputGroup",
        ),
        (
            lambda: OutputGroup("x", "logit"),  # type: ignore[arg-type]
            "OutputGroup.unit must be 'pixels', 'scores', 'logits' or 'values'; got str 'logit'.",
        ),
        (lambda: ImageTransform(resize="leterbox"), "ImageTransform.resize must be 'letterbox', 'stretch', 'crop' or"),
        (lambda: ImageTransform(mean=0.5), "ImageTransform.mean must be a tuple of float; got float 0.5."),
        (lambda: InputSpec.image("32", 32), "Dim.min must be int; got str '32'."),
        (lambda: InputSpec.image(32.0, 32), "Dim.min must be int; got float 32.0."),
        (lambda: InputSpec("x", (1, 3)), "InputSpec.profiles must be a tuple of tuples of Dim; got int 1."),
        (
            lambda: InputSpec("x", (Dim.fixed(1), Dim.fixed(3))),
            "InputSpec.profiles must be a tuple of tuples of Dim; got Dim.",
        ),
        (
            lambda: GraphPass(name="x", order="late", reason="", run=print),
            "GraphPass.order must be int; got str 'late'.",
        ),
        (
            lambda: FunctionPatch(target="a:b", reason="", requires="torch", replacement=None),
            "FunctionPatch.replacement must be a function; got None.",
        ),
        (
            lambda: GraphPass(name="x", order=1, reason="", run="clean"),
            "GraphPass.run must be a function; got str 'clean'.",
        ),
        (
            lambda: Metric(name="x", task="any", reason="", compute=None),
            "Metric.compute must be a function; got None.",
        ),
        (
            lambda: Metric(name="x", task="any", reason="", compute=min, explain="why"),
            "Metric.explain must be a function or None; got str 'why'.",
        ),
        (
            lambda: Metric(name="x", task="any", reason="", compute=min, minimum="high"),
            "Metric.minimum must be float or None; got str 'high'.",
        ),
    ],
)
def test_a_field_of_the_wrong_type(construct: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as error:
        construct()
    assert str(error.value).startswith(message)


def test_lists_and_integers_pass() -> None:
    one = spec(inputs=[IMAGE], labels=["cat"], image=ImageTransform(mean=[0, 0, 0], scale=1))
    assert ModelSpec.from_json(one.to_json()).labels == ("cat",)


def test_a_type_of_a_module_that_is_gone_is_not_checked() -> None:
    """As after ``runpy.run_path``."""

    @dataclass(frozen=True, kw_only=True)
    class Own(GraphPass):
        extra: int = 1

    Own.__module__ = "gone"
    assert Own(name="x", order=1, reason="", run=print).extra == 1
