"""The contract of an adapter, as tests: inherit ``AdapterContract``, name the adapter and a small model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from adaptrt.errors import AdaptrtError
from adaptrt.options import parse_pairs
from adaptrt.report import Report
from adaptrt.request import Exporter, Request, ShapeRequest
from adaptrt.specs import ModelSpec, parse_batch, parse_imgsz, parse_shapes
from adaptrt.specs.precisions import FP32
from adaptrt.testing.imports import heavy_imports

if TYPE_CHECKING:
    from adaptrt.pipeline.adapter_session import AdapterSession


class AdapterContract:
    """Standard tests of an adapter. A subclass defines what to convert; use a model that runs in milliseconds.

    ::

        class TestMyNet(AdapterContract):
            adapter = "mynet"
            source = "5"

    - ``adapter``, ``source``: as on the command line; to create the ``source`` in the test, define a fixture of that name
    - ``options``: ``--set`` pairs; ``shape``, ``imgsz``, ``batch``: as on the command line
    - ``trust_checkpoint``: whether loading the model's file runs code
    - ``not_exported_by``: exporters that do not support the model, with the reason; the test fails if one of them works

    Standard tests cannot be removed: a subclass may replace one only if the replacement is marked
    ``pytest.mark.xfail(reason=..., strict=True)``.
    """

    adapter: ClassVar[str]
    options: ClassVar[Sequence[str]] = ()
    shape: ClassVar[Sequence[str]] = ()
    imgsz: ClassVar[str | None] = None
    batch: ClassVar[str | None] = "1:2:3"
    trust_checkpoint: ClassVar[bool] = False
    not_exported_by: ClassVar[Mapping[str, str]] = {}
    source: Any = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name in STANDARD_TESTS:
            own = inspect.getattr_static(cls, name)
            if own is not STANDARD_TESTS[name] and not _expected_to_fail(own):
                raise TypeError(
                    f"{cls.__name__} replaces or removes the standard test {name}. Every adapter must pass all of them. "
                    f"If yours does not yet, give the reason: @pytest.mark.xfail(reason='...', strict=True)"
                )

    @pytest.fixture
    def opened(self, request: pytest.FixtureRequest, tmp_path: Path) -> AdapterSession:
        """The adapter, opened on the small model."""
        from adaptrt.pipeline.adapter_session import AdapterSession

        return AdapterSession(self._request(request), tmp_path)

    @pytest.fixture
    def convert(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., Report]:
        """Convert the small model: ``convert(exporter="dynamo", verify="quick")``."""
        from adaptrt.api import run_request

        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))

        def run(**changes: Any) -> Report:
            changes = {"output": tmp_path / "converted.onnx", **changes}
            return run_request(self._request(request, **changes), html=False)

        return run

    @pytest.fixture(params=["dynamo", "torchscript"])
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        """Each front end of torch.onnx."""
        name: Exporter = request.param
        return name

    def test_it_is_installed(self) -> None:
        from adaptrt.plugins.session import find_adapter

        try:
            find_adapter(self.adapter)
        except AdaptrtError as error:
            pytest.fail(
                f'{error}\nDeclare it in pyproject.toml under [project.entry-points."adaptrt.adapters"] as '
                f'{self.adapter} = "your_module", and reinstall the package: pip install -e .',
                pytrace=False,
            )

    def test_importing_it_is_cheap(self) -> None:
        """Listing adapters must not cost an import of torch."""
        from adaptrt.plugins.session import find_adapter

        module = find_adapter(self.adapter).module.partition(":")[0]
        loaded = heavy_imports(module)
        assert not loaded, f"import {module} imports {', '.join(loaded)}. Import frameworks inside the hooks."

    def test_the_model_loads(self, opened: AdapterSession) -> None:
        import torch

        from adaptrt.export.eager import is_float64

        model = opened.model
        dtype = torch.float64 if is_float64(model) else torch.float32
        training = [name or "the model" for name, module in model.named_modules() if module.training]
        assert not training, f"load_model returned {training[0]} in training mode. Return model.eval()."
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            assert tensor.device.type == "cpu", f"{name} is on {tensor.device}. Load the model onto the CPU."
            assert not tensor.is_floating_point() or tensor.dtype == dtype, (
                f"{name} is {tensor.dtype}. Return model.float(), or a model that is float64 throughout."
            )
        again = opened.hooks.load_model(opened.ctx).state_dict()
        other = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, again[name])]
        assert not other, (
            f"load_model returned a different {other[0]} on the second call. Seed random weights: torch.manual_seed(ctx.request.seed)."
        )

    def test_the_spec_is_consistent(self, opened: AdapterSession) -> None:
        from adaptrt.pipeline.names import name_outputs
        from adaptrt.specs.decoders import decoder_of

        spec = opened.spec
        assert ModelSpec.from_json(spec.to_json()) == spec, (
            "the spec changes when it is written to JSON and read back. Use plain values only."
        )
        names = [tensor.name for tensor in spec.inputs] + [tensor.name for tensor in spec.outputs]
        assert len(set(names)) == len(names), f"input and output names must be unique; got {names}"
        assert spec.inputs, "model_spec defines no input"
        if spec.image is not None:
            spec.input(spec.image.input)
            height, width = spec.image_size
            assert height > 0, "the image height must be positive"
            assert width > 0, "the image width must be positive"
        if spec.decoder is not None:
            params = decoder_of(spec).params
            from adaptrt.options import fill_options

            fill_options(params, spec.decoder.params)
        first = spec.inputs[0].dims[0]
        assert first.dynamic, f"the batch is fixed at {first.opt}. Make it dynamic in model_spec."
        name_outputs(spec, (), opened.run(opened.inputs(opened.corners()["min"])))  # also checks the groups

    def test_example_inputs_fit(self, opened: AdapterSession) -> None:
        import torch

        for corner, shapes in opened.corners().items():
            inputs = opened.inputs(shapes)  # shapes and types are checked on the way
            assert all(torch.isfinite(tensor).all() for tensor in inputs.values()), (
                f"example_inputs returned NaN or infinity at the {corner} shapes"
            )
        shapes = opened.trace_shapes()
        same, again, other = (opened.inputs(shapes, seed) for seed in (1, 1, 2))
        assert all(torch.equal(same[name], again[name]) for name in same), (
            "example_inputs returned different samples for the same seed"
        )
        assert any(not torch.equal(same[name], other[name]) for name in same), (
            "example_inputs returned the same sample for every seed. Use the seed, so that samples differ."
        )

    def test_outputs_depend_on_inputs(self, opened: AdapterSession) -> None:
        """Comparing a model whose outputs are constant verifies nothing."""
        import numpy as np

        shapes = opened.trace_shapes()
        first, second = (opened.run(opened.inputs(shapes, seed)) for seed in (1, 2))
        assert all(np.isfinite(array).all() for array in first.values()), "the model returned NaN or infinity"
        assert any(not np.array_equal(first[name], second[name]) for name in first), (
            "the outputs are equal for different inputs. Perturb the weights of the test model."
        )

    def test_patches_keep_the_result(self, opened: AdapterSession) -> None:
        from packaging.requirements import Requirement

        from adaptrt.patching import applied, require_called
        from adaptrt.plugins.session import find_adapter
        from adaptrt.verify.compare import Comparison

        spec, found = opened.completed, opened.patches()
        names = tuple(output.name for output in spec.outputs)
        samples = [opened.inputs(shapes, seed) for seed, shapes in enumerate(opened.corners().values())]
        comparison = Comparison(spec, FP32)
        reference = [opened.run(sample, names) for sample in samples]
        with applied(opened.model, found) as records:
            for sample, expected in zip(samples, reference, strict=True):
                comparison.add(expected, opened.run(sample, names))
            require_called(records)
        wrong = [check for check in comparison.checks() if not check.passed]
        assert not wrong, (
            f"with the patches {wrong[0].name} differs by {wrong[0].value:.3g} (limit {wrong[0].limit:.3g}). Apply them "
            "one at a time to find which one changes the result."
        )
        own = find_adapter(opened.request.adapter).distribution
        untested = [one.item for one in found if not one.item.tested and Requirement(one.item.requires).name != own]
        assert not untested, (
            f"the patch of {untested[0].target} does not say which versions of {Requirement(untested[0].requires).name} it was "
            "tested with, so no later version causes a warning. Add tested='NAME>=OLDEST,<=NEWEST'."
        )

    def test_patches_are_restored(self, opened: AdapterSession) -> None:
        from adaptrt.patching import applied
        from adaptrt.patching.targets import resolve

        _ = opened.completed  # state that the first run leaves on the model is not a patch
        by_hand = opened.code()
        found = opened.patches()
        touched = [name for name, value in opened.code().items() if by_hand.get(name) is not value]
        assert not touched, (
            f"the hook patches modifies {touched[0]} directly. Return a FunctionPatch, SwitchPatch "
            "or ModulePatch for it instead, which is restored after the export."
        )

        def state() -> list[Any]:
            targets = [resolve(one.item, one.plugin).value for one in found]
            attributes = [sorted(vars(module)) for module in opened.model.modules()]
            return [*targets, *opened.model.modules(), attributes]

        before = state()
        with applied(opened.model, found):
            pass
        after = state()
        assert len(before) == len(after)
        changed = [old for old, new in zip(before, after, strict=True) if old is not new and old != new]
        assert not changed, (
            f"{changed[0]!r:.200} was not restored after the patches. Modify it only through adaptrt's patches."
        )

    def test_it_converts(self, exporter: Exporter, convert: Callable[..., Report], opened: AdapterSession) -> None:
        """Through both exporters: dynamic axes symbolic, ONNX Runtime matches at min, opt and max, also in batches."""
        import numpy as np

        from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner
        from adaptrt.verify.compare import Comparison

        why = self.not_exported_by.get(exporter)
        try:
            report = convert(exporter=exporter)
        except AdaptrtError as error:
            if why:
                pytest.xfail(f"{why} ({error.message})")
            pytest.fail(
                f"--exporter {exporter}: {error}\nPatch the unsupported code, or give the reason: "
                f"not_exported_by = {{'{exporter}': '...'}}",
                pytrace=False,
            )
        assert not why, f"{exporter} now works. Remove it from not_exported_by."
        assert report.onnx is not None
        assert report.spec is not None
        assert report.link(2).status == "passed", f"link 2 did not pass: {report.link(2).reason}"
        values = [finding for finding in report.findings if finding.rule == "traced-value"]
        where = [f"{place.file}:{place.line} ({place.code})" for finding in values for place in finding.places]
        assert not where, (
            f"Python code depends on an input value at {where[0]}, so the graph keeps the result for the example input. Patch it "
            "(torch.where, a mask)."
        )
        batches = [check for check in report.link(2).checks if check.kind == "batch"]
        assert batches, "no batch was checked. Make the batch dynamic."
        runner = OnnxRuntimeRunner(report.onnx)
        names = tuple(output.name for output in report.spec.outputs)
        for corner, shapes in opened.corners().items():
            sample = opened.inputs(shapes, seed=5)
            arrays = {
                new.name: sample[old.name].numpy()
                for new, old in zip(report.spec.inputs, opened.spec.inputs, strict=True)
            }
            comparison = Comparison(report.spec, FP32)
            outputs = runner.run(arrays)
            comparison.add(opened.run(sample, names), outputs)
            wrong = [check for check in comparison.checks() if not check.passed]
            assert not wrong, (
                f"ONNX Runtime differs at the {corner} shapes {shapes}: {wrong[0].name} by {wrong[0].value:.3g}; "
                "the graph contains a size of the example input as a constant"
            )
            for output in report.spec.outputs:
                fixed = [size for size in output.dims if isinstance(size, int)]
                given = [
                    size
                    for size, dim in zip(outputs[output.name].shape, output.dims, strict=True)
                    if isinstance(dim, int)
                ]
                assert np.array_equal(fixed, given), (
                    f"{output.name} is declared as {output.dims} but has shape {outputs[output.name].shape}"
                )

    def test_outputs_are_decoded(self, opened: AdapterSession) -> None:
        """An image through preprocess, the model and postprocess gives predictions of the spec's task."""
        import numpy as np

        from adaptrt.pipeline.verification.batching import fill_batch, smallest_batch
        from adaptrt.specs import task_named
        from adaptrt.vision.examples import image_noise

        spec = opened.completed
        if spec.image is None:
            pytest.skip("the model has no image input")
        rng = np.random.default_rng(0)
        arrays, meta = opened.hooks.preprocess(image_noise(rng, (60, 90)), spec)
        filled = fill_batch([arrays], smallest_batch(spec))
        import torch

        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in filled.items()}
        outputs = opened.run(tensors, tuple(output.name for output in spec.outputs))
        batch = next(iter(filled.values())).shape[0]
        found = opened.hooks.postprocess(outputs, [meta] * batch, spec)
        task = task_named(spec.task)
        for prediction in found:
            assert isinstance(prediction, task.prediction), (
                f"task {task.name!r} requires predictions of type {task.prediction.__name__}; got {type(prediction).__name__}. "
                "Set the decoder in the spec."
            )
            problems = task.problems(prediction, spec, (60, 90))
            assert not problems, "; ".join(problems)

    def test_two_conversions_in_one_process(self, convert: Callable[..., Report], tmp_path: Path) -> None:
        """The first conversion must not affect the second one: the framework is restored, and the graph is the same."""
        exporter = next(name for name in ("torchscript", "dynamo") if name not in self.not_exported_by)
        first = convert(exporter=exporter, verify="none")
        second = convert(exporter=exporter, verify="none", output=tmp_path / "again.onnx")
        assert first.operators == second.operators, (
            "two conversions in one process produced different graphs: the first one left a patched function, a "
            "changed default or a cached model."
        )
        assert first.spec == second.spec

    def _request(self, request: pytest.FixtureRequest, **changes: Any) -> Request:
        source = self.source
        if source is None or not isinstance(source, (str, Path)):
            source = request.getfixturevalue("source")
        given: dict[str, Any] = {
            "source": str(source),
            "adapter": self.adapter,
            "shapes": ShapeRequest(
                imgsz=parse_imgsz(self.imgsz) if self.imgsz else None,
                batch=parse_batch(self.batch) if self.batch else None,
                shapes=parse_shapes(self.shape),
            ),
            "options": parse_pairs(self.options),
            "trust_checkpoint": self.trust_checkpoint,
            "cache": False,  # earlier results must not be reused
        }
        return Request(**{**given, **changes})


def _expected_to_fail(test: Any) -> bool:
    """Whether a test carries ``xfail`` with a reason."""
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)


STANDARD_TESTS: dict[str, Any] = {
    name: value for name, value in vars(AdapterContract).items() if name.startswith("test_")
}
