"""Class names: the checkpoint's, the config's, or those of the config's dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptrt_mmdet.registered import only_registered
from adaptrt_mmdet.stand_in import ensure_ops

if TYPE_CHECKING:
    from mmengine.config import Config

    from adaptrt_mmdet.checkpoints import Checkpoint


def class_names(config: Config, checkpoint: Checkpoint | None, count: int) -> tuple[str, ...]:
    """Names from the first source that has ``count`` of them; else class indices."""
    candidates = [checkpoint.labels if checkpoint else (), _from_config(config), _from_dataset(config)]
    for names in candidates:
        if len(names) == count:
            return names
    return tuple(str(number) for number in range(count))


def names_in(*tables: Mapping[Any, Any]) -> tuple[str, ...]:
    """The class names in the first table that has some, under ``classes`` or, from mmdet 2, ``CLASSES``."""
    for table in tables:
        names = table.get("classes") or table.get("CLASSES")
        if isinstance(names, str):
            return (names,)
        if isinstance(names, (list, tuple)) and all(isinstance(name, (str, int)) for name in names):
            return tuple(map(str, names))
    return ()


def _datasets(config: Config) -> list[Any]:
    loaders = [config.get(name) or {} for name in ("test_dataloader", "val_dataloader", "train_dataloader")]
    found = [loader.get("dataset") or {} for loader in loaders]
    return found + [dataset["dataset"] for dataset in found if "dataset" in dataset]


def _from_config(config: Config) -> tuple[str, ...]:
    return names_in(*(dataset.get("metainfo") or {} for dataset in _datasets(config)), config.get("metainfo") or {})


def _from_dataset(config: Config) -> tuple[str, ...]:
    """The names that mmdet's dataset class carries (CocoDataset: 80)."""
    kinds = [dataset.get("type") for dataset in _datasets(config)] + [config.get("dataset_type")]
    if not any(kinds):
        return ()
    ensure_ops()
    import mmdet.datasets  # noqa: F401  # registers them
    from mmdet.registry import DATASETS

    with only_registered(config):
        for kind in kinds:
            dataset = DATASETS.get(kind) if isinstance(kind, str) else kind
            names = (getattr(dataset, "METAINFO", None) or {}).get("classes")
            if names:
                return tuple(names)
    return ()
