from importlib.metadata import EntryPoint

import pytest

from adaptrt.errors import PluginError
from adaptrt.predictions import Decoder
from adaptrt.vision.decoders import registry
from adaptrt.vision.decoders.raw import RawParams

external = Decoder("mine", RawParams, lambda outputs, metas, spec, params: [])
misnamed = Decoder("other", RawParams, lambda outputs, metas, spec, params: [])


class Distribution:
    def __init__(self, name: str) -> None:
        self.name = name


def declare(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str, str]) -> None:
    """Pretend that these are installed: (decoder, distribution, object of this module)."""
    monkeypatch.setitem(__import__("sys").modules, "declared_decoders", __import__("sys").modules[__name__])
    found = []
    for name, distribution, value in points:
        point = EntryPoint(name, value if ":" in value else f"declared_decoders:{value}", registry.GROUP)
        vars(point)["dist"] = Distribution(distribution)
        found.append(point)
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == registry.GROUP else [])


@pytest.mark.parametrize("name", ["boxes", "classify", "raw", "yolo", "yolo_anchor"])
def test_cores_own_decoders(name: str) -> None:
    decoder = registry.find_decoder(name)
    assert decoder.name == name
    decoder.params()  # every parameter has a default
    assert decoder.params.__doc__
    assert name in registry.decoder_names()


def test_a_distributions_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, ("mine", "mine-dist", "external"), ("mine", "mine-dist", "external"))
    assert registry.find_decoder("mine") is external
    assert "mine" in registry.decoder_names()


@pytest.mark.parametrize(
    ("points", "name", "says"),
    [
        ([], "yollo", ["'yollo'", "Did you mean 'yolo'?", "pip install --no-deps PACKAGE"]),
        ([("mine", "a", "external"), ("mine", "b", "external")], "mine", ["a and by b"]),
        ([("yolo", "shadow", "external")], "yolo", ["adaptrt and by shadow", "pip uninstall shadow"]),
        ([("mine", "a", "misnamed")], "mine", ["not a Decoder with the name 'mine'", "of a"]),
        ([("mine", "a", "Distribution")], "mine", ["not a Decoder"]),
        ([("mine", "a", "no_such_module:x")], "mine", ["of a", "ModuleNotFoundError"]),
    ],
)
def test_what_goes_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, points: list[tuple[str, str, str]], name: str, says: list[str]
) -> None:
    declare(monkeypatch, *points)
    with pytest.raises(PluginError) as caught:
        registry.find_decoder(name)
    for part in says:
        assert part in str(caught.value)
