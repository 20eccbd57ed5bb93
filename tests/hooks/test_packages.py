"""What one package may bring: several adapters and decoders; and what is said of a decoder that fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import adaptrt
from adaptrt import PluginError
from adaptrt.plugins.discovery import ADAPTERS, find_candidates

FakeDistribution = Callable[..., Path]

ADAPTER = """
from adaptrt import DecoderSpec, ImageTransform, InputSpec, ModelSpec, hookimpl

@hookimpl
def load_model():
    import torch
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, {channels}, 3).eval()

@hookimpl
def model_spec():
    return ModelSpec(inputs=(InputSpec.image(8, 8),), image=ImageTransform(), decoder=DecoderSpec("{decoder}"))
"""

DECODERS = """
from dataclasses import dataclass
import numpy as np
from adaptrt import Decoder, Values

@dataclass(frozen=True)
class Params:
    gain: float = 1.0

def means(outputs, metas, spec, params):
    (raw,) = outputs.values()
    return [Values({"mean": params.gain * one.mean(keepdims=True)}) for one in raw]

def peaks(outputs, metas, spec, params):
    (raw,) = outputs.values()
    return [Values({"peak": params.gain * one.max(keepdims=True)}) for one in raw]

def failing(outputs, metas, spec, params):
    raise KeyError("lost")

def nothing(outputs, metas, spec, params):
    return []

def empty(outputs, metas, spec, params):
    return None

def text(outputs, metas, spec, params):
    return ["a box" for _ in metas]

def broken(outputs, metas, spec, params):
    return [Values({"mean": 0.5}) for _ in metas]

both = Decoder("means", Params, means), Decoder("peaks", Params, peaks)
mean, peak = both
failing, nothing, empty, text, broken = (
    Decoder(d.__name__, Params, d) for d in (failing, nothing, empty, text, broken)
)
"""
NAMES = {
    "means": "mean",
    "peaks": "peak",
    "failing": "failing",
    "nothing": "nothing",
    "empty": "empty",
    "text": "text",
    "broken": "broken",
}


@pytest.fixture
def twin(tiny: str, fake_distribution: FakeDistribution) -> None:
    """Distribution ``adaptrt-twin`` 2.0 with the adapters ``left`` and ``right`` and with every decoder above."""
    fake_distribution(
        "adaptrt-twin",
        {
            "adaptrt.adapters": {"left": "twin_left", "right": "twin_right"},
            "adaptrt.decoders": {name: f"twin_decoders:{attribute}" for name, attribute in NAMES.items()},
        },
        modules={
            "twin_left": ADAPTER.format(channels=1, decoder="means"),
            "twin_right": ADAPTER.format(channels=2, decoder="peaks"),
            "twin_decoders": DECODERS,
        },
        version="2.0",
    )


def test_several_adapters_and_decoders(twin: None, image: Path) -> None:
    mine = [found for found in find_candidates(ADAPTERS) if found.distribution == "adaptrt-twin"]
    assert [found.name for found in mine] == ["left", "right"]
    assert not {"twin_left", "twin_right", "twin_decoders"} & set(sys.modules)
    left = adaptrt.convert("net", adapter="left", image=image, verify="quick", output="left.onnx")
    assert "twin_right" not in sys.modules
    right = adaptrt.convert("net", adapter="right", image=image, verify="quick", output="right.onnx")
    assert left.plugins["left"] == right.plugins["right"] == "adaptrt-twin 2.0"
    assert adaptrt.load("left.onnx").spec.decoder == adaptrt.DecoderSpec("means", {"gain": 1.0}, "adaptrt-twin")
    (mean,) = adaptrt.load("left.onnx")(image, gain=2.0)
    (peak,) = adaptrt.load("right.onnx")(image)
    assert list(mean.arrays) == ["mean"]
    assert list(peak.arrays) == ["peak"]
    (once,) = adaptrt.load("left.onnx")(image)
    np.testing.assert_allclose(mean.arrays["mean"], 2 * once.arrays["mean"])


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ("failing", r"Decoder 'failing' \(adaptrt-twin 2.0\) failed: KeyError: 'lost'"),
        (
            "broken",
            r"Decoder 'broken' \(adaptrt-twin 2.0\) returned a malformed Values: mean must be an array; got float",
        ),
        ("nothing", r"Decoder 'nothing' \(adaptrt-twin 2.0\) must return 1 predictions, but returned list '\[\]'"),
        pytest.param(
            "empty",
            r"Decoder 'empty' \(adaptrt-twin 2.0\) must return 1 predictions, but returned NoneType 'None'",
            marks=pytest.mark.full,
        ),
        pytest.param(
            "text",
            r"Decoder 'text' \(adaptrt-twin 2.0\) must return 1 predictions, but returned list .*a box",
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_decoder_that_fails_is_named(
    decoder: str, message: str, twin: None, fake_distribution: FakeDistribution, image: Path
) -> None:
    source = ADAPTER.format(channels=1, decoder=decoder)
    fake_distribution("adaptrt-user", {"adaptrt.adapters": {"user": "user_adapter"}}, modules={"user_adapter": source})
    with pytest.raises(PluginError, match=message) as caught:
        adaptrt.convert("net", adapter="user", image=image)
    assert caught.value.exit_code == 3
    assert list(Path().glob("*.onnx")) == []
