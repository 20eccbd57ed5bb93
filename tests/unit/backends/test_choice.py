"""Which files a request asks for, and for which target."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from adaptrt.backends.choice import chosen_backends, expressions, target_for, target_of, targets_of, wants_reduced_graph
from adaptrt.backends.tensorrt.generations import default_target, generation_of
from adaptrt.errors import UsageError
from adaptrt.pipeline.output import destination_of
from adaptrt.request import Request
from adaptrt.specs.backends import BACKENDS, Expression, default_backends
from adaptrt.specs.registry import Registry


class Single:
    """A backend with a single target, which it implies."""

    name = "single"
    title = "Single"
    suffixes = (".single.engine",)
    devices = ("cpu",)
    targets = {"single": generation_of(11)}  # noqa: RUF012

    def unavailable(self, target: Any, device: int = 0) -> None:
        return None

    build = open = describe = unavailable

    def express(self, precision: Any, target: Any) -> Expression:
        return Expression()


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Single:
    found, own = Single(), BACKENDS.names()
    found.targets = {"single": dataclasses.replace(generation_of(11), name="single", title="Single 1")}
    monkeypatch.setattr(Registry, "names", lambda self: [*own, "single"] if self is BACKENDS else [])
    monkeypatch.setitem(BACKENDS._found, "single", found)
    return found


def asked(*to: str, **options: Any) -> Request:
    return Request("best.pt", "tiny", to=to, **options)


def names(request: Request) -> list[tuple[str, str]]:
    return [(one.backend.name, one.suffix) for one in chosen_backends(request)]


def test_by_default_an_onnx_file_and_an_engine() -> None:
    assert names(asked()) == [("onnxruntime", ".onnx"), ("tensorrt", ".engine")]
    assert not any(one.asked for one in chosen_backends(asked()))


def test_backends_say_whether_they_are_a_default(single: Single) -> None:
    assert [one.name for one in default_backends()] == ["onnxruntime", "tensorrt"]
    single.by_default = True  # type: ignore[attr-defined]
    assert single not in default_backends()  # core alone decides what is written unasked


def test_to_chooses() -> None:
    assert names(asked("engine")) == [("tensorrt", ".engine")]
    assert names(asked("plan", "tensorrt", "onnx")) == [("tensorrt", ".plan"), ("onnxruntime", ".onnx")]
    assert all(one.asked for one in chosen_backends(asked("onnx", "engine")))


def test_the_output_names_the_file_of_its_backend(single: Single) -> None:
    assert names(asked(output=Path("out/a.trt"))) == [("onnxruntime", ".onnx"), ("tensorrt", ".trt")]
    assert destination_of(asked(output=Path("out/a.trt"))).path(".engine.json") == Path("out/a.trt.json")
    assert destination_of(asked("plan")).path(".engine") == Path("best.plan")
    assert names(asked(output=Path("a.single.engine"))) == [("onnxruntime", ".onnx"), ("single", ".single.engine")]
    assert destination_of(asked(output=Path("a.single.engine"))).path(".onnx") == Path("a.onnx")


def test_a_file_named_by_the_output_is_requested() -> None:
    """Without TensorRT, such a conversion is rejected as with --to; by default, an engine is only written where it can be built."""
    assert {one.suffix: one.asked for one in chosen_backends(asked(output=Path("out/a.engine")))} == {
        ".onnx": False,
        ".engine": True,
    }
    assert not any(one.asked for one in chosen_backends(asked(output=Path("out/"))))


def test_an_output_that_is_skipped_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"-o best\.engine is a file of TensorRT, which --to onnx does not include"
    ) as caught:
        chosen_backends(asked("onnx", output=Path("best.engine")))
    assert "--to onnx,engine" in (caught.value.hint or "")


def test_the_target_is_the_one_asked_for() -> None:
    assert target_of(asked()) == default_target()
    assert target_of(asked(target="8")).name == "8"
    assert target_of(asked("onnx", target=10)).name == "10"


def test_a_single_target_is_implied(single: Single) -> None:
    assert target_of(asked("onnx", "single")).name == "single"
    assert target_of(asked("single", target="single")).name == "single"


@pytest.mark.parametrize(
    ("to", "target", "message"),
    [
        (("single",), "10", "--target 10 and --to single.engine conflict: Single supports single"),
        (("engine",), "single", "--target single and --to engine conflict: TensorRT supports 10, 11, 8"),
    ],
)
def test_conflicts_are_refused(single: Single, to: tuple[str, ...], target: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        target_of(asked(*to, target=target))


def test_backends_that_read_one_graph_are_combined(single: Single) -> None:
    (own,) = single.targets.values()
    request = asked("onnx", "engine", "single", target="8", precision="fp16")
    assert target_of(request).name == "8"
    assert target_for(BACKENDS.find("tensorrt"), target_of(request)).name == "8"
    assert target_for(BACKENDS.find("single"), target_of(request)) is own
    assert target_for(BACKENDS.find("onnxruntime"), target_of(request)).name == "8"
    assert [target.name for target in targets_of(request)] == ["8", "single"]
    assert set(expressions(request)) == {"tensorrt", "single"}
    assert target_of(asked("single", "engine")).name == "single"
    assert target_of(asked("engine", "single", target="single")).name == "single"
    older = dataclasses.replace(own, newest_opset=15)
    single.targets = {"single": older}
    assert target_of(asked("engine", "single")) is older


def test_backends_that_read_no_graph_in_common_are_refused(single: Single) -> None:
    (own,) = single.targets.values()
    single.targets = {"single": dataclasses.replace(own, newest_opset=99, exporter="dynamo")}
    with pytest.raises(UsageError, match="--to engine and --to single.engine require graphs for different targets"):
        target_of(asked("engine", "single"))


def test_who_decides_about_the_graph() -> None:
    assert wants_reduced_graph(asked(precision="fp16", target="10"))
    assert not wants_reduced_graph(asked(precision="fp16", target="8"))
    assert wants_reduced_graph(asked("onnx", precision="fp16", target="8"))
    assert not wants_reduced_graph(asked(precision="int8", target="10"))
    assert set(expressions(asked())) == {"tensorrt"}
    assert set(expressions(asked("onnx"))) == {"onnxruntime"}
