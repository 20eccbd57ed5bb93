"""Fixtures for all tests: a tiny adapter, extensions, images. Others come with ``adaptrt.testing.plugin``."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from budget import pytest_addoption, pytest_configure, pytest_sessionfinish, pytest_terminal_summary  # noqa: F401
from hypothesis import HealthCheck, settings

from adaptrt.specs.variables import without_options

# no deadline: a busy machine is no bug
settings.register_profile("adaptrt", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("adaptrt")

if TYPE_CHECKING:
    from adaptrt.testing.plugin import FakeDistribution

# fixtures of a session convert too, before any fixture of a test
os.environ["ADAPTRT_CACHE_DIR"] = tempfile.mkdtemp(prefix="adaptrt-tests-")
# options that are set in the environment of the test run
for _name in os.environ.keys() - without_options(os.environ).keys():
    del os.environ[_name]
# Ultralytics: nothing into the user's home, nothing installed, nothing asked for elsewhere
os.environ.setdefault("YOLO_CONFIG_DIR", os.environ["ADAPTRT_CACHE_DIR"])
os.environ |= {"YOLO_AUTOINSTALL": "False", "YOLO_OFFLINE": "True"}


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["ADAPTRT_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_user_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests never see the plugins.toml of the user who runs them, nor what was converted before."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-config"))
    monkeypatch.delenv("ADAPTRT_TRACE_PLUGINS", raising=False)
    cache = tmp_path_factory.getbasetemp() / "caches" / uuid.uuid4().hex
    monkeypatch.setenv("ADAPTRT_CACHE_DIR", str(cache))
    yield
    shutil.rmtree(cache, ignore_errors=True)


@pytest.fixture
def install_extension(fake_distribution: FakeDistribution) -> Callable[..., str]:
    """Install an extension: ``install_extension("blur", SOURCE)``; its distribution is ``adaptrt-blur`` 1.0."""

    def install(name: str, source: str, **options: Any) -> str:
        header = "from adaptrt import *\nfrom adaptrt import hookimpl\n"
        module = f"extension_{name}"
        fake_distribution(
            f"adaptrt-{name}",
            {"adaptrt.extensions": {name: module}},
            modules={module: header + dedent(source)},
            **options,
        )
        return module

    return install


@pytest.fixture
def tiny(fake_distribution: FakeDistribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The adapter ``tiny`` (tests/support/tiny_adapter.py), installed as ``adaptrt-tiny`` 0.3; works in an empty folder."""
    for module in ("torch", "onnx", "onnxruntime", "onnxscript", "cv2"):
        pytest.importorskip(module, reason=f"a conversion needs {module}")
    fake_distribution("adaptrt-tiny", {"adaptrt.adapters": {"tiny": "tiny_adapter"}}, version="0.3")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return "tiny"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A photograph stand-in, 96 x 128 PNG: a red and a blue rectangle on a textured gray."""
    cv2 = pytest.importorskip("cv2", reason="images need OpenCV")
    import numpy as np

    pixels = np.random.default_rng(3).integers(90, 140, (96, 128, 3)).astype(np.uint8)
    pixels[16:48, 20:60] = (200, 20, 30)
    pixels[60:90, 70:110] = (20, 40, 210)
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), pixels[..., ::-1])
    return path
