"""``adaptrt doctor``: what is here, what is missing for which purpose, and the line that installs it."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from adaptrt import __version__
from adaptrt.cli import health


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters of this environment are another test's matter, and importing OpenCV takes a while."""
    monkeypatch.setattr(health, "installed_adapters", list)
    monkeypatch.setattr(health, "_opencv_problems", lambda: iter(()))


def purpose(result: Any, word: str) -> dict[str, Any]:
    (found,) = (one for one in result.json["purposes"] if word in one["name"])
    return found


def test_versions_of_what_matters(adaptrt: Any) -> None:
    result = adaptrt("doctor")
    assert result.code == 0
    assert re.search(rf"^adaptrt +{re.escape(__version__)}$", result.out, re.MULTILINE)
    assert re.search(rf"^numpy +{re.escape(metadata.version('numpy'))}$", result.out, re.MULTILINE)
    for name in ("Predict", "Convert", "engines"):
        assert name in result.out


def test_versions_of_every_kind_of_plugin(adaptrt: Any, fake_distribution: Any) -> None:
    """Also of those that only run or package models: they belong into the report of a problem."""
    for kind in ("executors", "packagers", "commands"):
        fake_distribution(f"adaptrt-own-{kind}", {f"adaptrt.{kind}": {"own": "own:OWN"}}, requires=["numpy"])
    out = adaptrt("doctor").out
    for kind in ("executors", "packagers", "commands"):
        assert re.search(rf"^adaptrt-own-{kind} +1\.0$", out, re.MULTILINE)


def test_what_is_missing_has_its_line(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"adaptrt": "0.1.0", "numpy": "2.0", "opencv-python": "4.1"}
    monkeypatch.setattr(health, "installed_version", here.get)
    result = adaptrt("doctor", "--json")
    predict = purpose(result, "Predict")
    assert any(problem.startswith("onnxruntime") and "missing" in problem for problem in predict["missing"])
    assert any("opencv-python is 4.1" in problem for problem in predict["missing"])
    assert predict["install"] == "pip install 'adaptrt[onnx]'"
    convert = purpose(result, "Convert")
    assert any(problem.startswith("torch") for problem in convert["missing"])
    assert any(problem.startswith("onnxruntime") for problem in convert["missing"]), "an extra inside an extra"
    assert convert["install"] == "pip install 'adaptrt[export]'"
    assert purpose(result, "engines")["install"] == "pip install 'adaptrt[trt]'"
    # adaptrt's own requirements are among what is not here
    assert result.code == 3
    assert any("click" in problem for problem in result.json["broken"])


def test_sources_that_are_not_installed(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    result = adaptrt("doctor")
    assert result.code == 3
    assert "adaptrt itself: its requirements are unknown, because adaptrt is not installed" in result.out


def test_another_distribution_of_the_same_module_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"onnxruntime-gpu": "1.24", "opencv-python-headless": "4.9", "pillow": "11", "numpy": "2"}
    monkeypatch.setattr(health, "installed_version", here.get)
    assert health._unmet("adaptrt[onnx]") == []


def test_a_broken_adapter_breaks_the_health(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sick = {
        "name": "zebra", "distribution": "adaptrt-zoo", "version": "1.0", "problems": ["zoo is missing (needs zoo>=3)"],
        "install": "pip install --upgrade adaptrt-zoo",
    }  # fmt: skip
    monkeypatch.setattr(health, "installed_adapters", lambda: [sick])
    result = adaptrt("doctor")
    assert result.code == 3
    assert "Broken: adapter zebra (adaptrt-zoo 1.0): zoo is missing" in result.out
    assert "pip install --upgrade adaptrt-zoo" in result.out
    assert "no working adapter" in result.out
    quiet = adaptrt("doctor", "-q")
    assert (quiet.code, quiet.out) == (3, "")
    assert "zebra" in quiet.err


def test_two_opencvs_are_noted(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = health.installed_version
    twice = {"opencv-python": "4.9", "opencv-python-headless": "4.9", "onnxruntime": "1.24", "onnxruntime-gpu": "1.24"}
    monkeypatch.setattr(health, "installed_version", lambda name: twice.get(name) or real(name))
    notes = adaptrt("doctor", "--json").json["notes"]
    assert any("opencv-python and opencv-python-headless" in note and "pip uninstall -y" in note for note in notes)
    assert any("onnxruntime and onnxruntime-gpu" in note for note in notes)


def tool(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_gpus_as_nvidia_smi_names_them(adaptrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, monkeypatch, 'echo "NVIDIA H200, 570.1, 143771 MiB, 9.0"')
    result = adaptrt("doctor", "--json")
    assert result.json["gpus"] == [{"name": "NVIDIA H200", "driver": "570.1", "memory": "143771 MiB", "compute": "9.0"}]
    assert "NVIDIA H200, driver 570.1, 143771 MiB, sm 9.0" in adaptrt("doctor").out


def test_a_driver_that_does_not_answer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, monkeypatch, 'echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18')
    gpus, why = health.find_gpus()
    assert gpus == []
    assert "mismatch" in why


def test_no_tool_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert health.find_gpus() == ([], "nvidia-smi not found")


class TestOpenCV:
    """The import that the other tests leave out."""

    @pytest.fixture(autouse=True)
    def _real(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()

    def test_a_missing_system_library_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(health, "installed_version", lambda name: "4.9" if name == "opencv-python" else None)
        (problem,) = health._opencv_problems()
        assert "libGL.so.1" in problem
        assert "apt-get install libgl1 libglib2.0-0" in problem

    def test_one_that_imports_is_no_problem(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cv2.py").write_text("")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(health, "installed_version", lambda name: "4.9" if name == "opencv-python" else None)
        assert list(health._opencv_problems()) == []


def test_tensorrt_rtx_where_it_has_no_wheels(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(health, "_requirements", lambda *_: [])
    assert purpose(adaptrt("doctor", "--json"), "RTX")["missing"] == ["TensorRT-RTX requires Linux on x86-64"]


def test_another_backend_has_its_line(adaptrt: Any, fake_distribution: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from copying_backend import BACKEND

    from adaptrt.specs.registry import forget_declared

    fake_distribution(
        "adaptrt-copying", {"adaptrt.backends": {"copying": "copying_backend:BACKEND"}}, requires=["absent-copier>=2"]
    )
    forget_declared()
    monkeypatch.setattr(BACKEND, "missing", "there is no paper")
    line = purpose(adaptrt("doctor", "--json"), "Copying")
    assert line == {"name": "Build with Copying", "missing": ["there is no paper"], "install": None}
    monkeypatch.setattr(BACKEND, "purpose", "Write Copying files", raising=False)
    monkeypatch.setattr(BACKEND, "requirement", "adaptrt-copying", raising=False)
    line = purpose(adaptrt("doctor", "--json"), "Copying")
    assert line["missing"] == ["absent-copier>=2 is missing"]
    assert line["install"] == "pip install 'adaptrt-copying'"
    forget_declared()


def write_nms(path: Path) -> Path:
    """A graph of one NonMaxSuppression."""
    import onnx
    from onnx import TensorProto, helper

    given = [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 8, 4])]
    given += [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, 8])]
    made = [helper.make_tensor_value_info("chosen", TensorProto.INT64, ["n", 3])]
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["chosen"], name="nms")
    model = helper.make_model(helper.make_graph([node], "nms", given, made))
    onnx.save(model, path)
    return path


def test_a_file_is_checked_for_known_issues(adaptrt: Any, tmp_path: Path) -> None:
    path = write_nms(tmp_path / "nms.onnx")
    result = adaptrt("doctor", path)
    assert result.code == 0, result.err
    assert "Known issue nms-slow: nms" in result.out
    assert "TensorRT >=10.0, not known to be fixed" in result.out
    assert "https://github.com/NVIDIA/TensorRT/issues/4248" in result.out
    (found,) = adaptrt("doctor", path, "--json").json["known_issues"]
    assert (found["name"], found["nodes"], found["fixed"]) == ("nms-slow", ["nms"], "not known to be fixed")


def test_a_file_without_known_issues(adaptrt: Any, tmp_path: Path) -> None:
    from small_convnet import write_convnet

    result = adaptrt("doctor", write_convnet(tmp_path / "net.onnx"))
    assert "No known issue matches the operators of this file." in result.out
    assert adaptrt("doctor", tmp_path / "missing.onnx").code != 0
