from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from narrow_detr import CONFIG, FIXTURE, NARROW

from adaptrt import CheckpointError, UsageError
from adaptrt_mmdet.build import build_detector
from adaptrt_mmdet.checkpoints import open_checkpoint
from adaptrt_mmdet.configs import load_config
from adaptrt_mmdet.labels import class_names


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return dict(build_detector(load_config(str(CONFIG), NARROW), None).state_dict())


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    def save(content: Any) -> Path:
        torch.save(content, tmp_path / "file.pth")
        return tmp_path / "file.pth"

    return save


def test_a_raw_training_checkpoint(weights: dict[str, torch.Tensor], saved: Callable[[Any], Path]) -> None:
    """What mmengine's runner writes: logs as HistoryBuffer, the optimizer, the config as text."""
    from mmengine.config import Config
    from mmengine.logging import MessageHub

    hub = MessageHub("training")
    hub.update_scalar("train/loss", 1.5)
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    path = saved(
        {
            "meta": {
                "epoch": 50,
                "cfg": Config.fromfile(CONFIG).pretty_text,
                "dataset_meta": {"CLASSES": ("a", "b", "c", "d"), "PALETTE": [(1, 2, 3)]},
            },
            "state_dict": weights,
            "message_hub": hub.state_dict(),
            "optimizer": optimizer.state_dict(),
            "param_schedulers": [{"last_step": 3}],
        }
    )
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    checkpoint = open_checkpoint(path)
    assert checkpoint.labels == ("a", "b", "c", "d")
    assert set(checkpoint.weights) == set(weights)
    config = load_config(str(path), NARROW, checkpoint)
    detector = build_detector(config, checkpoint)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in detector.state_dict().items())
    assert class_names(config, checkpoint, 4) == ("a", "b", "c", "d")


def test_the_fixture_alone_is_enough() -> None:
    checkpoint = open_checkpoint(FIXTURE)
    detector = build_detector(load_config(str(FIXTURE), {}, checkpoint), checkpoint)
    assert type(detector).__name__ == "DETR"
    assert next(detector.parameters()).dtype is torch.float32
    assert FIXTURE.stat().st_size <= 4_000_000


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, saved: Callable[[Any], Path]) -> None:
    class Hazard:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    with pytest.raises(CheckpointError, match="mkdir"):
        open_checkpoint(saved({"state_dict": {"a": torch.ones(1)}, "meta": Hazard()}))
    assert not (tmp_path / "sprung").exists()


def test_a_file_without_a_config_says_what_to_give(
    weights: dict[str, torch.Tensor], saved: Callable[[Any], Path]
) -> None:
    path = saved({"state_dict": weights})
    with pytest.raises(CheckpointError, match="contains no config") as caught:
        load_config(str(path), {}, open_checkpoint(path))
    assert "--weights" in str(caught.value)


def test_another_number_of_classes_is_reported(weights: dict[str, torch.Tensor], saved: Callable[[Any], Path]) -> None:
    config = load_config(str(CONFIG), {**NARROW, "model.bbox_head.num_classes": "7"})
    with pytest.raises(CheckpointError, match=r"fc_cls.weight is \[5, 96\] in the file, but \[8, 96\]") as caught:
        build_detector(config, open_checkpoint(saved({"state_dict": weights})))
    assert str(caught.value).endswith("--set cfg.model.bbox_head.num_classes=4")


def test_another_network_is_not_taken_for_other_classes(weights: dict[str, torch.Tensor], saved: Any) -> None:
    config = load_config(str(CONFIG), {**NARROW, "model.bbox_head.num_classes": "7", "model.num_queries": "6"})
    with pytest.raises(CheckpointError, match=r"query_embedding.weight is \[5, 96\]") as caught:
        build_detector(config, open_checkpoint(saved({"state_dict": weights})))
    assert "the config it was trained with" in str(caught.value)


@pytest.mark.parametrize("name", ["retinanet_r18_fpn_1x_coco", "rtmdet_tiny_8xb32-300e_coco"])
def test_classes_are_counted_from_anchors_too(name: str, saved: Callable[[Any], Path]) -> None:
    given = build_detector(load_config(name, {"model.bbox_head.num_classes": "5"}), None)
    with pytest.raises(CheckpointError) as caught:
        build_detector(load_config(name, {}), open_checkpoint(saved({"state_dict": given.state_dict()})))
    assert str(caught.value).endswith("--set cfg.model.bbox_head.num_classes=5")


@pytest.mark.parametrize(("change", "words"), [("drop", "it lacks query_embedding"), ("add", "it has unused extra")])
def test_what_does_not_fit_is_named(
    weights: dict[str, torch.Tensor], saved: Callable[[Any], Path], change: str, words: str
) -> None:
    changed = {name: tensor for name, tensor in weights.items() if change == "add" or "query_embedding" not in name}
    if change == "add":
        changed["extra"] = torch.ones(1)
    with pytest.raises(CheckpointError, match=words):
        build_detector(load_config(str(CONFIG), NARROW), open_checkpoint(saved({"state_dict": changed})))


def test_prefixes_of_data_parallel_are_dropped(weights: dict[str, torch.Tensor], saved: Callable[[Any], Path]) -> None:
    path = saved({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}})
    build_detector(load_config(str(CONFIG), NARROW), open_checkpoint(path))


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": 3}, {"epoch": 1}])
def test_files_that_are_no_checkpoints(saved: Callable[[Any], Path], content: Any) -> None:
    with pytest.raises(CheckpointError):
        open_checkpoint(saved(content))


def test_an_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="Did you mean 'DETR'. If you trust it, write it in your config file."):
        build_detector(load_config(str(CONFIG), {"model.type": "DETRR"}), None)


def test_class_names_fall_back_to_the_dataset_then_to_numbers() -> None:
    config = load_config("detr_r50_8xb2-150e_coco", {})
    assert class_names(config, None, 80)[:2] == ("person", "bicycle")
    assert class_names(config, None, 3) == ("0", "1", "2")
    assert class_names(load_config(str(CONFIG), {}), None, 4)[0] == "circle"


@pytest.mark.parametrize("trust", [False, True])
def test_weights_in_a_safetensors_file(weights: dict[str, torch.Tensor], tmp_path: Path, trust: bool) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="needs safetensors")
    path = tmp_path / "detr.safetensors"
    safetensors.save_file({f"module.{name}": tensor.contiguous() for name, tensor in weights.items()}, path)
    checkpoint = open_checkpoint(path, trust=trust)
    assert checkpoint.weights.keys() == weights.keys()
    with pytest.raises(CheckpointError, match="contains no config") as caught:
        checkpoint.config_text()
    assert f"--weights {path}" in (caught.value.hint or "")


def test_a_trusted_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="a text file"):
        open_checkpoint(tmp_path / "notes.pth", trust=True)
