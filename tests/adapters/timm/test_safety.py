"""Folders and files that reach the adapters of timm: what they name is not loaded, and what timm writes is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
timm = pytest.importorskip("timm", reason="needs timm")

from micro_swin import MICRO, NAME, micro  # noqa: E402

import adaptrt  # noqa: E402
from adaptrt import AdaptrtError, CheckpointError, UsageError  # noqa: E402
from adaptrt_timm import any_model, swin  # noqa: E402
from adaptrt_timm.config import reserved_arguments  # noqa: E402

Make = Callable[..., Any]


class Bomb:
    """A pickle that leaves a file behind when it is run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as timm saves it, a bomb beside it, and a torch.load that sets off whatever it is given."""
    monkeypatch.chdir(tmp_path)
    load = torch.load

    def careless(*args: Any, **kwargs: Any) -> Any:
        return load(*args, **{**kwargs, "weights_only": False})

    torch.save(Bomb(), "bomb.pth")
    timm.models.save_for_hf(micro(), "saved", model_args=dict(MICRO), safe_serialization=True)
    monkeypatch.setattr(torch, "load", careless)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", lambda *_, **__: Path("pwned").touch())
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: Path("pwned").touch())
    return tmp_path / "saved"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("checkpoint_path", "bomb.pth"),
        ("pretrained", True),
        ("pretrained_cfg", {"file": "bomb.pth"}),
        ("pretrained_cfg_overlay", {"file": "bomb.pth"}),
        ("cache_dir", "/tmp"),
        ("pretrained_filter_fn", "os.system"),
        ("features_only", True),
        ("feature_cls", "hook"),
        ("pruned", True),
        ("model_name", "hf-hub:someone/evil"),
        ("model_cls", "os.system"),
    ],
)
def test_arguments_that_decide_what_is_loaded(key: str, value: Any, folder: Path, conversion: Make) -> None:
    rewrite(folder, lambda config: config.setdefault("model_args", {}).update({key: value}))
    with pytest.raises(CheckpointError, match=rf"model_args\.{key} is not allowed"):
        swin.load_model(conversion(folder))
    assert not Path("pwned").exists()


def test_the_bomb_works(folder: Path) -> None:
    """Otherwise the tests beside this one would prove nothing."""
    timm.create_model(NAME, **MICRO, pretrained_cfg_overlay={"url": "https://example.org/x.pth"}, pretrained=False)
    assert not Path("pwned").exists()
    with pytest.raises((AttributeError, TypeError)):
        timm.create_model(NAME, **MICRO, checkpoint_path="bomb.pth")
    assert Path("pwned").exists()


@pytest.mark.parametrize(
    "entry",
    [
        {"url": "https://example.org/evil.pth"},
        {"file": "bomb.pth"},
        {"hf_hub_id": "someone/evil", "hf_hub_filename": "evil.bin"},
        {"custom_load": True, "file": "bomb.npz"},
        {"source": "file", "file": "bomb.pth"},
        {"state_dict": {"head.weight": 1}},
    ],
)
def test_other_weights_that_a_config_names_are_not_opened(
    entry: dict[str, Any], folder: Path, conversion: Make
) -> None:
    rewrite(folder, lambda config: config["pretrained_cfg"].update(entry))
    model = swin.load_model(conversion(folder))
    assert not Path("pwned").exists()
    assert torch.equal(model.head.fc.weight, micro().head.fc.weight)
    assert not any(model.pretrained_cfg.get(key) == value for key, value in entry.items())


def described(conversion: Make, folder: Path) -> Any:
    ctx = conversion(folder)
    return swin.model_spec(ctx, swin.load_model(ctx))


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "hf-hub:someone/evil"},
        {"architecture": f"{NAME}.hf-hub:someone/evil"},
        {"architecture": "local-dir:/tmp"},
        {"architecture": "os.system"},
        {"architecture": ["os", "system"]},
        {"model_args": ["checkpoint_path"]},
        {"model_args": "checkpoint_path"},
        {"model_args": {"norm_layer": "os.system"}},
        {"model_args": {"act_layer": "__import__('pathlib').Path('pwned').touch()"}},
        {"pretrained_cfg": "bomb.pth"},
        {"pretrained_cfg": {"interpolation": "__import__('os')"}},
        {"num_classes": "__import__('os')"},
        {"label_names": 7},
    ],
)
def test_configs_that_are_something_else(change: dict[str, Any], folder: Path, conversion: Make) -> None:
    rewrite(folder, lambda config: config.update(change))
    with pytest.raises(AdaptrtError):
        described(conversion, folder)
    assert not Path("pwned").exists()


def test_a_pickle_in_the_folder(folder: Path, conversion: Make) -> None:
    (folder / "model.safetensors").unlink()
    Path("bomb.pth").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="imports names"):
        swin.load_model(conversion(folder))
    assert not Path("pwned").exists()


def test_a_checkpoint_that_names_its_architecture(folder: Path, conversion: Make) -> None:
    torch.save({"arch": "hf-hub:someone/evil", "state_dict": micro().state_dict()}, "last.pth")
    with pytest.raises(AdaptrtError, match="neither a timm model nor a file"):
        swin.load_model(conversion(Path("last.pth").absolute()))
    assert not Path("pwned").exists()


def test_safetensors_metadata(folder: Path, conversion: Make) -> None:
    from safetensors.torch import save_file

    metadata = {"format": "pt", "architecture": "hf-hub:someone/evil", "checkpoint_path": "bomb.pth"}
    save_file(micro().state_dict(), folder / "model.safetensors", metadata)
    swin.load_model(conversion(folder))
    assert not Path("pwned").exists()


def test_the_command_line_gives_weights_by_their_own_option(folder: Path, conversion: Make) -> None:
    """timm would read them itself, which is not reading them as data."""
    with pytest.raises(UsageError, match=r"model_args\.checkpoint_path is not an argument of the network"):
        swin.load_model(conversion(NAME, {"model_args": {**MICRO, "checkpoint_path": "bomb.pth"}}))
    assert not Path("pwned").exists()


def test_what_is_reserved() -> None:
    assert {"pretrained", "checkpoint_path", "cache_dir", "pretrained_cfg"} <= reserved_arguments()
    assert not {"num_classes", "in_chans", "img_size", "global_pool", "drop_rate", "act_layer"} & reserved_arguments()


@pytest.mark.parametrize(
    ("safe", "name", "arguments"),
    [
        (True, "resnet10t", {"num_classes": 3}),
        (False, "resnet10t", {"num_classes": 3, "global_pool": "avgmax", "act_layer": "silu", "in_chans": 3}),
        ("both", "vit_tiny_patch16_224", {"num_classes": 3, "img_size": 32, "depth": 1, "class_token": False, "global_pool": "avg"}),
        (False, "mobilenetv3_small_050", {"num_classes": 3, "drop_rate": 0.2}),
    ],
)  # fmt: skip
def test_what_timm_saves_needs_no_trust(
    safe: Any, name: str, arguments: dict[str, Any], tmp_path: Path, conversion: Make
) -> None:
    model = timm.create_model(name, **arguments).eval()
    labels = {"label_names": ["red", "green", "blue"]}
    timm.models.save_for_hf(model, tmp_path / "saved", model_config=labels, safe_serialization=safe)
    ctx = conversion(tmp_path / "saved")
    loaded = any_model.load_model(ctx)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    assert any_model.model_spec(ctx, loaded).labels == ("red", "green", "blue")


@pytest.mark.full
def test_a_saved_folder_converts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = timm.create_model("resnet10t", num_classes=10)
    model.reset_classifier(3)  # a head of one's own
    timm.models.save_for_hf(model, "saved", safe_serialization=False)
    report = adaptrt.convert("saved", adapter="timm", imgsz=32, batch=2, verify="none", html=False, cache=False)
    assert report.status == "passed"
    assert report.spec is not None
    assert report.files["onnx"].bytes > 0
