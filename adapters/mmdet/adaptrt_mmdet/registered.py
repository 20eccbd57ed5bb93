"""Restricts configs that are read as data to entries of mmdet's registries that neither execute code nor open files.

mmengine imports a ``type`` that is not in a registry, so a config is a program. This is allowed for a ``.py`` file that
the user names, but not for a config in a checkpoint, or in a JSON or YAML file.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from adaptrt import CheckpointError, did_you_mean
from adaptrt_mmdet.stand_in import ensure_ops

if TYPE_CHECKING:
    from mmengine.config import Config

HINT = (
    "If you trust it, pass the config as a file (adaptrt convert --adapter ... my_config.py --weights FILE), "
    "or run the one in the checkpoint with --trust-checkpoint."
)
FRAMEWORKS = ("mmdet", "mmcv", "mmengine")
LOADERS = ("test_dataloader", "val_dataloader", "train_dataloader")
# mmengine imports these to find its registries
REGISTRIES = tuple(f"{package}.registry" for package in FRAMEWORKS)

# classes of these packages get layers and numbers
LAYERS = (
    *(
        f"mmdet.models.{part}"
        for part in (
            "backbones",
            "data_preprocessors",
            "dense_heads",
            "detectors",
            "layers",
            "losses",
            "necks",
            "roi_heads",
            "seg_heads",
            "task_modules.assigners",
            "task_modules.coders",
            "task_modules.prior_generators",
            "task_modules.samplers",
        )
    ),
    "mmcv.cnn.bricks",
    "mmcv.ops",
    "mmengine.model.base_model",
    "mmengine.model.base_module",
    "mmengine.utils.dl_utils.parrots_wrapper",
    "torch.nn.modules",
)
# except these, which read configs, weights or language models named by a parameter
READERS = (
    "mmdet.models.dense_heads.atss_vlfusion_head",
    "mmdet.models.detectors.d2_wrapper",
    "mmdet.models.detectors.glip",
    "mmdet.models.detectors.grounding_dino",
    "mmdet.models.detectors.kd_one_stage",
    "mmdet.models.detectors.lad",
)
INITIALIZERS = ("mmengine.model.weight_init",)
# types that mmdet compares or looks up itself, without a registry; mmcv evaluates the type of an NMS
WORDS = {
    *("nms", "soft_nms"),
    *("conv", "dilation", "interpolation_conv", "last_conv", "offset"),
    *("DeformRoIPoolPack", "ModulatedDeformRoIPoolPack", "RoIAlign", "RoIPool", "SimpleRoIAlign"),
}
TRANSFORMS = {
    *("LoadImageFromFile", "LoadAnnotations", "LoadPanopticAnnotations", "LoadProposals", "LoadTextAnnotations"),
    *("Resize", "FixScaleResize", "FixShapeResize", "ResizeShortestEdge", "Pad", "Normalize", "RandomFlip"),
    *("CenterCrop", "RandomCenterCropPad", "ToTensor", "ImageToTensor", "Transpose", "WrapFieldsToLists"),
    *("PackDetInputs", "PackReIDInputs", "PackTrackInputs", "LoadTrackAnnotations"),
    *("Compose", "TransformBroadcaster", "ProposalBroadcaster", "MultiScaleFlipAug", "TestTimeAug"),
}
# where a step reads its files from; one of mmengine's backends imports a module from a folder that it is given
FILE_BACKENDS = ("backend_args", "file_client_args")


def registered_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a config that a conversion needs, checked; a ``CheckpointError`` names anything else.

    Initial weights are dropped: they are read from files, and the checkpoint has the trained ones. Storage backends of
    pipeline steps are dropped too: images are local files.
    """
    _refuse_imports(values)
    _refuse_code(values)
    kept = {key: values[key] for key in ("metainfo", "dataset_type") if key in values}
    if isinstance(values.get("model"), Mapping):
        kept["model"] = _layers(values["model"], "model")
    if "test_pipeline" in values:
        kept["test_pipeline"] = _transforms(values["test_pipeline"], "test_pipeline")
    for name in LOADERS:
        loader = values.get(name)
        if isinstance(loader, Mapping) and isinstance(loader.get("dataset"), Mapping):
            kept[name] = {
                "dataset": _dataset(loader["dataset"], f"{name}.dataset", pipeline=name != "train_dataloader")
            }
    return kept


def require_data(override: Mapping[str, Any]) -> None:
    """A ``CheckpointError`` names what an override, as nested dicts, must not: code, or where a step reads its files from."""
    registered_values(override)
    items: list[Any] = [override]
    while items:
        item = items.pop()
        if isinstance(item, Mapping):
            for name in FILE_BACKENDS:
                if item.get(name) is not None:
                    _refuse(name, item[name], "images are local files")
            items.extend(item.values())
        elif isinstance(item, (list, tuple)):
            items.extend(item)


def is_data(config: Config) -> bool:
    """Whether the config was read as data; mmengine records the file name of an executed config."""
    return config.filename is None


@contextlib.contextmanager
def only_registered(config: Config) -> Iterator[None]:
    """Prevents mmengine from importing modules to resolve names while building from a config that was read as data."""
    if not is_data(config):
        yield
        return
    place: Any = importlib.import_module("mmengine.registry.registry")
    originals = place.get_object_from_string, place.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name not in REGISTRIES and not name.startswith("mmdet."):
            raise ImportError(f"{name!r} is named by a config that was read as data")
        return importlib.import_module(name, package)

    place.get_object_from_string, place.import_module = (lambda _: None), import_module
    try:
        yield
    finally:
        place.get_object_from_string, place.import_module = originals


def _refuse_imports(values: Mapping[str, Any]) -> None:
    imports = values.get("custom_imports") or ()
    wanted = imports.get("imports", imports) if isinstance(imports, Mapping) else imports
    names = [str(name) for name in wanted] if isinstance(wanted, (list, tuple)) else [str(wanted)]
    foreign = [name for name in names if name.partition(".")[0] not in FRAMEWORKS]
    if foreign:
        raise CheckpointError(f"The config imports {', '.join(foreign)}.", hint=HINT)


def _refuse_code(value: Any, where: str = "") -> None:
    """Reject anything that mmengine would import, anywhere in the config, including parts that are not built."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            path = f"{where}.{key}" if where else str(key)
            if key in ("type", "runner_type", "dataset_type") and item is not None:
                _refuse_foreign(path, item)
            elif key == "_scope_" and item not in (None, *FRAMEWORKS):
                _refuse(path, item, "its package would be imported")
            elif key == "_base_":
                _refuse(path, item, "no other file is read")
            _refuse_code(item, path)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            if isinstance(item, (Mapping, list, tuple)):
                _refuse_code(item, f"{where}.{number}")


def _refuse_foreign(where: str, kind: Any) -> None:
    if not isinstance(kind, str):
        _refuse(where, kind, "a type must be a name")
    package, dot, _ = kind.partition(".")
    if dot and package not in (*FRAMEWORKS, "torch"):
        _refuse(where, kind, "mmdet has not registered it")


def _layers(value: Any, where: str) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_layers(item, f"{where}.{number}") for number, item in enumerate(value))
    if not isinstance(value, Mapping):
        return value
    kept = {}
    for key, item in value.items():
        path = f"{where}.{key}"
        if key == "type" and item is not None:
            kept[key] = _layer_type(item, path)
        elif key not in ("init_cfg", "pretrained"):
            kept[key] = _layers(item, path)
    return kept


def _layer_type(kind: str, where: str) -> str:
    if kind in WORDS:
        return kind
    ensure_ops()
    import mmdet.models  # noqa: F401  # registers them
    from mmdet.registry import MODELS, TASK_UTILS

    entry, name = _entry(kind, (MODELS, TASK_UTILS))
    if entry is None:
        _refuse(where, kind, "mmdet has not registered it", [*MODELS.module_dict, *TASK_UTILS.module_dict])
    module = str(entry.__module__)
    if _within(module, READERS) or not _within(module, LAYERS):
        _refuse(where, kind, "it may read files that the config names")
    return name


def _transforms(value: Any, where: str) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_transforms(item, f"{where}.{number}") for number, item in enumerate(value))
    if not isinstance(value, Mapping):
        return value
    kept = {
        key: _transforms(item, f"{where}.{key}") for key, item in value.items() if key not in ("type", *FILE_BACKENDS)
    }
    if value.get("type") is not None:
        ensure_ops()
        import mmdet.datasets.transforms  # noqa: F401  # registers them
        from mmdet.registry import TRANSFORMS as REGISTRY

        entry, name = _entry(value["type"], (REGISTRY,))
        if entry is None or entry.__name__ not in TRANSFORMS or not _within(entry.__module__, FRAMEWORKS):
            _refuse(
                f"{where}.type", value["type"], "it is not a transform of mmdet's test pipelines", sorted(TRANSFORMS)
            )
        kept["type"] = name
    return kept


def _dataset(value: Mapping[str, Any], where: str, *, pipeline: bool) -> dict[str, Any]:
    """Class names and test-time preprocessing; the data set itself is never opened."""
    kept = {key: value[key] for key in ("type", "metainfo") if key in value}
    if pipeline and "pipeline" in value:
        kept["pipeline"] = _transforms(value["pipeline"], f"{where}.pipeline")
    if isinstance(value.get("dataset"), Mapping):
        kept["dataset"] = _dataset(value["dataset"], f"{where}.dataset", pipeline=pipeline)
    return kept


def _entry(kind: str, registries: tuple[Any, ...]) -> tuple[Any, str]:
    """A class by name, by scope and name, or by the path in mmengine's lazy configs; also returns its registered name."""
    scope, _, name = kind.rpartition(".")
    for registry in registries:
        while registry is not None:
            known = registry.module_dict
            if name in known and (not scope or scope == registry.scope or _within(known[name].__module__, (scope,))):
                return known[name], f"{registry.scope}.{name}" if scope else name
            for short, entry in known.items() if scope else ():  # BatchNorm2d is BN
                if (entry.__name__, entry.__module__) == (name, scope):
                    return entry, f"{registry.scope}.{short}"
            registry = registry.parent
    return None, name


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def _refuse(where: str, name: Any, why: str, known: list[str] | None = None) -> NoReturn:
    suggestion = did_you_mean(name, known) if known and isinstance(name, str) else None
    shown = repr(name)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    raise CheckpointError(
        f"The config names {shown} as {where}: {why}.",
        hint=f"{suggestion} {HINT}" if suggestion and suggestion.startswith("Did") else HINT,
    )
