"""Patches a framework and a model within a ``with`` block, and restores both afterwards."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from adaptrt.contributions import FunctionPatch, ModulePatch, SwitchPatch
from adaptrt.errors import PatchError
from adaptrt.patching.targets import Target, check_version, resolve
from adaptrt.process_wide import process_wide
from adaptrt.report import PatchRecord

if TYPE_CHECKING:
    from torch import nn

    from adaptrt.plugins.facade import Contributed


@contextmanager
def applied(model: nn.Module, patches: Sequence[Contributed]) -> Iterator[list[PatchRecord]]:
    """All patches, active inside the block; restored in reverse order, even if one of them cannot be applied.

    The records' ``calls`` count as the model runs: calls of a replaced function, forward calls of a replaced
    sub-module, instances whose switches were set.
    """
    with process_wide(), ExitStack() as undo:
        records = []
        for contributed in patches:
            patch, plugin = contributed.item, contributed.plugin
            untested = check_version(patch, plugin)
            record = PatchRecord(
                target=patch.target,
                kind=type(patch).__name__,
                reason=patch.reason,
                requires=patch.requires,
                plugin=plugin,
                calls=0,
                link=patch.link,
                tested=patch.tested,
                untested=untested,
            )
            target = resolve(patch, plugin)
            if isinstance(patch, FunctionPatch):
                _replace_function(patch, target, record, undo)
            elif isinstance(patch, ModulePatch):
                _replace_modules(patch, target, model, record, undo)
            elif isinstance(patch, SwitchPatch):
                _set_switches(patch, target, model, record, undo)
            else:
                raise PatchError(
                    f"Patch of {patch.target} ({plugin}) has an unknown type.",
                    hint="Use FunctionPatch, ModulePatch or SwitchPatch.",
                )
            records.append(record)
        yield records


def require_called(records: Sequence[PatchRecord]) -> None:
    """A patch that the model never reached has no effect: an error, since its author expects one."""
    for record in records:
        if record.calls == 0:
            raise PatchError(
                f"Patch of {record.target} ({record.plugin}) was never called by this model.",
                hint="Set its target to the module that uses the function (from x import f makes a copy), or remove the patch if the model does not need it.",
            )


def warn_untested(records: Sequence[PatchRecord], warn: Callable[[str], None], *, link_1: bool) -> None:
    """Warn of patches that were not tested with the installed version; an error if link 1 will not compare the result."""
    by_version: dict[tuple[str, str, str], list[PatchRecord]] = {}
    for record in records:
        if record.untested:
            by_version.setdefault((record.plugin, record.tested, record.untested), []).append(record)
    for (plugin, tested, version), found in by_version.items():
        name = Requirement(tested).name
        text = f"{name} {version} is installed, and the patches of {plugin} ({len(found)}) were tested with {tested}"
        if not link_1:
            raise PatchError(
                f"{text}; without link 1 nothing checks that the result is unchanged.",
                hint=f"Convert with --verify quick or full, or install a tested version: pip install '{tested}'",
            )
        warn(f"{text}: link 1 checks that the result is unchanged.")


def _replace_function(patch: FunctionPatch, target: Target, record: PatchRecord, undo: ExitStack) -> None:
    stored = target.value
    original = stored.__func__ if isinstance(stored, (staticmethod, classmethod)) else stored
    if not callable(original):
        raise PatchError(f"Patch of {patch.target} ({record.plugin}): the target is not a function.")

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        record.calls += 1
        return patch.replacement(original, *args, **kwargs)

    wrapped = type(stored)(replaced) if isinstance(stored, (staticmethod, classmethod)) else replaced
    _set(target.owner, target.attribute, wrapped, record, undo)


def _replace_modules(
    patch: ModulePatch, target: Target, model: nn.Module, record: PatchRecord, undo: ExitStack
) -> None:
    kind = _class(patch, target, record)
    if isinstance(model, kind):
        raise PatchError(
            f"Patch of {patch.target} ({record.plugin}) would replace the model itself.",
            hint="Replace one of its methods with a FunctionPatch.",
        )

    def count(*_: Any) -> None:
        record.calls += 1

    # a module may be registered several times; all are collected first, since replacing changes what modules() finds
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent._modules.items()
        if child is not None and isinstance(child, kind)
    ]
    built: dict[nn.Module, nn.Module] = {}
    for parent, name, child in places:
        if child not in built:
            built[child] = _build(patch, child, record)
            undo.callback(built[child].register_forward_pre_hook(count).remove)
        _set(parent, name, built[child], record, undo)


def _build(patch: ModulePatch, child: nn.Module, record: PatchRecord) -> nn.Module:
    try:
        replacement = patch.build(child)
    except Exception as error:
        raise PatchError(
            f"Patch of {patch.target} ({record.plugin}) cannot build its replacement: {type(error).__name__}: {error}",
            hint=f"{patch.requires} is supported. Use --debug to show the full traceback.",
        ) from error
    if not callable(getattr(replacement, "register_forward_pre_hook", None)) or isinstance(replacement, type):
        raise PatchError(
            f"Patch of {patch.target} ({record.plugin}) must build a torch.nn.Module, got {type(replacement).__name__}."
        )
    return replacement.train(child.training)


def _set_switches(patch: SwitchPatch, target: Target, model: nn.Module, record: PatchRecord, undo: ExitStack) -> None:
    kind = _class(patch, target, record)
    for module in model.modules():
        if not isinstance(module, kind):
            continue
        record.calls += 1
        for name, value in patch.values.items():
            if not hasattr(module, name):
                raise PatchError(
                    f"Patch of {patch.target} ({record.plugin}): no attribute {name!r} to set.",
                    hint=f"{patch.requires} is supported; the framework may have renamed the attribute.",
                )
            _set(module, name, value, record, undo)


def _set(owner: Any, name: str, value: Any, record: PatchRecord, undo: ExitStack) -> None:
    """Set an attribute; the undo step is registered first, since an interrupt may come in between."""
    undo.callback(_way_back(owner, name))
    try:
        setattr(owner, name, value)
    except (AttributeError, TypeError) as error:
        raise PatchError(f"Patch of {record.target} ({record.plugin}): {name} cannot be replaced: {error}") from error


def _way_back(owner: Any, name: str) -> Callable[[], None]:
    own: Mapping[str, Any] = getattr(owner, "__dict__", {})
    if name in own:
        stored = own[name]

        def put_back() -> None:
            if own.get(name) is not stored:  # it may never have been set
                setattr(owner, name, stored)

        return put_back
    if _held_elsewhere(owner, name):
        return functools.partial(setattr, owner, name, getattr(owner, name))

    def take_away() -> None:  # the class has it, or a base class
        if name in own:
            delattr(owner, name)

    return take_away


def _held_elsewhere(owner: Any, name: str) -> bool:
    """Set through a descriptor: a property, or what torch registers (parameters, buffers, sub-modules)."""
    if isinstance(owner, type):
        return False
    registered = any(name in getattr(owner, held, ()) for held in ("_parameters", "_buffers", "_modules"))
    return registered or hasattr(inspect.getattr_static(type(owner), name, None), "__set__")


def _class(patch: ModulePatch | SwitchPatch, target: Target, record: PatchRecord) -> type:
    if not isinstance(target.value, type):
        raise PatchError(f"Patch of {patch.target} ({record.plugin}): the target is not a class.")
    return target.value
