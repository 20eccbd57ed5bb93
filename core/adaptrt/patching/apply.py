"""Patches a framework and a model for the length of a ``with`` block, and puts everything back."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from adaptrt.contributions import FunctionPatch, ModulePatch, SwitchPatch
from adaptrt.errors import PatchError
from adaptrt.patching.targets import Target, check_version, resolve
from adaptrt.report import PatchRecord

if TYPE_CHECKING:
    from torch import nn

    from adaptrt.plugins.facade import Contributed

# patches change the whole process: one export at a time
_process_wide = threading.RLock()


@contextmanager
def applied(model: nn.Module, patches: Sequence[Contributed]) -> Iterator[list[PatchRecord]]:
    """All patches, active inside the block; restored in reverse, also when one of them cannot be applied.

    The records' ``calls`` count as the model runs: calls of a replaced function, forward calls of a replaced
    sub-module, instances whose switches were set.
    """
    with _process_wide, ExitStack() as undo:
        records = []
        for contributed in patches:
            patch, plugin = contributed.item, contributed.plugin
            check_version(patch, plugin)
            record = PatchRecord(
                target=patch.target,
                kind=type(patch).__name__,
                reason=patch.reason,
                requires=patch.requires,
                plugin=plugin,
                calls=0,
                link=patch.link,
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
                    f"Patch of {patch.target} ({plugin}) is of no known kind.",
                    hint="Use FunctionPatch, ModulePatch or SwitchPatch.",
                )
            records.append(record)
        yield records


def require_called(records: Sequence[PatchRecord]) -> None:
    """A patch that the model never reached patches nothing: an error, since its author believes it does."""
    for record in records:
        if record.calls == 0:
            raise PatchError(
                f"Patch of {record.target} ({record.plugin}) was never called by this model.",
                hint="Its target is not the place of use (from x import f makes a copy), or the model does not need it.",
            )


def _replace_function(patch: FunctionPatch, target: Target, record: PatchRecord, undo: ExitStack) -> None:
    static = isinstance(target.value, staticmethod)
    original = target.value.__func__ if isinstance(target.value, (staticmethod, classmethod)) else target.value
    if not callable(original):
        raise PatchError(f"Patch of {patch.target} ({record.plugin}): the target is no function.")

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        record.calls += 1
        return patch.replacement(original, *args, **kwargs)

    wrap: Callable[[Any], Any] = (
        staticmethod if static else type(target.value) if isinstance(target.value, classmethod) else _same
    )
    setattr(target.owner, target.attribute, wrap(replaced))
    if target.inherited:
        undo.callback(delattr, target.owner, target.attribute)
    else:
        undo.callback(setattr, target.owner, target.attribute, target.value)


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

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                replacement = patch.build(child)
                handle = replacement.register_forward_pre_hook(count)
                setattr(parent, name, replacement)
                undo.callback(setattr, parent, name, child)
                undo.callback(handle.remove)


def _set_switches(patch: SwitchPatch, target: Target, model: nn.Module, record: PatchRecord, undo: ExitStack) -> None:
    kind = _class(patch, target, record)
    for module in model.modules():
        if not isinstance(module, kind):
            continue
        record.calls += 1
        for name, value in patch.values.items():
            if not hasattr(module, name):
                raise PatchError(
                    f"Patch of {patch.target} ({record.plugin}): there is no switch {name!r}.",
                    hint=f"{patch.requires} is supported; the framework may have renamed it.",
                )
            if name in vars(module):
                undo.callback(setattr, module, name, vars(module)[name])
            else:
                undo.callback(delattr, module, name)
            setattr(module, name, value)


def _class(patch: ModulePatch | SwitchPatch, target: Target, record: PatchRecord) -> type:
    if not isinstance(target.value, type):
        raise PatchError(f"Patch of {patch.target} ({record.plugin}): the target is no class.")
    return target.value


def _same(function: Any) -> Any:
    return function
