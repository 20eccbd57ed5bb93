"""The contract of a backend, as tests: inherit ``BackendContract`` and name the backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adaptrt.testing.imports import heavy_imports


class BackendContract:
    """Standard tests of a backend, which a subclass names::

        class TestMyRuntime(BackendContract):
            backend = "myruntime"

    Tests that build are skipped, with the backend's own reason, where it is not available.
    """

    backend: ClassVar[str]

    @pytest.fixture
    def report(self, fake_distribution: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Of a conversion of a small network to this backend's file."""
        from adaptrt import convert
        from adaptrt.specs.targets import Target
        from adaptrt.testing.model import ENTRY_POINTS

        pytest.importorskip("torch", reason="a conversion requires torch")
        own = self._backend()
        target: Target | None = next(iter(own.targets.values()), None)
        reason = own.unavailable(target)
        if reason:
            pytest.skip(reason)
        fake_distribution("adaptrt-contract-model", ENTRY_POINTS)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
        return convert(
            "demo", adapter="contract-model", output=tmp_path / "model.onnx", to=["onnx", self.backend], verify="quick",
            cache=False, html=False,
        )  # fmt: skip

    def test_it_is_installed(self) -> None:
        own = self._backend()
        assert own.suffixes, "suffixes names the file that it builds"
        assert all(suffix.startswith(".") for suffix in own.suffixes), own.suffixes
        assert own.devices, "devices names where its files run, the default first"

    def test_importing_it_is_cheap(self) -> None:
        """Every command that opens a file imports all backends."""
        module = type(self._backend()).__module__
        loaded = heavy_imports(module)
        assert not loaded, f"import {module} imports {', '.join(loaded)}. Import the runtime inside the methods."

    def test_a_model_is_built_and_verified(self, report: Any) -> None:
        """Link 4 compares the file with the original model."""
        assert report.link(4).status == "passed", f"link 4 did not pass: {report.link(4).reason}"

    @pytest.mark.usefixtures("report")
    def test_the_file_is_opened(self, tmp_path: Path) -> None:
        """By ``adaptrt.load`` alone: the spec is stored with it. ``run`` may be called from several threads."""
        import numpy as np

        import adaptrt

        (path,) = (path for path in tmp_path.iterdir() if path.name.endswith(self._backend().suffixes[0]))
        with adaptrt.load(path) as model:
            inputs = [
                {model.spec.inputs[0].name: np.random.default_rng(seed).random((1, 3, 16, 16), np.float32)}
                for seed in range(4)
            ]
            expected = [model.runner.run(one) for one in inputs]
            found: dict[int, Any] = {}

            def run(index: int) -> None:
                found[index] = model.runner.run(inputs[index])

            threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for index, outputs in enumerate(expected):
                for name, array in outputs.items():
                    np.testing.assert_allclose(found[index][name], array, rtol=1e-3, atol=1e-3)

    def _backend(self) -> Any:
        from adaptrt.errors import AdaptrtError
        from adaptrt.specs.backends import BACKENDS

        try:
            return BACKENDS.find(self.backend)
        except AdaptrtError as error:
            pytest.fail(
                f'{error}\nDeclare it in pyproject.toml under [project.entry-points."adaptrt.backends"] as '
                f'{self.backend} = "your_module:BACKEND", and reinstall the package: pip install -e .',
                pytrace=False,
            )
