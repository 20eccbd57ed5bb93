"""Weights in every wrapping that training code writes, and what is said when they do not fit."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
timm = pytest.importorskip("timm", reason="needs timm")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from micro_swin import MICRO, NAME, images, micro, not_in_old  # noqa: E402

from adaptrt import CheckpointError, ModelError, ShapeRequest, UsageError  # noqa: E402
from adaptrt_timm import any_model, swin  # noqa: E402

Make = Callable[..., Any]
OPTIONS: dict[str, Any] = {"model": NAME, "model_args": MICRO}


def same(loaded: Any, model: Any) -> bool:
    x = images(model, 1)
    with torch.no_grad():
        return not loaded.training and torch.equal(loaded(x), model(x))


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"state_dict": {name: tensor * 0 for name, tensor in state.items()}, "state_dict_ema": state},
        lambda state: {"model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"timm_model.{name}": tensor for name, tensor in state.items()},
    ],
    ids=["raw", "model", "module prefix", "averaged", "compiled", "Lightning", "Transformers"],
)
def test_checkpoints(wrapped: Callable[[Any], Any], tmp_path: Path, conversion: Make) -> None:
    model = micro()
    torch.save(wrapped(model.state_dict()), tmp_path / "last.pth.tar")
    assert same(swin.load_model(conversion(tmp_path / "last.pth.tar", OPTIONS)), model)


def test_safetensors_in_half_precision(tmp_path: Path, conversion: Make) -> None:
    from safetensors.torch import save_file

    model = micro().half().float()
    save_file({name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = swin.load_model(conversion(tmp_path / "w.safetensors", OPTIONS))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert same(loaded, model)


def test_weights_beside_a_name(micro_file: Path, conversion: Make) -> None:
    ctx = conversion(NAME, {"model_args": MICRO}, weights=micro_file)
    assert same(swin.load_model(ctx), micro())


def test_a_config_beside_the_weights(micro_file: Path, conversion: Make) -> None:
    ctx = conversion(micro_file)
    assert same(swin.load_model(ctx), micro())
    assert swin.model_spec(ctx, swin.load_model(ctx)).labels == tuple("abcdefg")


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_folder_in_the_layout_of_timm(prefix: str, micro_file: Path, tmp_path: Path, conversion: Make) -> None:
    from safetensors.torch import save_file

    save_file(micro().state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(micro_file.with_suffix(".json").read_text())
    assert same(swin.load_model(conversion(f"{prefix}{tmp_path}")), micro())
    assert same(swin.load_model(conversion(tmp_path / "model.safetensors")), micro())


def test_weights_of_the_first_release(tmp_path: Path, conversion: Make) -> None:
    """They down-sample at the end of a stage, keep buffers, and call the head ``head``."""
    model = micro()
    state = {}
    for name, tensor in model.state_dict().items():
        state[name.replace("layers.1.downsample", "layers.0.downsample").replace("head.fc", "head")] = tensor
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(1)
    torch.save({"model": state}, tmp_path / "original.pth")
    assert same(swin.load_model(conversion(tmp_path / "original.pth", OPTIONS)), model)


def test_a_checkpoint_of_timm_says_its_model(tmp_path: Path, conversion: Make) -> None:
    """timm's train.py saves its arguments along, and the name."""
    model = micro()
    content = {"state_dict": model.state_dict(), "arch": NAME, "args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save(content, tmp_path / "model_best.pth.tar")
    assert same(swin.load_model(conversion(tmp_path / "model_best.pth.tar", {"model_args": MICRO})), model)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("wrapped", [lambda model: model, lambda model: {"model": model, "epoch": 3}])
def test_a_pickled_model(wrapped: Callable[[Any], Any], trust: bool, tmp_path: Path, conversion: Make) -> None:
    """``torch.save(model)`` writes classes of timm and torch; untrusted, they are read without being imported."""
    model = micro()
    torch.save(wrapped(model), tmp_path / "whole.pth")
    assert same(swin.load_model(conversion(tmp_path / "whole.pth", OPTIONS, trust_checkpoint=trust)), model)


def test_what_else_a_checkpoint_wants_is_refused_unless_trusted(tmp_path: Path, conversion: Make) -> None:
    model = micro()
    torch.save({"model": model.state_dict(), "run": Decimal(1)}, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match="decimal"):
        swin.load_model(conversion(tmp_path / "own.pth", OPTIONS))
    assert same(swin.load_model(conversion(tmp_path / "own.pth", OPTIONS, trust_checkpoint=True)), model)


def test_the_head_is_as_large_as_the_weights_say(tmp_path: Path, conversion: Make) -> None:
    torch.save(micro(num_classes=3).state_dict(), tmp_path / "three.pth")
    assert swin.load_model(conversion(tmp_path / "three.pth", OPTIONS)).num_classes == 3
    with pytest.raises(CheckpointError, match="head for 3 classes") as caught:
        swin.load_model(conversion(tmp_path / "three.pth", {**OPTIONS, "num_classes": 5}))
    assert "num_classes" in (caught.value.hint or "")


def test_random_weights_are_the_same_each_time(conversion: Make) -> None:
    ctx = conversion(NAME, {"model_args": MICRO, "num_classes": 5})
    before = torch.get_rng_state()
    first, second = swin.load_model(ctx), swin.load_model(ctx)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, second)
    assert first.num_classes == 5


def test_another_image_size_keeps_windows_and_weights(micro_file: Path, conversion: Make) -> None:
    ctx = conversion(micro_file, shapes=ShapeRequest(imgsz=(96, 62)))
    model = swin.load_model(ctx)
    assert model.patch_embed.img_size == (96, 64)
    assert model.layers[0].blocks[0].window_size == (4, 4)
    assert swin.model_spec(ctx, model).image_size == (96, 64)


@not_in_old
def test_literals_of_the_command_line(conversion: Make) -> None:
    texts = {"window_size": "((4, 4), 8)", "depths": "[2, 2]", "num_heads": "2, 4", "embed_dim": "16", "img_size": "64"}
    model = swin.load_model(conversion(NAME, {"model_args": texts}))
    assert [stage.blocks[0].window_size for stage in model.layers] == [(4, 4), (8, 8)]


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        ("swin_tiny_patch4_windw7_224", {}, ModelError, "Did you mean 'swin_tiny_patch4_window7_224'"),
        ("swinv2_tiny_window8_256", {}, UsageError, "--adapter timm"),
        ("hf-hub:timm/swin_tiny_patch4_window7_224.ms_in1k", {}, UsageError, "downloads nothing"),
        ("missing.pth", {"model": NAME}, CheckpointError, "File not found"),
        ("{micro}", {"model_args": {"embed_dim": 24}}, CheckpointError, "does not match"),
        pytest.param(NAME, {"model_args": {"depth": 3}}, ModelError, "depth", marks=not_in_old),
    ],
)
def test_errors(
    source: str, options: dict[str, Any], error: type[Exception], words: str, micro_file: Path, conversion: Make
) -> None:
    ctx = conversion(source.replace("{micro}", str(micro_file)), options)
    with pytest.raises(error) as caught:
        swin.model_spec(ctx, swin.load_model(ctx))
    assert words in str(caught.value)


def test_weights_without_a_name(tmp_path: Path, conversion: Make) -> None:
    torch.save(micro().state_dict(), tmp_path / "mine.pth")
    with pytest.raises(UsageError, match=r"mine\.json"):
        swin.load_model(conversion(tmp_path / "mine.pth"))
    (tmp_path / "mine.json").write_text("[1, 2]")  # somebody else's file
    with pytest.raises(UsageError, match="--set model="):
        swin.load_model(conversion(tmp_path / "mine.pth"))


@given(st.text(max_size=40))
def test_any_text_is_refused_by_name(text: str) -> None:
    from adaptrt import AdaptrtError, Conversion, Request
    from adaptrt_timm.options import TimmOptions

    if Path(text.replace("\0", "")).exists():
        return
    with pytest.raises(AdaptrtError):
        swin.load_model(Conversion(Request(text, "swin"), TimmOptions(), Path()))


def test_a_table_of_labels_is_read_by_number(micro_file: Path, tmp_path: Path, conversion: Make) -> None:
    """JSON has text as keys, which many tools sort: 10 comes before 2, and timm looks a class up by its number."""
    from adaptrt_timm.source import Source

    names = [f"class {number}" for number in range(12)]
    table = dict(sorted((str(number), name) for number, name in enumerate(names)))
    assert Source("net", config={"label_names": table}).labels == tuple(names)
    assert Source("net", config={"pretrained_cfg": {"label_names": table}}).labels == tuple(names)
    for strange in ({"1": "a", "2": "b"}, {"a": 0, "b": 1}):
        with pytest.raises(CheckpointError, match="are not the numbers of 2 classes, from 0"):
            _ = Source("net", config={"label_names": strange}).labels


def test_labels_of_a_file(micro_file: Path, tmp_path: Path, conversion: Make) -> None:
    for name, text in {"a.txt": "\n".join("ABCDEFG"), "a.json": json.dumps(dict(enumerate("ABCDEFG")))}.items():
        (tmp_path / name).write_text(text)
        ctx = conversion(micro_file, {"labels": str(tmp_path / name)})
        (tmp_path / name).unlink()  # it is read once
        assert swin.model_spec(ctx, swin.load_model(ctx)).labels == tuple("ABCDEFG")
    (tmp_path / "b.txt").write_text("one\ntwo\n")
    ctx = conversion(micro_file, {"labels": str(tmp_path / "b.txt")})
    with pytest.raises(UsageError, match="2 labels; the model has 7"):
        swin.model_spec(ctx, swin.load_model(ctx))


def test_missing_labels_are_reported_at_once(micro_file: Path, conversion: Make) -> None:
    with pytest.raises(UsageError, match=r"nofile\.txt cannot be read"):
        conversion(micro_file, {"labels": "nofile.txt"})


def test_names_of_imagenet(conversion: Make) -> None:
    ctx = conversion("resnet10t")
    spec = any_model.model_spec(ctx, any_model.load_model(ctx))
    assert spec.labels[207] == "golden retriever"
    assert len(spec.labels) == 1000


def test_no_classes_are_embeddings(micro_file: Path, conversion: Make) -> None:
    """0 was taken for not given; the weights' own head is left out."""
    import torch

    from adaptrt_timm import swin

    ctx = conversion(micro_file, {"num_classes": 0})
    model = swin.load_model(ctx)
    spec = swin.model_spec(ctx, model)
    with torch.no_grad():
        embedding = model(torch.rand(2, *(axis.opt for axis in spec.inputs[0].dims[1:])))
    assert embedding.ndim == 2
    assert embedding.shape[1] == model.num_features
    assert spec.task == "values"
    assert [output.name for output in spec.outputs] == ["embedding"]
    assert spec.labels == ()
    assert spec.image is not None


def test_no_classes_by_name(conversion: Make) -> None:
    from adaptrt_timm import any_model

    model = any_model.load_model(conversion("resnet18", {"num_classes": 0}))
    assert model.num_classes == 0


@pytest.mark.parametrize(("indices", "names"), [(None, 2), ((1,), 1)])
def test_feature_maps_have_names(micro_file: Path, conversion: Make, indices: Any, names: int) -> None:
    import torch

    from adaptrt_timm import swin

    ctx = conversion(micro_file, {"features_only": True, **({"out_indices": indices} if indices else {})})
    model = swin.load_model(ctx)
    spec = swin.model_spec(ctx, model)
    with torch.no_grad():
        maps = model(torch.rand(1, *(axis.opt for axis in spec.inputs[0].dims[1:])))
    assert len(maps) == len(spec.outputs)
    assert spec.outputs[-1].name == f"features{len(maps) - 1 if indices is None else 1}"
    assert all(each.ndim == 4 for each in maps)
    assert spec.task == "values"
    assert isinstance(swin.framework_predictions(ctx, Path("unused.png")), str)


def test_stages_that_are_not_there(micro_file: Path, conversion: Make) -> None:
    from adaptrt import UsageError
    from adaptrt_timm import swin

    with pytest.raises(UsageError, match="out_indices"):
        swin.load_model(conversion(micro_file, {"features_only": True, "out_indices": (9,)}))
