"""Resolves SOURCE: an object in a module or a ``.py`` file, or a file with an exported program."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import shlex
import sys
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from adaptrt import AdaptrtError, ModelError, UsageError, nearest_file, nearest_name
from adaptrt.checkpoint import check_kind, is_checkpoint_name, is_safetensors, module_search_path

EXAMPLE = "For example: mypackage.models:build_net, or net.py:Net"
PROGRAMS = (".pt2", ".ts", ".jit", ".torchscript")


def is_file_source(source: str) -> bool:
    """Whether the source is a file, not ``place:attribute``."""
    return source.endswith(PROGRAMS) or is_checkpoint_name(source) or (":" not in source and Path(source).exists())


def file_kind(path: Path) -> Literal["program", "torchscript"]:
    """Whether a file is a torch.export program or TorchScript; any other file is an error."""
    if not path.is_file():
        raise ModelError(f"File not found: {path}.", hint=nearest_file(path) or EXAMPLE)
    if path.suffix == ".py":
        raise UsageError(f"{path} does not say which object to convert.", hint=f"Append its name: {path}:Net")
    if not is_safetensors(path):
        check_kind(path)  # what is cut off, or nothing of torch's, holds no weights either
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    parts = {part for name in names for part in name.split("/")[:2]}
    if parts & {"archive_format", "serialized_exported_program.json"} or any(
        "models/model.json" in name for name in names
    ):
        return "program"
    if parts & {"constants.pkl", "code"}:
        return "torchscript"
    raise ModelError(
        f"{path} contains no program; weights alone do not define a network.",
        hint=f"Specify the network: adaptrt convert --adapter torch module:attribute --weights {shlex.quote(str(path))}",
    )


def find_object(source: str) -> Any:
    """The object of ``module:attribute`` or ``file.py:attribute``; importing it runs the user's own code."""
    place, _, attribute = source.rpartition(":")
    if not _is_name(attribute) or not (_is_name(place) or place.endswith(".py")):
        raise UsageError(f"{source!r} must have the form module:attribute or file.py:attribute.", hint=EXAMPLE)
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module_by_name(place)
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            known = [known for known in vars(found) if not known.startswith("_")] if hasattr(found, "__dict__") else []
            raise ModelError(f"{place} has no {name!r}.", hint=nearest_name(name, known) or EXAMPLE)
        found = getattr(found, name)
    return found


def _is_name(text: str) -> bool:
    """Whether it is ``name`` or ``name.name``; nothing else is looked up, so nothing is imported for it."""
    return all(part.isidentifier() for part in text.split("."))


def importable(source: str) -> AbstractContextManager[None]:
    """Add the current folder, and that of a ``.py`` source, to the module search path, as ``python`` does."""
    place = source.rpartition(":")[0]
    return module_search_path(Path.cwd(), *([Path(place).resolve().parent] if place.endswith(".py") else []))


def _module_by_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if not f"{name}.".startswith(f"{missing}."):
            raise ModelError(
                f"{name} needs {missing}, which is not installed.", hint=f"Try: python -c 'import {name}'"
            ) from error
        close = nearest_name(missing, [module.name for module in pkgutil.iter_modules()])
        raise ModelError(
            f"No module named {missing!r}.",
            hint=f"{f'{close} ' if close else ''}Install its package, or run adaptrt from the folder that contains it.",
        ) from error
    except AdaptrtError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _module_of_file(path: Path) -> ModuleType:
    """A fresh module each time: the file may have changed since the last conversion."""
    if not path.is_file():
        raise ModelError(f"File not found: {path}.", hint=nearest_file(path, [".py"]) or EXAMPLE)
    name = f"adaptrt_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and exporters look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _broken(str(path), error) from error
    return module


def _broken(place: str, error: BaseException) -> ModelError:
    return ModelError(
        f"{place} cannot be imported: {type(error).__name__}: {error}",
        hint="--debug shows the full traceback.",
    )
