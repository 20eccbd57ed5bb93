"""The commands as a user types them, on a real GPU, with engines that they built; neither torch nor onnx is needed.

``ADAPTRT_GPU_ONNX`` names a folder that ``python tests/support/gpu_models.py FOLDER`` wrote. What is built there with the
full TensorRT stays: a run that was cut off goes on, and an environment with the lean runtime finds the engines. An
environment without the packages of the other tests adds ``--confcutdir tests/gpu``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from gpu_commands import Commands, agree, run, terminal, wait_for_build
from patience import HANG

PRECISIONS = ("fp32", "fp16")


@pytest.fixture(scope="module")
def lean(made: Commands) -> Commands:
    """The same, with a runtime that finds what the full TensorRT of another environment built."""
    from adaptrt.backends.tensorrt.generations import import_tensorrt

    if import_tensorrt().flavor == "full":
        pytest.skip("here is the full TensorRT")
    if not all(made.engine(name).is_file() for name in ("fp32", "portable")):
        pytest.skip("run these tests in the environment of the full TensorRT first, with the same ADAPTRT_GPU_ONNX")
    return made


def copy_engine(source: Path, folder: Path, *, manifest: bool = True) -> Path:
    if manifest:
        shutil.copy(f"{source}.json", folder / f"{source.name}.json")
    return Path(shutil.copy(source, folder / source.name))


class TestBuild:
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_output_of_the_command(self, full: Commands, precision: str) -> None:
        built = full.built(precision)
        assert re.search(r"^Build the engine +\d+\.\d\d s  \S", built.err, re.MULTILINE), built.err
        assert "Verification skipped: onnxruntime is not installed" in built.err or find_spec("onnxruntime")
        report = json.loads(built.out)
        assert report["status"] == "passed"
        assert {Path(file["path"]).name for file in report["files"].values()} == {
            f"{precision}.engine",
            f"{precision}.engine.json",
        }
        (engine,) = report["artifacts"]
        assert engine["precision"] == precision
        assert engine["layers"].get(precision)
        assert engine["record"]["plan_bytes"] == full.engine(precision).stat().st_size

    def test_half_precision_is_there(self, full: Commands) -> None:
        half, single = (
            json.loads(full.built(precision).out)["artifacts"][0]["record"] for precision in ("fp16", "fp32")
        )
        assert half["weight_bytes"]["fp16"] > half["weight_bytes"].get("fp32", 0)
        assert half["evidence"].endswith("visible layers compute in fp16")
        assert "fp16" not in single["layers"]

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_the_manifest(self, full: Commands, precision: str) -> None:
        from adaptrt.backends.tensorrt.device import describe_device
        from adaptrt.backends.tensorrt.generations import import_tensorrt
        from adaptrt.version import __version__

        full.built(precision)
        plan = full.engine(precision)
        manifest = json.loads(Path(f"{plan}.json").read_text())
        device = describe_device(0)
        assert manifest["plan_sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()
        assert manifest["onnx_sha256"] == hashlib.sha256(full.onnx.read_bytes()).hexdigest()
        assert (manifest["tensorrt"], manifest["gpu"]) == (import_tensorrt().version, device.name)
        assert (manifest["cuda"], manifest["driver"], manifest["capability"]) == (
            device.cuda,
            device.driver,
            device.capability,
        )
        assert manifest["adaptrt"] == __version__
        assert manifest["command"].startswith(f"adaptrt build {full.onnx}")
        assert manifest["rebuild"].startswith("adaptrt build best.onnx --shape images=1..8@4x3x640x640")
        assert manifest["spec"]["labels"] == ["circle", "square", "triangle", "star"]
        assert manifest["spec"]["decoder"]["name"] == "yolo"

    def test_the_same_again_comes_from_the_cache(self, full: Commands, tmp_path: Path) -> None:
        first = json.loads(full.built("fp32").out)["artifacts"][0]["record"]["build_seconds"]
        again = full.build("fp32", tmp_path / "again.engine")
        assert again.code == 0, again.err
        assert again.seconds < first / 2
        assert any("the engine was taken from the cache: built " in note for note in json.loads(again.out)["notes"])
        assert (tmp_path / "again.engine").read_bytes() == full.engine("fp32").read_bytes()
        assert (tmp_path / "again.engine.json").is_file()

    def test_another_build_takes_its_timings(self, full: Commands, tmp_path: Path) -> None:
        # fp16: TensorRT times next to nothing at the level at which fp32 is built here
        first = json.loads(full.built("fp16").out)["artifacts"][0]["record"]["build_seconds"]
        again = full.build("fp16", tmp_path / "again.engine", "--no-cache")
        assert again.code == 0, again.err
        second = json.loads(again.out)["artifacts"][0]["record"]["build_seconds"]
        timings = {path.name: path.stat().st_size for path in full.cache.rglob("*.cache")}
        assert second < first / 2, (first, second, timings, again.err)
        assert not any("from the cache" in note for note in json.loads(again.out)["notes"])

    def test_signs_of_life_on_a_terminal(self, full: Commands, tmp_path: Path) -> None:
        words = full.build_words("fp32", tmp_path / "seen.engine", "--no-cache")
        code, shown = terminal([word for word in words if word != "--json"], full.environment)
        assert code == 0, shown
        assert re.search(r"\d s so far|about \d+ s left", shown), shown
        assert "adaptrt predict" in shown
        assert (tmp_path / "seen.engine").is_file()

    def test_ctrl_c(self, full: Commands, tmp_path: Path) -> None:
        words = full.build_words("fp32", tmp_path / "never.engine", "--no-cache", "--no-timing-cache")
        with full.started(words) as process:
            child = wait_for_build(process)
            time.sleep(3)  # well inside of TensorRT
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=HANG)
        assert process.returncode == 130, err
        assert err.rstrip().endswith("Interrupted")
        assert not Path(f"/proc/{child}").exists()
        assert list(tmp_path.iterdir()) == []

    def test_a_build_process_that_is_killed(self, full: Commands, tmp_path: Path) -> None:
        words = full.build_words("fp32", tmp_path / "never.engine", "--no-cache", "--no-timing-cache")
        with full.started(words) as process:
            os.kill(wait_for_build(process), signal.SIGKILL)
            out, err = process.communicate(timeout=HANG)
        assert process.returncode == 8, err
        assert "The build process was killed, most likely because the machine ran out of memory." in err
        assert json.loads(out)["error"]["kind"] == "BuildError"
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("flags", "code", "message"),
        [
            (["--plugin-lib", "missing.so"], 2, "--plugin-lib: file not found: missing.so."),
            (["--plugin-lib", __file__], 8, "test_commands.py cannot be loaded: "),
            (["--tactic-sources", "foo"], 2, "'foo'"),
            (["--batch", "1:8:16", "--imgsz", "320"], 2, "320"),
            (["--device", "cuda:99"], 8, "cudaErrorInvalidDevice"),
            (["--build-timeout", "1", "--no-timing-cache"], 8, "The build timed out after 1 s."),
        ],
        ids=["no-plugin", "not-a-plugin", "tactics", "shape", "device", "timeout"],
    )
    def test_what_cannot_be(self, full: Commands, tmp_path: Path, flags: list[str], code: int, message: str) -> None:
        plain = run(["build", full.onnx, "-o", tmp_path / "no.engine", "--no-cache", *flags], full.environment)
        assert (plain.code, "Traceback" in plain.err) == (code, False), plain.err
        assert message in plain.err
        assert list(tmp_path.iterdir()) == []


class TestInspect:
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_every_fact(self, full: Commands, precision: str) -> None:
        full.built(precision)
        found = full.json("inspect", full.engine(precision))
        manifest = json.loads(Path(f"{full.engine(precision)}.json").read_text())
        facts = found["facts"]
        assert facts["runs here"] == "yes"
        for word in (
            f"TensorRT {manifest['tensorrt']}",
            f"CUDA {manifest['cuda']}",
            f"driver {manifest['driver'] or 'unknown'}",
        ):
            assert word in facts["built with"]
        assert manifest["gpu"] in facts["built for"]
        assert facts["precision"] == precision
        assert {"built", "precision report", "memory", "command", "rebuild"} <= facts.keys()
        assert found["bytes"] == full.engine(precision).stat().st_size
        assert found["tables"]["Profiles"][1:] == [["0", "images", "1x3x640x640", "4x3x640x640", "8x3x640x640"]]
        assert precision in [row[0] for row in found["tables"]["Layers"]]
        assert [tensor["name"] for tensor in found["inputs"] + found["outputs"]] == ["images", "output0"]
        assert found["warnings"] == []

    def test_for_people(self, full: Commands) -> None:
        full.built("fp32")
        shown = run(["inspect", full.engine("fp32")], full.environment)
        assert shown.code == 0, shown.err
        for words in ("runs here", "Profiles", "Layers", "1x3x640x640", "circle, square", "adaptrt build best.onnx"):
            assert words in shown.out

    def test_the_layers(self, full: Commands) -> None:
        full.built("fp16")
        shown = run(["inspect", full.engine("fp16"), "--graph"], full.environment)
        assert shown.code == 0, shown.err
        assert len(shown.out.splitlines()) > 20
        assert "fp16" in shown.out


class TestPredict:
    @pytest.mark.parametrize(("precision", "pixels", "score"), [("fp32", 0.1, 0.002), ("fp16", 2.0, 0.03)])
    def test_what_onnx_runtime_found(self, full: Commands, precision: str, pixels: float, score: float) -> None:
        full.built(precision)
        found = full.json("predict", full.engine(precision), full.images)
        agree(found, full.expected, pixels=pixels, score=score)

    def test_images_are_drawn(self, full: Commands, tmp_path: Path) -> None:
        full.built("fp32")
        done = run(["predict", full.engine("fp32"), full.images, "-o", tmp_path / "found"], full.environment)
        assert done.code == 0, done.err
        assert {path.name for path in (tmp_path / "found").iterdir()} == set(full.expected)
        assert len(done.out.splitlines()) == len(full.expected)
        assert re.search(r"000000\.png: .*triangle.*run \d+\.\d", done.out)

    def test_another_threshold(self, full: Commands) -> None:
        full.built("fp32")
        found = full.json("predict", full.engine("fp32"), full.images, "--set", "conf=0.9")
        scores = [box["score"] for image in found["images"] for box in image["detections"]]
        assert scores
        assert min(scores) > 0.9

    def test_a_shape_out_of_range(self, full: Commands) -> None:
        import adaptrt

        full.built("fp32")
        with adaptrt.load(full.engine("fp32")) as model:
            with pytest.raises(adaptrt.ShapeError, match="8x3x640x640"):
                model.runner.run({"images": np.zeros((9, 3, 640, 640), np.float32)})
            images = sorted(full.images.glob("*.png"))
            together = model([*images, *images])  # more than fit at once
            assert [len(one) for one in together[: len(images)]] == [len(model(path)[0]) for path in images]


class TestEvaluate:
    def test_predictions_alone_need_nothing_more(self, full: Commands, tmp_path: Path) -> None:
        full.built("fp32")
        words = ["evaluate", full.engine("fp32"), "--data", full.folder / "instances.json"]
        done = run([*words, "--format-only", tmp_path / "found.json"], full.environment)
        assert done.code == 0, done.err
        found = json.loads((tmp_path / "found.json").read_text())
        sure = sum(box["score"] > 0.5 for boxes in full.expected.values() for box in boxes)
        assert sum(entry["score"] > 0.5 for entry in found) == sure

    def test_map(self, full: Commands) -> None:
        full.built("fp32")
        words = ["evaluate", full.engine("fp32"), "--data", full.folder / "instances.json", "--backend", "tensorrt"]
        if find_spec("faster_coco_eval") is None:
            done = run(words, full.environment)
            assert (done.code, "adaptrt[evaluate]" in done.err) == (3, True), done.err
            pytest.skip("mAP needs faster-coco-eval; without it the command says so")
        assert "tensorrt" in json.dumps(full.json(*words))


class TestUltralytics:
    def test_wrap_and_unwrap(self, full: Commands, tmp_path: Path) -> None:
        full.built("fp32")
        plan = full.engine("fp32")
        wrapped, plain = tmp_path / "ultralytics.engine", tmp_path / "plain.engine"
        done = run(["engine", "wrap", plan, "-o", wrapped], full.environment)
        assert (done.code, done.out.strip()) == (0, str(wrapped)), done.err
        refused = run(["predict", wrapped, full.images], full.environment)
        assert refused.code == 8, refused.err
        assert "adaptrt engine unwrap ultralytics.engine" in refused.err
        header = full.json("inspect", wrapped)
        assert header["kind"] == "TensorRT engine with Ultralytics' header"
        assert {"names", "stride", "task", "imgsz"} <= header["metadata"].keys()
        done = run(["engine", "unwrap", wrapped, "-o", plain], full.environment)
        assert done.code == 0, done.err
        assert plain.read_bytes() == plan.read_bytes()
        again = run(["engine", "unwrap", plain], full.environment)
        assert (again.code, "has no Ultralytics header" in again.err) == (8, True)


class TestDamage:
    def refusal(self, made: Commands, plan: Path) -> str:
        done = run(["predict", plan, made.images, "--json"], made.environment)
        assert done.code in (4, 8), done.err
        assert "Traceback" not in done.err
        return str(json.loads(done.out)["error"]["message"])

    def test_a_changed_plan(self, full: Commands, tmp_path: Path) -> None:
        full.built("fp32")
        plan = copy_engine(full.engine("fp32"), tmp_path)
        data = bytearray(plan.read_bytes())
        data[len(data) // 2] ^= 0xFF
        plan.write_bytes(data)
        assert "is not the engine that fp32.engine.json describes" in self.refusal(full, plan)
        assert "is not the engine that" in full.json("inspect", plan)["facts"]["runs here"]

    def test_a_truncated_plan(self, full: Commands, tmp_path: Path) -> None:
        full.built("fp32")
        plan = copy_engine(full.engine("fp32"), tmp_path)
        with plan.open("r+b") as file:
            file.truncate(plan.stat().st_size // 2)
        assert "fp32.engine is truncated: " in self.refusal(full, plan)
        Path(f"{plan}.json").unlink()
        assert "cannot load fp32.engine" in self.refusal(full, plan)  # TensorRT's own word

    def test_without_its_manifest(self, full: Commands, tmp_path: Path) -> None:
        full.built("fp32")
        plan = copy_engine(full.engine("fp32"), tmp_path, manifest=False)
        assert "fp32.engine has no manifest" in self.refusal(full, plan)
        found = full.json("inspect", plan)
        assert found["facts"]["runs here"] == "yes"
        assert [tensor["name"] for tensor in found["inputs"]] == ["images"]
        assert "another tool built it" in found["warnings"][0]

    def test_no_engine_at_all(self, full: Commands, tmp_path: Path) -> None:
        path = tmp_path / "x.engine"
        path.write_bytes(b"no plan of anybody's" * 100)
        assert "cannot load x.engine" in self.refusal(full, path)


class TestVersionCompatible:
    def test_it_is_loaded_when_that_is_allowed(self, full: Commands) -> None:
        full.built("portable")
        plan = full.engine("portable")
        refused = run(["predict", plan, full.images], full.environment)
        assert (refused.code, "--allow-host-code" in refused.err) == (8, True), refused.err
        agree(full.json("predict", plan, full.images, "--allow-host-code"), full.expected, pixels=0.1, score=0.002)
        facts = full.json("inspect", plan)["facts"]
        assert facts["runs here"] == "yes; requires --allow-host-code"
        assert facts["options"] == "version-compatible"

    def test_a_later_lean_runtime_predicts(self, lean: Commands) -> None:
        plan = lean.engine("portable")
        assert lean.json("inspect", plan)["facts"]["runs here"] == "yes; requires --allow-host-code"
        agree(lean.json("predict", plan, lean.images, "--allow-host-code"), lean.expected, pixels=0.1, score=0.002)

    def test_a_later_lean_runtime_refuses_other_engines(self, lean: Commands) -> None:
        plan = lean.engine("fp32")
        assert lean.json("inspect", plan)["facts"]["runs here"].startswith("no: ")
        refused = run(["predict", plan, lean.images], lean.environment)
        assert refused.code == 8, refused.err
        assert "the lean runtime runs version-compatible engines only (--version-compatible)" in refused.err
        assert "Rebuild it here with: adaptrt build best.onnx" in refused.err

    def test_a_lean_runtime_does_not_build(self, lean: Commands, tmp_path: Path) -> None:
        refused = run(["build", lean.onnx, "--target", "8", "-o", tmp_path / "no.engine"], lean.environment)
        assert refused.code == 3, refused.err
        assert "TensorRT is not installed; building an engine requires the full library." in refused.err


class TestCache:
    def test_what_is_kept_and_what_goes(self, full: Commands, tmp_path: Path) -> None:
        full.built("fp32")
        cache = Path(shutil.copytree(full.cache, tmp_path / "cache"))
        aside = Commands(full.folder, cache=cache)
        kept = aside.json("cache", "ls")
        assert kept["folder"] == str(cache)
        assert any(entry["kind"] == "engine" and "best.onnx fp32" in entry["title"] for entry in kept["entries"])
        assert kept["timing"]
        shown = run(["cache", "ls"], aside.environment)
        assert f"{len(kept['entries'])} results, {len(kept['timing'])} timing caches" in shown.out
        gone = aside.json("cache", "prune", "--timing")
        assert (gone["entries"], gone["timing"]) == (len(kept["entries"]), len(kept["timing"]))
        left = aside.json("cache", "ls")
        assert (left["entries"], left["timing"], left["bytes"]) == ([], [], 0)


def test_what_the_commands_need(full: Commands) -> None:
    """Building, inspecting and predicting import none of what only a conversion needs."""
    full.built("fp32")
    program = (
        "import sys; from adaptrt.cli.main import main; sys.argv[0] = 'adaptrt'; code = main();"
        "print('LOADED', *sorted({'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules)), file=sys.stderr);"
        "sys.exit(code)"
    )
    for words in (["inspect", full.engine("fp32")], ["predict", full.engine("fp32"), full.images, "--json"]):
        command = [full.python, "-c", program, *map(str, words)]
        done = subprocess.run(command, env=full.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1].split() == ["LOADED"]
