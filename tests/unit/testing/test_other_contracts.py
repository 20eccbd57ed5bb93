"""The contracts of decoders, extensions and backends pass for good ones, and name what is wrong with others."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, InputSpec, ModelSpec
from adaptrt.testing import BackendContract, DecoderContract, ExtensionContract

Fake = Callable[..., Path]

PEAK = """
import numpy as np
from dataclasses import dataclass
from adaptrt import Classification, Decoder

@dataclass(frozen=True)
class Params:
    top: int = 1

def decode(outputs, metas, spec, params):
    return [Classification(row.max(keepdims=True), np.array([row.argmax()]), spec.labels) for row in outputs["scores"]]

decoder = Decoder("peak", Params, decode, task="classify")
"""


class TestBoxes(DecoderContract):
    decoder = "box_scores"

    def spec(self) -> ModelSpec:
        return ModelSpec(
            inputs=(InputSpec.image(64, 64),), task="detect", decoder=DecoderSpec("box_scores"), labels=("a", "b")
        )

    def outputs(self) -> dict[str, Any]:
        corners = np.random.default_rng(0).random((2, 20, 2), np.float32) * 40
        scores = np.random.default_rng(1).random((2, 20, 2), np.float32)
        return {"boxes": np.concatenate((corners, corners + 10), 2), "scores": scores}


class Peak(DecoderContract):
    """Of the decoder in ``PEAK``."""

    decoder = "peak"

    def spec(self) -> ModelSpec:
        return ModelSpec(
            inputs=(InputSpec.image(8, 8),), task="classify", decoder=DecoderSpec("peak"), labels=("a", "b", "c")
        )

    def outputs(self) -> dict[str, Any]:
        return {"scores": np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]], np.float32)}


def failures(contract: Any, **fixtures: Any) -> dict[str, str]:
    """The tests that fail, with their message."""
    found = {}
    for name, test in inspect.getmembers(contract, inspect.ismethod):
        if name.startswith("test_"):
            given = {key: value for key, value in fixtures.items() if key in inspect.signature(test).parameters}
            try:
                test(**given)
            except pytest.skip.Exception:
                continue
            except (Exception, pytest.fail.Exception) as error:
                found[name] = str(error)
    return found


@pytest.fixture
def peak(fake_distribution: Fake) -> Callable[[str, str], dict[str, str]]:
    """What the contract finds in the decoder with one line of it replaced."""

    def check(line: str, other: str) -> dict[str, str]:
        assert line in PEAK
        fake_distribution(
            "adaptrt-peak", {"adaptrt.decoders": {"peak": "peak:decoder"}}, modules={"peak": PEAK.replace(line, other)}
        )
        return failures(Peak())

    return check


@pytest.mark.full
def test_a_good_decoder(peak: Callable[[str, str], dict[str, str]]) -> None:
    assert peak("top: int = 1", "top: int = 2") == {}


@pytest.mark.full
@pytest.mark.parametrize(
    ("line", "other", "test", "message"),
    [
        ("(frozen=True)", "()", "test_parameters_have_defaults", "frozen"),
        ("import numpy as np\n", "import numpy as np, onnx\n", "test_importing_it_is_cheap", "imports onnx"),
        ("row.max(keepdims=True)", "row.max(keepdims=True) / len(metas)", "test_an_image_is_decoded_alone_as_in_a_batch", "in a batch"),
        ("    return [", "    outputs['scores'] *= 0.5\n    return [", "test_an_image_is_decoded_alone_as_in_a_batch", ""),
        ("    return [Class", "    from adaptrt import Values\n    return [Values({}) for _ in metas]\n    [Class", "test_predictions_belong_to_the_task", "Classification"),
        ('outputs["scores"]]', 'outputs["scores"][:1]]', "test_an_image_is_decoded_alone_as_in_a_batch", "2 images, but 1"),
    ],
)  # fmt: skip
def test_a_bad_decoder(
    peak: Callable[[str, str], dict[str, str]], line: str, other: str, test: str, message: str
) -> None:
    found = peak(line, other)
    assert test in found, found
    assert message in found[test]


def test_what_is_not_installed_is_named(fake_distribution: Fake) -> None:
    class Missing(ExtensionContract):
        extension = "missing"

    class NoBackend(BackendContract):
        backend = "missing"

    assert 'missing = "your_module"' in failures(Missing())["test_it_is_installed"]
    assert 'missing = "your_module:BACKEND"' in failures(NoBackend())["test_it_is_installed"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("source", "test", "message"),
    [
        ("@hookimpl\ndef conversion_finished(ctx, report):\n    report.notes.append('seen')\n", "", ""),
        ("import torch\n", "test_importing_it_is_cheap", "imports torch"),
        ("@hookimpl\ndef graph_passes():\n    return [GraphPass(name='own', order=50, run=lambda model: None, reason='no reason')]\n", "test_the_graph_is_unchanged", "changes_the_graph = True"),
        ("@hookimpl\ndef graph_passes():\n    return 5\n", "test_conversions_with_it_are_verified", "graph_passes"),
    ],
    ids=["good", "import", "graph", "hook"],
)  # fmt: skip
def test_extensions(
    fake_distribution: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    source: str, test: str, message: str,
) -> None:  # fmt: skip
    pytest.importorskip("torch", reason="a conversion needs torch")

    class Watch(ExtensionContract):
        extension = "watch"

    header = "from adaptrt import GraphPass, hookimpl\n"
    modules = {"extension_watch": header + source}
    fake_distribution("adaptrt-watch", {"adaptrt.extensions": {"watch": "extension_watch"}}, modules=modules)
    monkeypatch.chdir(tmp_path)
    found = failures(Watch(), fake_distribution=fake_distribution, tmp_path=tmp_path, monkeypatch=monkeypatch)
    assert (test in found) if test else not found, found
    assert message in found.get(test, "")


@pytest.mark.full
@pytest.mark.parametrize("shift", [0.0, 0.5], ids=["good", "wrong"])
def test_backends(fake_distribution: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    pytest.importorskip("torch", reason="a conversion needs torch")
    from adaptrt.errors import VerificationError

    class Copies(BackendContract):
        backend = "copying"

    fake_distribution("adaptrt-copying", {"adaptrt.backends": {"copying": "copying_backend:BACKEND"}})
    monkeypatch.chdir(tmp_path)
    backend = sys.modules.get("copying_backend") or __import__("copying_backend")
    monkeypatch.setattr(backend.BACKEND, "shift", shift)
    report = inspect.unwrap(Copies.report)
    own = Copies()
    if shift:
        with pytest.raises(VerificationError, match="Link 4"):
            report(own, fake_distribution, tmp_path, monkeypatch)
        return
    found = failures(
        own, report=report(own, fake_distribution, tmp_path, monkeypatch), tmp_path=tmp_path, monkeypatch=monkeypatch
    )
    assert not found
