"""Pytest plugin: fixtures for the tests of adapters and extensions, and the marker ``gpu``.

pytest finds it if adaptrt is installed. It imports no heavy packages.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

FakeDistribution = Callable[..., Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("adaptrt")
    group.addoption("--contract-badge", metavar="FILE", help="write an SVG badge with the result of the contract tests")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: requires an NVIDIA GPU and TensorRT; otherwise skipped with the reason")
    path = config.getoption("--contract-badge", default=None)
    if path and not hasattr(config, "workerinput"):  # a worker of pytest-xdist reports to the one that started it
        from adaptrt.testing.badge import ContractBadge

        config.pluginmanager.register(ContractBadge(Path(path)), "adaptrt-contract-badge")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` on machines that cannot run them, with the reason; mark those of a contract."""
    for item in items:
        kind = getattr(item, "cls", None)
        if kind is not None and any(base.__module__.startswith("adaptrt.testing.") for base in kind.__mro__):
            item.user_properties.append(("adaptrt_contract", item.nodeid))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = why_no_gpu() if marked else None
    for item in marked:
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def why_no_gpu() -> str | None:
    """Why this machine cannot run an engine; ``None`` if it can."""
    from adaptrt.backends.tensorrt.device import describe_device
    from adaptrt.backends.tensorrt.generations import import_tensorrt
    from adaptrt.errors import AdaptrtError

    try:
        import_tensorrt()
        describe_device(0)
    except AdaptrtError as error:
        return error.message
    except RuntimeError as error:  # cuda-python without a driver
        return f"no NVIDIA driver: {error}"
    return None


@pytest.fixture
def fake_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDistribution]:
    """Call it to install a distribution, without pip, until the test ends; returns its folder.

    ``fake_distribution("adaptrt-blur", {"adaptrt.extensions": {"blur": "blur"}}, modules={"blur": SOURCE})``; also
    ``version``, ``requires``, ``summary``.
    """
    from adaptrt.specs.registry import forget_declared

    before = set(sys.modules)
    folders: list[Path] = []

    def install(
        name: str,
        entry_points: Mapping[str, Mapping[str, str]] | None = None,
        *,
        modules: Mapping[str, str] | None = None,
        version: str = "1.0",
        requires: Sequence[str] = (),
        summary: str = "made for a test",
    ) -> Path:
        folder = tmp_path / "site" / str(len(folders))
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Summary: {summary}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        sections = [
            f"[{group}]\n" + "".join(f"{point} = {value}\n" for point, value in points.items())
            for group, points in (entry_points or {}).items()
        ]
        (info / "entry_points.txt").write_text("\n".join(sections))
        for module, source in (modules or {}).items():
            path = folder.joinpath(*module.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(source))
        folders.append(folder)
        monkeypatch.syspath_prepend(str(folder))
        forget_declared()
        return folder

    yield install
    forget_declared()
    for module in set(sys.modules) - before:
        file = getattr(sys.modules[module], "__file__", None) or ""
        if any(Path(file).is_relative_to(folder) for folder in folders):
            del sys.modules[module]


@pytest.fixture
def tiny_images(tmp_path: Path) -> list[Path]:
    """Two small PNG files, wide and tall: textured gray with a red and a blue rectangle, always the same."""
    cv2 = pytest.importorskip("cv2", reason="images require OpenCV")
    import numpy as np

    paths = []
    for number, size in enumerate([(48, 72), (90, 60)]):
        pixels = np.random.default_rng(number).integers(90, 140, (*size, 3)).astype(np.uint8)
        pixels[8:28, 10:30] = (200, 20, 30)
        pixels[30:44, 34:54] = (20, 40, 210)
        paths.append(tmp_path / f"tiny{number}.png")
        cv2.imwrite(str(paths[-1]), pixels[..., ::-1])
    return paths
