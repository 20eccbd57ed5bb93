"""The typed way to call hooks: the only code that touches ``pm.hook``. Checks results and names the plugin at fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from adaptrt.contributions import GraphPass, Metric, Patch
from adaptrt.errors import AdaptrtError, PluginError, ShapeError, UsageError, disk_error
from adaptrt.options import fill_options
from adaptrt.plugins.raised_at import raised_at
from adaptrt.plugins.recorder import Recorder
from adaptrt.predictions import ImageMeta
from adaptrt.specs import ModelSpec, task_named
from adaptrt.specs.backend_parts import KeepsManifest
from adaptrt.specs.backends import Built
from adaptrt.specs.decoders import find_decoder

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from adaptrt.predictions import Predictions
    from adaptrt.report import Report
    from adaptrt.request import Conversion
    from adaptrt.specs import Precision
    from adaptrt.specs.backends import Backend

C = TypeVar("C", Patch, GraphPass, Metric)


def _numpy_name(dtype: str) -> str | None:
    """NumPy's name of a type; ``None`` if it has none."""
    import numpy as np

    try:
        return str(np.dtype(dtype).name)
    except (TypeError, ValueError, SyntaxError):  # some text is parsed
        return None


@dataclasses.dataclass(frozen=True)
class Contributed:
    """A contribution and its plugin."""

    item: Any
    plugin: str


class Hooks:
    """Calls hooks on a plugin manager; ``sources`` maps a plugin's name to its distribution and version."""

    def __init__(
        self, manager: pluggy.PluginManager, recorder: Recorder, sources: Mapping[str, str], adapter: str | None
    ) -> None:
        self._manager = manager
        self._recorder = recorder
        self._sources = sources
        self._adapter = adapter

    def only_core(self, hook: str) -> bool:
        """Whether core's default is the only implementation, and no one listens to calls: it may then be called directly."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        core = all(self._sources[one.plugin_name] == "adaptrt" for one in implementations)
        return core and not self._recorder.listening

    def adapter_options(self) -> type[Any] | None:
        options = self._call("adapter_options", adapter_only=True)
        if options is not None and not (isinstance(options, type) and dataclasses.is_dataclass(options)):
            raise self._wrong("adapter_options", "a dataclass type", options, plugin=self._adapter)
        return options

    def load_model(self, ctx: Conversion) -> nn.Module:
        model = self._call("load_model", adapter_only=True, ctx=ctx)
        if isinstance(model, type) or not callable(getattr(model, "named_modules", None)):
            raise self._wrong("load_model", "a torch.nn.Module", model, plugin=self._adapter)
        kinds = {str(one.dtype).removeprefix("torch.") for one in model.parameters() if one.is_floating_point()}
        wanted = "float64" if kinds == {"float64"} else "float32"  # the reference of a float64 model is float64
        for name, parameter in model.named_parameters():
            kind, place = str(parameter.dtype).removeprefix("torch."), parameter.device.type
            if place != "cpu" or (parameter.is_floating_point() and kind != wanted):
                raise PluginError(
                    f"{self._label(self._adapter)} must return a float32 model on the CPU from load_model, but "
                    f"returned one with {name} in {kind} on {place}.",
                    hint="return model.float().cpu()",
                )
        return model  # type: ignore[no-any-return]

    def model_spec(self, ctx: Conversion, model: nn.Module) -> ModelSpec:
        spec = self._call("model_spec", ctx=ctx, model=model)
        if not isinstance(spec, ModelSpec):
            raise self._wrong("model_spec", "a ModelSpec", spec)
        try:
            spec.to_json()
        except TypeError as error:
            raise self._wrong_spec(
                f"that cannot be serialized: {error}.",
                "Use plain values only: text, numbers, lists and dicts of them; str(path) for a path.",
            ) from error
        if not spec.inputs:
            raise self._wrong_spec("without inputs.", "For example: ModelSpec(inputs=(InputSpec.image(640, 640),))")
        try:
            task_named(spec.task)
        except UsageError as error:
            raise self._wrong_spec(f"with an unknown task, {spec.task!r}.", error.hint) from error
        if spec.decoder is not None:
            decoder = spec.decoder.name
            try:
                fill_options(find_decoder(decoder, spec.decoder.distribution).params, spec.decoder.params)
            except UsageError as error:
                problem = f"with invalid parameters of decoder {decoder!r}: {error.message}"
                raise self._wrong_spec(problem, error.hint) from error
            except PluginError as error:
                raise self._wrong_spec(f"whose decoder cannot be used: {error.message}", error.hint) from error
        names = [tensor.name for tensor in spec.inputs]
        for kind, named in (("inputs", names), ("outputs", [tensor.name for tensor in spec.outputs])):
            twice = next((name for name in named if named.count(name) > 1), None)
            if twice is not None:
                raise self._wrong_spec(f"with several {kind} named {twice!r}.", "Give each a different name.")
        for tensor in spec.inputs:
            known = _numpy_name(tensor.dtype)
            if known != tensor.dtype:
                hint = f"Use {known!r}." if known else "Use the name of a NumPy type: float32, int64, uint8 ..."
                raise self._wrong_spec(f"whose input {tensor.name!r} has an unknown type, {tensor.dtype!r}.", hint)
        if spec.image is not None and spec.image.input not in names:
            raise self._wrong_spec(
                f"whose image is assigned to {spec.image.input!r}, which is not an input.",
                f"Set ImageTransform(input=...) to one of {', '.join(names)}.",
            )
        if spec.image is not None and spec.image.implausible:
            ctx.warn(spec.image.implausible)
        return spec

    def example_inputs(
        self, ctx: Conversion, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int
    ) -> dict[str, torch.Tensor]:
        """The inputs in the order of the spec, with exactly the requested shapes."""
        inputs = self._call("example_inputs", ctx=ctx, spec=spec, shapes=shapes, seed=seed)
        if not isinstance(inputs, Mapping) or set(inputs) != set(shapes):
            got = (
                dict.fromkeys(inputs, "...") if isinstance(inputs, Mapping) else inputs
            )  # tensors would hide the names
            raise self._wrong("example_inputs", f"a mapping with the inputs {', '.join(shapes)}", got)
        for name, shape in shapes.items():
            tensor, dtype = inputs[name], spec.input(name).dtype
            if not callable(getattr(tensor, "numpy", None)):
                raise self._wrong("example_inputs", f"a torch.Tensor for {name}", tensor)
            given = (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            if given != (tuple(shape), dtype):
                raise self._wrong("example_inputs", f"{name} of shape {tuple(shape)} and {dtype}", given)
        return {tensor.name: inputs[tensor.name] for tensor in spec.inputs}

    def patches(self, ctx: Conversion, model: nn.Module, spec: ModelSpec) -> list[Contributed]:
        return self._collected("patches", Patch, lambda patch: patch.target, ctx=ctx, model=model, spec=spec)

    def export_onnx(
        self, ctx: Conversion, model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec
    ) -> Path:
        return self._required_file("export_onnx", ctx=ctx, model=model, inputs=inputs, spec=spec)

    def graph_passes(self, ctx: Conversion, spec: ModelSpec) -> list[Contributed]:
        """All passes, by ``order``, then by name."""
        passes = self._collected("graph_passes", GraphPass, lambda found: found.name, ctx=ctx, spec=spec)
        return sorted(passes, key=lambda found: (found.item.order, found.item.name))

    def quantize(self, ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path:
        return self._required_file("quantize", ctx=ctx, onnx_path=onnx_path, spec=spec, precision=precision)

    def reduce_precision(self, ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path:
        return self._required_file("reduce_precision", ctx=ctx, onnx_path=onnx_path, spec=spec, precision=precision)

    def configure_builder(self, ctx: Conversion, network: Any, config: Any) -> None:
        self._call("configure_builder", ctx=ctx, network=network, config=config)

    def build_engine(
        self, ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision, backend: Backend
    ) -> Built | None:
        """The files built for this backend; ``None`` if no plugin can build them."""
        result = self._call(
            "build_engine", ctx=ctx, onnx_path=onnx_path, spec=spec, precision=precision, backend=backend
        )
        if isinstance(result, Path) and result.is_file():
            if isinstance(backend, KeepsManifest):
                return backend.built_of(result)
            return Built(files={backend.suffixes[0]: result})
        if isinstance(result, Built) and result.files and all(path.is_file() for path in result.files.values()):
            return result
        if result is None:
            return None
        raise self._wrong("build_engine", "the Path of a file it wrote", result)

    def preprocess(self, image: NDArray[np.uint8], spec: ModelSpec) -> tuple[Mapping[str, NDArray[Any]], ImageMeta]:
        result = self._call("preprocess", image=image, spec=spec)
        if not (
            isinstance(result, tuple)
            and len(result) == 2
            and isinstance(result[0], Mapping)
            and set(result[0]) == {tensor.name for tensor in spec.inputs}
            and isinstance(result[1], ImageMeta)
        ):
            names = ", ".join(tensor.name for tensor in spec.inputs)
            raise self._wrong("preprocess", f"(arrays for {names}, ImageMeta)", result)
        return result

    def postprocess(
        self, outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec
    ) -> Sequence[Predictions]:
        result = self._call("postprocess", outputs=outputs, metas=metas, spec=spec)
        if not isinstance(result, Sequence) or len(result) != len(metas):
            raise self._wrong("postprocess", f"{len(metas)} predictions", result)
        for index, prediction in enumerate(result):
            self._require_prediction("postprocess", prediction, spec, metas[index].original_size)
        return result

    def framework_predictions(self, ctx: Conversion, image: Path, spec: ModelSpec) -> Predictions | str | None:
        result = self._call("framework_predictions", ctx=ctx, image=image, spec=spec)
        if result is not None and not isinstance(result, str):
            self._require_prediction("framework_predictions", result, spec)
        return result

    def metrics(self, ctx: Conversion, spec: ModelSpec, precision: Precision) -> list[Contributed]:
        return self._collected("metrics", Metric, lambda metric: metric.name, ctx=ctx, spec=spec, precision=precision)

    def conversion_finished(self, ctx: Conversion, report: Report) -> None:
        """Call every plugin, even if one raises; all failures are combined in one error."""
        errors: list[AdaptrtError] = []
        notified: set[str] = set()
        implementing = {found.plugin_name for found in self._manager.hook.conversion_finished.get_hookimpls()}
        while implementing - notified:
            before = self._recorder.calls[-1] if self._recorder.calls else None
            try:
                self._call("conversion_finished", without=notified, ctx=ctx, report=report)
            except AdaptrtError as error:  # pluggy stops at a plugin that raises
                errors.append(error)
            else:
                break
            called = set()
            for call in reversed(self._recorder.calls.copy()):
                if call is before:
                    break
                called.add(call.plugin)
            if not called:
                break
            notified |= called
        if len(errors) > 1:
            raise PluginError(" ".join(error.message for error in errors)) from errors[0]
        if errors:
            raise errors[0]

    def _caller(self, hook: str, without: Container[str]) -> pluggy.HookCaller:
        plugins = self._manager.list_name_plugin()
        removed = [plugin for name, plugin in plugins if name in without and plugin is not None]
        return self._manager.subset_hook_caller(hook, removed)

    def _others(self) -> set[str]:
        """All plugins except the adapter."""
        return {name for name, _ in self._manager.list_name_plugin() if name != self._adapter}

    def _call(
        self, hook: str, *, adapter_only: bool = False, without: Container[str] = frozenset(), **arguments: Any
    ) -> Any:
        try:
            return self._caller(hook, self._others() if adapter_only else without)(**arguments)
        except AdaptrtError:
            raise
        except Exception as error:
            full = disk_error(error)
            if full is not None:  # not the plugin's fault: the caller that owns the folder adds a hint
                raise full from error
            if isinstance(error, MemoryError):  # not its fault either
                raise ShapeError(
                    f"Not enough memory for {hook}: {error}.",
                    hint="Reduce --imgsz, --batch or --shape.",
                ) from error
            plugin = self._recorder.failed_in(error)
            raise PluginError(
                f"{self._label(plugin)} failed in {hook}: {type(error).__name__}: {error}",
                hint=f"{raised_at(error)} Use --debug to show the full traceback.".lstrip(),
            ) from error

    def _file(self, hook: str, **arguments: Any) -> Path | None:
        result = self._call(hook, **arguments)
        if result is not None and not (isinstance(result, Path) and result.is_file()):
            raise self._wrong(hook, "the Path of a file it wrote", result)
        return result

    def _required_file(self, hook: str, **arguments: Any) -> Path:
        path = self._file(hook, **arguments)
        if path is None:
            raise self._wrong(hook, "the Path of a file it wrote", None)
        return path

    def _collected(self, hook: str, wanted: type[C], key: Callable[[C], str], **arguments: Any) -> list[Contributed]:
        """Everything contributed, with its plugin; conflicts are errors, and replaced contributions are dropped."""
        found: list[Contributed] = []
        for items in self._call(hook, **arguments):
            if isinstance(items, wanted) or not isinstance(items, (list, tuple)):
                plugin = self._recorder.contributor(items)
                raise self._wrong(hook, f"a list of {wanted.__name__}", items, plugin=plugin)
            for item in items:
                plugin = self._recorder.contributor(item)
                if not isinstance(item, wanted):
                    raise self._wrong(hook, f"a list of {wanted.__name__}", item, plugin=plugin)
                found.append(Contributed(item, plugin or "unknown"))
        replaced = {one.item.replaces for one in found if one.item.replaces}
        kept: dict[str, Contributed] = {}
        for one in found:
            name = key(one.item)
            if name in replaced and not one.item.replaces:
                continue
            if name in kept:
                both = f"{self._label(kept[name].plugin)} and {self._label(one.plugin)}"
                if name in replaced:
                    raise PluginError(
                        f"{both} both replace {name!r} in {hook}.", hint="Disable one of them in plugins.toml."
                    )
                raise PluginError(
                    f"{both} both contribute {name!r} to {hook}.",
                    hint=f"Set replaces={name!r} on one of them, or disable one in plugins.toml.",
                )
            kept[name] = one
        return list(kept.values())

    def _require_prediction(
        self, hook: str, prediction: Any, spec: ModelSpec, size: tuple[int, int] | None = None
    ) -> None:
        """A ``PluginError`` unless it is a usable prediction of the task, for an image of this size; core's own are."""
        task = task_named(spec.task)
        if not isinstance(prediction, task.prediction):
            raise self._wrong(hook, f"{task.prediction.__name__} (task {task.name!r})", prediction)
        plugin = self._recorder.answered(hook)
        if self._sources.get(plugin or "") == "adaptrt":
            return
        if (malformed := task.malformed(prediction, spec, size)) is not None:
            kind = type(prediction).__name__
            raise PluginError(
                f"{self._label(plugin or self._adapter)} returned a malformed {kind} from {hook}: {malformed}.",
                hint=f"See {kind} in the Python API reference.",
            )

    def _wrong_spec(self, problem: str, hint: str | None) -> PluginError:
        who = self._label(self._recorder.answered("model_spec") or self._adapter)
        return PluginError(f"{who} returned a spec from model_spec {problem}", hint=hint)

    def _label(self, plugin: str | None) -> str:
        return f"{plugin} ({self._sources.get(plugin, 'unknown distribution')})" if plugin else "A plugin"

    def _wrappers(self, hook: str) -> set[str]:
        return {one.plugin_name for one in getattr(self._manager.hook, hook).get_hookimpls() if one.wrapper}

    def _wrong(self, hook: str, wanted: str, got: Any, *, plugin: str | None = None) -> PluginError:
        who = plugin or self._recorder.answered(hook) or self._adapter
        dropped = (
            "A wrapper has to return the result of its yield. " if got is None and who in self._wrappers(hook) else ""
        )
        description = "nothing" if got is None else f"{type(got).__name__} {str(got)[:80]!r}"
        return PluginError(
            f"{self._label(who)} must return {wanted} from {hook}, but returned {description}.",
            hint=f"{dropped}See the section {hook} of the hook reference.",
        )
