"""One set of plugins for one conversion: core's defaults, the adapter, extensions, in this order."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from adaptrt import hookspecs
from adaptrt.errors import DependencyError, PluginError, did_you_mean
from adaptrt.plugins.discovery import ADAPTERS, EXTENSIONS, Candidate, find_candidates
from adaptrt.plugins.facade import Hooks
from adaptrt.plugins.marks import requires_calib
from adaptrt.plugins.mistakes import import_place, signature_problem, unmarked_hooks
from adaptrt.plugins.recorder import HookCall, Recorder
from adaptrt.specs.installed import install_target
from adaptrt.specs.registry import unread_groups

if TYPE_CHECKING:
    from adaptrt.plugins.settings import Settings


ADAPTER_HOOKS = ("adapter_options", "load_model")
_MISMATCH = "does not match the hook specifications"


@dataclass(frozen=True)
class SkippedExtension:
    """An installed extension that is not active, and the reason."""

    name: str
    source: str
    reason: str


class Session:
    """A fresh plugin manager. ``hooks`` calls it; ``warnings`` names extensions that were skipped without being disabled.

    ``defaults`` are core's own plugins by name; ``settings_path`` is the file whose ``[plugins] modules`` are loaded.
    """

    def __init__(
        self,
        defaults: Mapping[str, object],
        *,
        on_call: Callable[[HookCall], None] | None = None,
    ) -> None:
        self.warnings: list[str] = []
        self.sources: dict[str, str] = {}
        self.skipped: list[SkippedExtension] = []
        self.outdated: list[PluginError] = []
        self.adapter: Candidate | None = None
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._recorder = Recorder(on_call)
        for name, plugin in defaults.items():
            self._register(plugin, name, "adaptrt", trusted=True)

    @property
    def hooks(self) -> Hooks:
        return Hooks(self._manager, self._recorder, self.sources, self.adapter.name if self.adapter else None)

    @property
    def calls(self) -> Sequence[HookCall]:
        return self._recorder.calls

    def implementations(self) -> dict[str, list[str]]:
        """Each hook, in the order of a conversion, with the plugins that implement it, in the order they are called."""
        order: dict[str, list[str]] = {}
        for hook in vars(hookspecs):
            caller = getattr(self._manager.hook, hook, None)
            if isinstance(caller, pluggy.HookCaller):
                order[hook] = [found.plugin_name for found in reversed(caller.get_hookimpls())]
        return order

    def others(self, hook: str) -> list[str]:
        """The plugins besides core that implement or wrap a hook."""
        return [name for name in self.implementations()[hook] if self.sources[name] != "adaptrt"]

    def quantizers(self) -> list[str]:
        """The plugins besides core that may quantize without ``--calib``: all but those with a hook that needs it."""
        return [
            found.plugin_name
            for found in self._manager.hook.quantize.get_hookimpls()
            if self.sources[found.plugin_name] != "adaptrt" and not requires_calib(found.function)
        ]

    def wrappers(self) -> dict[str, list[str]]:
        """Each wrapped hook with its wrappers, which run around all other implementations."""
        found: dict[str, list[str]] = {}
        for hook in self.implementations():
            for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
                if implementation.wrapper:
                    found.setdefault(hook, []).append(implementation.plugin_name)
        return found

    def answered(self, hook: str) -> str:
        """The plugin whose result the last call of a hook returned: ``core``, or the plugin with its distribution."""
        name = self._recorder.answered(hook)
        if name is None or self.sources.get(name) == "adaptrt":
            return "core"
        return f"{name} ({self.sources[name]})"

    def add_adapter(self, name: str) -> None:
        """Import and register the adapter; any problem is an error, since it was requested by name."""
        self.adapter = find_adapter(name)
        self._register(_load(self.adapter), name, self.adapter.source)
        implemented = {caller.name for caller in self._manager.get_hookcallers(self._manager.get_plugin(name)) or []}
        if "load_model" not in implemented:
            raise PluginError(
                f"{name} ({self.adapter.source}) has no load_model hook.",
                hint="Implement load_model(ctx) in the adapter, marked with @adaptrt.hookimpl.",
            )

    def add_extensions(self, settings: Settings, settings_path: Path | None) -> None:
        """Register modules named in plugins.toml, in order, then installed extensions by name."""
        if settings_path is not None:
            for module in settings.plugins.modules:
                self._register(_import_module(module, settings_path), module, str(settings_path))
        by_name: dict[str, list[Candidate]] = {}
        for candidate in find_candidates(EXTENSIONS):
            if candidate.name in settings.plugins.disable:
                self.skipped.append(SkippedExtension(candidate.name, candidate.source, "disabled in plugins.toml"))
            else:
                by_name.setdefault(candidate.name, []).append(candidate)
        for name, candidates in by_name.items():
            source = candidates[0].source
            if len(candidates) > 1:
                owners = " and ".join(candidate.source for candidate in candidates)
                self.warnings.append(f"Skipping extension {name}: it is claimed by {owners}.")
                self.skipped += [SkippedExtension(name, one.source, f"claimed by {owners}") for one in candidates]
                continue
            problems = "; ".join(candidates[0].problems())
            if problems:
                self.warnings.append(f"Skipping extension {name}: {source} cannot run here: {problems}.")
                self.skipped.append(SkippedExtension(name, source, problems))
                continue
            try:
                self._register(_load(candidates[0]), name, source)
            except PluginError as error:
                self.warnings.append(
                    " ".join(filter(None, [f"Skipping extension {name}: {error.message}", error.hint]))
                )
                self.skipped.append(SkippedExtension(name, source, error.message))

    def require_current(self) -> None:
        """Raise the error of the first plugin with a hook under its old name: the result would lack that plugin's part."""
        if self.outdated:
            raise self.outdated[0]

    def _register(self, original: object, name: str, source: str, *, trusted: bool = False) -> None:
        taken = self.sources.get(name)
        if taken is not None:
            raise PluginError(
                f"{name} ({source}): a plugin of this name is active already, from {taken}.",
                hint="Plugins need different names, also an adapter and an extension of one distribution.",
            )
        plugin = self._recorder.stand_in(self._manager, original, name)
        mismatch = None if trusted else signature_problem(self._manager, plugin)
        if mismatch:
            raise PluginError(f"{name} ({source}) {_MISMATCH}: {mismatch[0]}", hint=mismatch[1])
        try:
            self._manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.get_plugin(name) is plugin:
                self._manager.unregister(plugin)
            raise PluginError(f"{name} ({source}) {_MISMATCH}: {error}.".replace("\n", " ")) from error
        if not trusted:
            problem = self._problem(plugin, is_adapter=self.adapter is not None and name == self.adapter.name)
            if problem:
                callers = self._manager.get_hookcallers(plugin) or []
                renamed = any(caller.name in hookspecs.RENAMED for caller in callers)
                self._manager.unregister(plugin)
                rejected = PluginError(f"{name} ({source}): {problem[0]}", hint=problem[1])
                if renamed:
                    self.outdated.append(rejected)
                raise rejected
            unmarked = unmarked_hooks(original, len(self._manager.get_hookcallers(plugin) or []))
            if unmarked:
                self.warnings.append(f"{name} ({source}): {unmarked}")
        self.sources[name] = source

    def _problem(self, plugin: object, *, is_adapter: bool) -> tuple[str, str] | None:
        """The rule for plugins outside core that this plugin violates, and a hint; ``None`` if there is none."""
        for caller in self._manager.get_hookcallers(plugin) or []:
            if caller.name in hookspecs.RENAMED:
                new = hookspecs.RENAMED[caller.name]
                return f"the hook {caller.name} is now called {new}.", f"Rename it: see {new} in the hook reference."
            if not caller.has_spec():
                known = [name for name in vars(hookspecs) if getattr(getattr(hookspecs, name), "adaptrt_spec", None)]
                return f"unknown hook {caller.name!r}.", did_you_mean(caller.name, known)
            if caller.name in ADAPTER_HOOKS and not is_adapter:
                return (
                    f"{caller.name} is called on the adapter only.",
                    "Remove it, or register the plugin as an adapter.",
                )
            for implementation in caller.get_hookimpls():
                if implementation.plugin is not plugin:
                    continue
                if implementation.tryfirst or implementation.trylast:
                    return (
                        f"tryfirst and trylast are not allowed ({caller.name}): they would break the order core, adapter, extensions.",
                        "Remove them; order extensions in plugins.toml, or use wrapper=True.",
                    )
                if implementation.hookwrapper:
                    return (
                        f"hookwrapper=True is not supported ({caller.name}).",
                        "Use wrapper=True: return (yield).",
                    )
        return None


def find_adapter(name: str) -> Candidate:
    """The one installed adapter with this name, if its requirements are met; else a ``PluginError`` with a hint."""
    candidates = find_candidates(ADAPTERS)
    found = [candidate for candidate in candidates if candidate.name == name]
    if not found:
        raise _no_adapter(name, [candidate.name for candidate in candidates])
    if len(found) > 1:
        raise PluginError(
            f"Adapter {name!r} is claimed by {' and '.join(candidate.source for candidate in found)}.",
            hint=f"Uninstall one of them: pip uninstall {found[-1].distribution}",
        )
    problems = found[0].problems()
    if problems:
        raise DependencyError(
            f"Adapter {name!r} ({found[0].source}) cannot run here: {'; '.join(problems)}.",
            hint=f"Install its requirements: pip install --upgrade {install_target(found[0].distribution)}",
        )
    return found[0]


def _no_adapter(name: str, installed: Sequence[str]) -> PluginError:
    """The error for a missing adapter: how to install it if it is in the catalog, else the closest installed name."""
    from adaptrt.plugins.catalog import read_catalog

    entry = read_catalog().get(name)
    if entry is not None:
        hint = f"Install it: pip install {install_target(entry.distribution)}"
        return PluginError(f"Adapter {name!r} is not installed.", hint=hint)
    hint = did_you_mean(name, installed) if installed else "No adapter is installed."
    hint = f"{hint} See: adaptrt adapters{'' if installed else ' --all'}"
    return PluginError(f"Unknown adapter {name!r}.", hint="\n".join([hint, *unread_groups(name)]))


def _load(candidate: Candidate) -> Any:
    try:
        return candidate.entry_point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{candidate.name} ({candidate.source}) cannot be imported: {type(error).__name__}: {error}",
            hint=f"Try: python -c 'import {candidate.module.partition(':')[0]}'",
        ) from error


def _import_module(name: str, settings: Path) -> ModuleType:
    """A module by dotted name, or a ``.py`` file beside the settings."""
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = (settings.parent / name).resolve()
        module_name = f"adaptrt_extension_{path.stem}"
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if place := import_place(error):
            hint = f"Raised at {place}. Use --debug to show the full traceback."
        elif (settings.parent / f"{name}.py").is_file():
            hint = f"A file next to {settings.name} is named with its suffix: '{name}.py'."
        else:
            hint = f"Check its name, and that it is installed or next to {settings.name}."
        raise PluginError(
            f"Module {name!r} of {settings.name} cannot be imported: {type(error).__name__}: {error}", hint=hint
        ) from error
    return module
