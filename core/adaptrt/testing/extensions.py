"""The contract of an extension, as tests: inherit ``ExtensionContract`` and name the extension."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adaptrt.testing.imports import heavy_imports


class ExtensionContract:
    """Standard tests of an extension, which a subclass names::

        class TestRecord(ExtensionContract):
            extension = "record"

    ``changes_the_graph``: it contributes graph passes or reduces precision, so that the graph may differ.
    """

    extension: ClassVar[str]
    changes_the_graph: ClassVar[bool] = False

    def test_it_is_installed(self) -> None:
        assert self._module()

    def test_importing_it_is_cheap(self) -> None:
        """Every command imports extensions that take part in it."""
        loaded = heavy_imports(self._module())
        assert not loaded, f"import {self._module()} imports {', '.join(loaded)}. Import frameworks inside the hooks."

    def test_conversions_with_it_are_verified(
        self, fake_distribution: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its hooks are valid and succeed, and the model computes the same."""
        report = self._convert(fake_distribution, tmp_path, monkeypatch)
        assert report.status == "passed", report.status
        assert report.link(2).status == "passed", f"link 2 did not pass: {report.link(2).reason}"

    def test_it_is_called_after_a_failure(
        self, fake_distribution: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``conversion_finished`` must not replace the error of the conversion."""
        from adaptrt.errors import AdaptrtError, PluginError

        with pytest.raises(AdaptrtError) as caught:
            self._convert(fake_distribution, tmp_path, monkeypatch, shape="images=1x4x16x16")
        assert not isinstance(caught.value, PluginError), str(caught.value)

    def test_the_graph_is_unchanged(
        self, fake_distribution: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if self.changes_the_graph:
            pytest.skip("it changes the graph")
        report = self._convert(fake_distribution, tmp_path, monkeypatch)
        own = [one.name for one in report.passes if self.extension in one.plugin]
        assert not own, f"it contributes graph passes ({', '.join(own)}): set changes_the_graph = True"

    def _module(self) -> str:
        from adaptrt.plugins.discovery import EXTENSIONS, find_candidates

        found = [candidate for candidate in find_candidates(EXTENSIONS) if candidate.name == self.extension]
        if not found:
            pytest.fail(
                'Declare it in pyproject.toml under [project.entry-points."adaptrt.extensions"] as '
                f'{self.extension} = "your_module", and reinstall the package: pip install -e .',
                pytrace=False,
            )
        return found[0].module.partition(":")[0]

    def _convert(
        self, fake_distribution: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
    ) -> Any:
        from adaptrt import convert
        from adaptrt.testing.model import ENTRY_POINTS

        pytest.importorskip("torch", reason="a conversion requires torch")
        fake_distribution("adaptrt-contract-model", ENTRY_POINTS)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
        return convert(
            "demo",
            adapter="contract-model",
            output=tmp_path / "model.onnx",
            verify="quick",
            cache=False,
            html=False,
            **options,
        )
