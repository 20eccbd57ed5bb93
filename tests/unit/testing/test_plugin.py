"""The pytest plugin, as tests of an adapter or an extension use it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from adaptrt.testing import plugin

pytest_plugins = ["pytester"]


def test_a_distribution_is_there_for_one_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from importlib import metadata

        import pytest


        def points():
            return {point.name: point for point in metadata.entry_points(group="adaptrt.extensions")}


        def test_installed(fake_distribution):
            before = set(points())
            fake_distribution(
                "adaptrt-blur", {"adaptrt.extensions": {"blur": "blur_hooks"}},
                modules={"blur_hooks": "STRENGTH = 3"}, version="1.2", requires=("adaptrt>=0.1",),
            )
            point = points()["blur"]
            assert (point.dist.name, point.dist.version) == ("adaptrt-blur", "1.2")
            assert point.dist.requires == ["adaptrt>=0.1"]
            assert point.load().STRENGTH == 3
            assert set(points()) - before == {"blur"}


        def test_gone():
            assert "blur" not in points()
            with pytest.raises(ModuleNotFoundError):
                import blur_hooks
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
    assert "blur_hooks" not in sys.modules


def test_a_distribution_may_hold_packages(fake_distribution: Callable[..., Path]) -> None:
    folder = fake_distribution("adaptrt-deep", modules={"deep.er": "\n    VALUE = 1\n"})
    assert (folder / "deep" / "er.py").read_text().strip() == "VALUE = 1"
    assert metadata.version("adaptrt-deep") == "1.0"


def test_images_are_small_textured_and_always_the_same(tiny_images: list[Path]) -> None:
    cv2 = pytest.importorskip("cv2", reason="images need OpenCV")
    wide, tall = (cv2.imread(str(path))[..., ::-1] for path in tiny_images)
    assert (wide.shape, tall.shape) == ((48, 72, 3), (90, 60, 3))
    for pixels in (wide, tall):
        assert pixels[10, 12].tolist() == [200, 20, 30]  # red, in RGB
        assert pixels[32, 36].tolist() == [20, 40, 210]
        assert pixels[:8].std() > 5
    assert [wide[0, 0].tolist(), tall[0, 0].tolist()] == [[132, 121, 115], [113, 115, 127]]


GPU_TEST = """
    import pytest


    @pytest.mark.gpu
    def test_engine():
        pass


    def test_other():
        pass
"""


@pytest.mark.parametrize("reason", [None, "no NVIDIA driver"])
def test_the_marker_skips_where_no_engine_can_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    monkeypatch.setattr(plugin, "why_no_gpu", lambda: reason)
    pytester.makepyfile(GPU_TEST)
    done = pytester.runpytest_inprocess("--strict-markers", "-rs")
    done.assert_outcomes(passed=1 if reason else 2, skipped=1 if reason else 0)
    if reason:
        done.stdout.fnmatch_lines([f"*{reason}*"])


def test_a_gpu_is_looked_for_only_where_a_test_wants_one(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unasked() -> None:
        raise AssertionError("looked for a GPU")

    monkeypatch.setattr(plugin, "why_no_gpu", unasked)
    pytester.makepyfile("def test_other(): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptrt.errors import DependencyError

    def absent() -> None:
        raise DependencyError("TensorRT is not installed.", hint="pip install tensorrt")

    monkeypatch.setattr("adaptrt.backends.tensorrt.generations.import_tensorrt", absent)
    assert plugin.why_no_gpu() == "TensorRT is not installed."


def test_it_imports_nothing_heavy() -> None:
    import subprocess

    heavy = {"torch", "onnx", "cv2", "numpy"}  # every run of pytest imports it, where adaptrt is installed
    program = f"import sys, adaptrt.testing.plugin; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
