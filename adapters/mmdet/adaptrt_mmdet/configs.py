"""Loads configs by path, by name from mmdet's wheel, or from a checkpoint; nothing is downloaded."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt import CheckpointError, ModelError, UsageError, did_you_mean, nearest_name
from adaptrt.checkpoint import config_literals, is_checkpoint_name, module_search_path
from adaptrt_mmdet.checkpoints import Checkpoint
from adaptrt_mmdet.registered import HINT, is_data, registered_values, require_data
from adaptrt_mmdet.stand_in import ensure_ops

if TYPE_CHECKING:
    from mmengine.config import Config

DATA = (".json", ".yaml", ".yml")
MAX_DEPTH, MAX_ITEMS = 100, 200_000  # of a config that is read as data; mmdet's own have 15 and 2,000


def wheel_configs() -> dict[str, Path]:
    """The configs in mmdet's wheel by name, without the suffix."""
    found = importlib.util.find_spec("mmdet")
    if found is None or found.origin is None:
        raise ModelError("mmdet is not installed.", hint="pip install adaptrt-mmdet")
    folder = Path(found.origin).parent / ".mim" / "configs"
    files = sorted(folder.glob("*/*.py"))
    return {path.stem: path for path in files if path.parent.name not in ("_base_", "common")}


def find_config(source: str) -> Path:
    """Find a config file: a path, or a name in the wheel with or without ``mmdet::``, folder and suffix."""
    path = Path(source)
    if path.is_file():
        return path
    known = wheel_configs()
    name = Path(source.removeprefix("mmdet::")).name.removesuffix(".py")
    if name not in known:
        raise ModelError(
            f"Config not found: {source!r} is neither a file nor one of the {len(known)} configs of mmdet.",
            hint=did_you_mean(name, known) if len(name) > 2 else "For example: detr_r50_8xb2-150e_coco",
        )
    return known[name]


def load_config(source: str, overrides: Mapping[str, Any], checkpoint: Checkpoint | None = None) -> Config:
    """The config with its overrides; ``source`` may be a checkpoint that holds its config.

    A ``.py`` config that the user names is the user's code and is executed, as mmengine does. One in a checkpoint that is
    not trusted, and one in JSON or YAML, is data: it may name only what is registered.
    """
    from mmengine.config import Config

    if is_checkpoint_name(source):
        assert checkpoint is not None
        text = checkpoint.config_text()
        if checkpoint.trusted:
            config = _run(f"the config in {checkpoint.path.name}", lambda: Config.fromstring(text, ".py"))
        else:
            config = Config(registered_values(config_literals(text, HINT)))
    else:
        path = find_config(source)
        if path.suffix in DATA:
            config = Config(registered_values(_read_data(path)))
        else:
            config = _run(path.name, lambda: Config.fromfile(path), path.parent)
    override(config, overrides)
    if not isinstance(config.get("model"), dict) or "type" not in config.model:
        raise ModelError(
            f"{Path(source).name} does not define a model: it has no model=dict(type=...).",
            hint="Use the config of a detector, for example detr_r50_8xb2-150e_coco.",
        )
    if overrides and is_data(config):
        config = Config(registered_values(config.to_dict()))
    return config


def _run(name: str, read: Callable[[], Config], folder: Path | None = None) -> Config:
    ensure_ops()  # what the config imports may import mmdet's layers
    try:
        with package_lookup(), importable(folder):
            return read()
    except Exception as error:  # whatever the user's code raises
        cause = deepest_cause(error)
        hint = "A config is Python code: run it separately, and check its base configs."
        if isinstance(cause, ImportError) and folder is not None:
            hint = f"Its custom_imports are searched for in {folder}, in the current folder, and on PYTHONPATH."
        raise ModelError(
            f"Config {name} cannot be read: {type(cause).__name__}: {cause}",
            hint=hint,
        ) from error


def importable(folder: Path | None) -> contextlib.AbstractContextManager[None]:
    """The current folder, and that of a config that the user named, are searched for modules, as ``python`` does."""
    return module_search_path(*([] if folder is None else [Path.cwd(), folder]))


def deepest_cause(error: BaseException) -> BaseException:
    """The original exception: mmengine wraps it several times, with advice that may be wrong."""
    seen = {id(error)}
    while (cause := error.__cause__ or error.__context__) is not None and id(cause) not in seen:
        error = cause
        seen.add(id(error))
    return error


def executed_config(source: str) -> Path | None:
    """The Python file that reading this config executes, if it is the user's own and not one of mmdet's."""
    if is_checkpoint_name(source):
        return None
    path = find_config(source)
    return path if path.suffix not in DATA and path not in wheel_configs().values() else None


def _read_data(path: Path) -> dict[str, Any]:
    """mmengine's own reader would execute what a YAML file names."""
    import yaml

    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ModelError(
            f"Config {path.name} cannot be read: {error}", hint="Pass the config as a .py file."
        ) from error
    if not isinstance(values, dict):
        raise ModelError(
            f"Config {path.name} contains a {type(values).__name__}, not a dict.", hint="Use the config of a detector."
        )
    if not _is_bounded(values):
        raise ModelError(
            f"Config {path.name} is nested too deeply, or too large.", hint="Pass the config as a .py file."
        )
    return values


def _is_bounded(values: Any) -> bool:
    """Whether the data is bounded: a YAML alias may refer to its own container, or repeat the same data many times."""
    items, left = [values], MAX_ITEMS
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in items:
            if isinstance(item, (dict, list, tuple)):
                left -= len(item)
                if left < 0:
                    return False
                inner.extend(item.values() if isinstance(item, dict) else item)
        if not inner:
            return True
        items = inner
    return False


def override(config: Config, overrides: Mapping[str, Any]) -> None:
    """``cfg.KEY=VALUE`` in mmengine's syntax: numbers, true, None, ``[1,2]``, ``(1,2)``; keys through lists by index."""
    from mmengine.config import DictAction

    if not overrides:
        return
    read = DictAction._parse_iterable  # used by --cfg-options; there is no public API
    for key, value in overrides.items():
        parent: Any = config
        parts = key.split(".")
        for done, part in enumerate(parts[:-1]):
            child = _item(parent, part)
            if child is None:
                _refuse_slips("cfg." + ".".join(parts[: done + 1]), part, parent)
                break  # mmengine creates missing keys
            parent = child
        else:
            if isinstance(parent, list) and _item(parent, parts[-1]) is None:
                _refuse_slips(f"cfg.{key}", parts[-1], parent)
        try:
            parsed = read(value) if isinstance(value, str) else value
            _require_data(key, value, parsed)
            config.merge_from_dict({key: parsed})
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"--set cfg.{key}={value}: {error}", hint="The syntax is mmengine's --cfg-options."
            ) from error


def _require_data(key: str, value: Any, parsed: Any) -> None:
    """Reject an override that names code, also of a config that is executed: it may come from a conversion file or the environment."""
    nested = parsed
    for part in reversed(key.split(".")):
        nested = {part: nested}
    try:
        require_data(nested)
    except CheckpointError as error:
        hint = (error.hint or HINT).replace(HINT, "If you trust it, write it in your config file.")
        raise UsageError(f"--set cfg.{key}={value}: {error.message}", hint=hint) from error


def _item(parent: Any, part: str) -> Any:
    if isinstance(parent, list):
        return parent[int(part)] if part.isdecimal() and int(part) < len(parent) else None
    return parent.get(part) if isinstance(parent, dict) or hasattr(parent, "get") else None


def _refuse_slips(path: str, part: str, parent: Any) -> None:
    """Reject a missing list index, and a key so close to a known one that it must be a typo."""
    known = [str(name) for name in parent] if hasattr(parent, "keys") else [str(i) for i in range(len(parent))]
    if isinstance(parent, list) or nearest_name(part, known):
        raise UsageError(f"--set {path}...: the config has no {part!r} there.", hint=did_you_mean(part, known))


@contextlib.contextmanager
def package_lookup() -> Iterator[None]:
    """mmengine resolves the ``mmdet::`` prefix of a config with ``pkg_resources``, which setuptools 82 removed."""
    if importlib.util.find_spec("pkg_resources") is not None:
        yield
        return
    place: Any = importlib.import_module("mmengine.config.config")
    originals = place.is_installed, place.get_installed_path
    place.is_installed, place.get_installed_path = (lambda package: bool(_folder(package))), _folder
    try:
        yield
    finally:
        place.is_installed, place.get_installed_path = originals


def _folder(package: str) -> str:
    """The folder of an installed package; empty if it is not installed or has no folder."""
    found = importlib.util.find_spec(package)
    return str(Path(found.origin).parent) if found is not None and found.origin is not None else ""


def without_downloads(model: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``cfg.model`` without ``init_cfg`` of type ``Pretrained``, or with a checkpoint alone: those download weights."""
    cleaned: dict[str, Any] = copy.deepcopy(dict(model))
    _drop_pretrained(cleaned)
    return cleaned


def _drop_pretrained(value: Any) -> None:
    if isinstance(value, dict):
        init = value.get("init_cfg")
        kept = [item for item in (init if isinstance(init, (list, tuple)) else [init]) if not _is_pretrained(item)]
        if init is not None and len(kept) != (len(init) if isinstance(init, (list, tuple)) else 1):
            value["init_cfg"] = kept or None
        value.pop("pretrained", None)  # mmdet 2's syntax
        for item in value.values():
            _drop_pretrained(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _drop_pretrained(item)


def _is_pretrained(init: Any) -> bool:
    if not isinstance(init, dict):
        return False
    if "type" not in init:  # backbones such as PVT read it themselves
        return "checkpoint" in init
    return str(init["type"]).rpartition(".")[2] in ("Pretrained", "PretrainedInit")
