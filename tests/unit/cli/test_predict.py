"""``adaptrt predict``: from images to boxes, drawn, printed or as JSON, with neither torch nor adapter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt.errors import UsageError
from adaptrt.pipeline.executors import LocalExecutor

Converted = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("here")


def test_an_image_gives_a_line_and_a_drawing(adaptrt: Any, converted: Converted, image: Path) -> None:
    from adaptrt.vision.images import read_image

    model = converted("detector")
    result = adaptrt("predict", model, image)
    assert result.code == 0, result.err
    (line,) = result.out.splitlines()
    assert str(image) in line
    assert "red" in line
    assert "pre " in line
    assert " ms" in line
    assert line.endswith("-> predictions/image.png")
    drawn = read_image("predictions/image.png")
    assert drawn.shape == read_image(image).shape
    assert (drawn != read_image(image)).any()


def test_neither_torch_nor_an_adapter_is_imported(converted: Converted, image: Path) -> None:
    code = (
        "import sys\nfrom adaptrt.cli.boundary import run\nfrom adaptrt.cli.main import cli\n"
        "code = run(cli, sys.argv[1:], 'adaptrt')\n"
        "seen = {'torch', 'onnx', 'onnx_ir', 'tiny_adapter', 'adaptrt_ultralytics', 'ultralytics'} & set(sys.modules)\n"
        "sys.exit(f'imported {seen}' if seen else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(converted("detector")), str(image)],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr


def test_thresholds_can_be_set(adaptrt: Any, converted: Converted, image: Path) -> None:
    model = converted("detector")
    few = adaptrt("predict", model, image, "--set", "conf=0.99", "--json").json["images"][0]["detections"]
    many = adaptrt("predict", model, image, "--set", "conf=0.3", "--json").json["images"][0]["detections"]
    assert len(few) < len(many)
    assert min(found["score"] for found in many) < 0.99


def test_an_unknown_parameter_is_named(adaptrt: Any, converted: Converted, image: Path) -> None:
    result = adaptrt("predict", converted("detector"), image, "--set", "cnf=0.3")
    assert result.code == 2
    assert "Did you mean 'conf'?" in result.err


def test_json_holds_boxes_of_the_image_and_draws_nothing(adaptrt: Any, converted: Converted, image: Path) -> None:
    import adaptrt as api

    model = converted("detector")
    (found,) = adaptrt("predict", model, image, "--json").json["images"]
    (expected,) = api.load(model)(image)
    assert (found["height"], found["width"]) == (96, 128)
    np.testing.assert_allclose([one["box"] for one in found["detections"]], expected.boxes, atol=1e-3)
    assert [one["label"] for one in found["detections"]] == [expected.name(index) for index in range(len(expected))]
    assert set(found["milliseconds"]) == {"preprocess", "run", "postprocess"}
    assert found["output"] is None
    assert list(Path().iterdir()) == []


def test_classes_get_bars(adaptrt: Any, converted: Converted, image: Path) -> None:
    result = adaptrt("predict", converted("classifier"), image)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert len(lines) == 4
    assert sum("█" in line for line in lines) >= 1
    shares = [float(line.split()[-2]) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_folders_and_patterns(adaptrt: Any, converted: Converted, image: Path) -> None:
    model = converted("detector")
    for name in ("a/one.png", "a/two.png", "b/one.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(image.read_bytes())
    Path("a/notes.txt").write_text("not an image")
    result = adaptrt("predict", model, "a", "b/*.png", "a/one.png", "-o", "found")
    assert result.code == 0, result.err
    assert len(result.out.splitlines()) == 3
    assert sorted(path.name for path in Path("found").iterdir()) == ["one-2.png", "one.png", "two.png"]


def test_a_single_image_can_be_given_a_name(adaptrt: Any, converted: Converted, image: Path) -> None:
    assert adaptrt("predict", converted("detector"), image, "-o", "sub/found.jpg").code == 0
    assert Path("sub/found.jpg").is_file()


def four_bands(path: Path) -> Path:
    """A classifier of images with four bands: the mean of each band decides."""
    onnx = pytest.importorskip("onnx", reason="makes a graph")
    from adaptrt import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputGroup, OutputSpec
    from adaptrt.specs import METADATA_KEY

    helper = onnx.helper
    spec = ModelSpec(
        (InputSpec.image(8, 8, channels=4, batch=Dim(1, 1, 4, "batch")),),
        (OutputSpec("scores", ("batch", 4), groups=(OutputGroup("scores", "scores"),)),),
        task="classify",
        image=ImageTransform(resize="stretch"),
        decoder=DecoderSpec("classify", {"top_k": 1}),
        labels=("blue", "green", "red", "infrared"),
    )
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["flat"]),
            helper.make_node("Softmax", ["flat"], ["scores"]),
        ],
        "bands",
        [helper.make_tensor_value_info("images", 1, ["batch", 4, 8, 8])],
        [helper.make_tensor_value_info("scores", 1, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, str(path))
    return path


def test_images_of_four_bands(adaptrt: Any) -> None:
    import cv2

    model = four_bands(Path("bands.onnx"))
    pixels = np.zeros((6, 9, 4), np.uint8)
    pixels[..., 3] = 200
    np.save("bands.npy", pixels)
    assert cv2.imwritemulti("bands.tif", [pixels[..., band] for band in range(4)])
    cv2.imwrite("three.png", pixels[..., :3])
    for name in ("bands.npy", "bands.tif"):
        result = adaptrt("predict", model, name, "--json")
        assert result.code == 0, result.err
        assert "infrared" in str(result.json["images"][0])
    result = adaptrt("predict", model, "bands.npy", "bands.tif", "-o", "found")
    assert result.code == 0, result.err
    assert len(list(Path("found").iterdir())) == 2
    refused = adaptrt("predict", model, "three.png")
    assert refused.code == 4
    assert "The model expects images with 4 channels" in refused.err


def test_a_file_that_its_report_does_not_describe(adaptrt: Any) -> None:
    """A run that was killed between two renames leaves a new file beside the old report."""
    from adaptrt.report import FileRecord, Report
    from adaptrt.store.hashing import file_sha256

    model = four_bands(Path("bands.onnx"))
    np.save("bands.npy", np.full((6, 9, 4), 9, np.uint8))
    report = Report("tiny", "best.pt", "adaptrt convert best.pt")
    for digest, warned in ((file_sha256(model), False), ("0" * 64, True)):
        report.files["onnx"] = FileRecord(str(model), 3, digest)
        Path("bands.report.json").write_text(report.to_json())
        result = adaptrt("predict", model, "bands.npy", "--json")
        assert result.code == 0, result.err
        assert ("Warning: bands.report.json describes a different bands.onnx" in result.err) is warned


def test_one_name_for_two_images_is_refused(adaptrt: Any, converted: Converted, image: Path) -> None:
    other = image.with_name("other.png")
    other.write_bytes(image.read_bytes())
    result = adaptrt("predict", converted("detector"), image, other, "-o", "found.png")
    assert result.code == 2
    assert "Pass a folder" in result.err


def test_the_image_itself_is_never_overwritten(adaptrt: Any, converted: Converted, image: Path) -> None:
    before = image.read_bytes()
    for place in (image.parent, image):
        result = adaptrt("predict", converted("detector"), image, "-o", place)
        assert result.code == 2
        assert "overwrite" in result.err
    assert image.read_bytes() == before


def test_no_other_input_is_overwritten(adaptrt: Any, converted: Converted, image: Path) -> None:
    """The result of the first image would have the name of the second one."""
    model = converted("detector")
    for name in ("a/one.png", "b/one.png"):
        Path(name).parent.mkdir()
        Path(name).write_bytes(image.read_bytes())
    for more in ((), ("--stream",)):
        result = adaptrt("predict", model, "a/one.png", "b/one.png", "-o", "b", *more)
        assert result.code == 2
        assert "-o would overwrite the input b/one.png." in result.err
        assert Path("b/one.png").read_bytes() == image.read_bytes()


def test_all_results_of_an_image_have_one_name(adaptrt: Any, converted: Converted, image: Path) -> None:
    model = converted("detector")
    pixels = image.read_bytes()
    Path("in").mkdir()
    for name in ("a-2.png", "a.jpg", "a.png"):
        Path("in", name).write_bytes(pixels)
    Path("in/A.bmp").write_bytes(b"not an image")
    result = adaptrt("predict", model, "in", "--save-txt", "--save-crop", "--set", "conf=0.3", "-o", "out")
    assert result.code == 4
    (drawn, labels) = (sorted(path.stem for path in Path("out", *more).glob("*.*")) for more in ((), ("txt",)))
    assert drawn == labels
    assert len(labels) == 3
    assert "a-2" in labels  # the only one of this name
    crops = {path.stem.rpartition("-")[0] for path in Path("out/crop").rglob("*.jpg")}
    assert crops == set(labels)


def test_results_of_an_earlier_run_are_reported(adaptrt: Any, converted: Converted, image: Path) -> None:
    model = converted("detector")
    first = adaptrt("predict", model, image, "--save-crop", "--save-txt", "--set", "conf=0.3")
    assert "Warning" not in first.err
    before = {path for path in Path("predictions/crop").rglob("*") if path.is_file()}
    second = adaptrt("predict", model, image, "--save-crop", "--save-txt", "--set", "conf=0.9")
    assert second.code == 0, second.err
    assert len(second.err.splitlines()) == 1
    assert second.err.startswith("Warning: predictions/crop also has ")
    assert "that this run did not write: " in second.err
    assert before == {path for path in Path("predictions/crop").rglob("*") if path.is_file()}


def test_a_broken_image_stops_only_itself(adaptrt: Any, converted: Converted, image: Path) -> None:
    Path("broken.png").write_bytes(image.read_bytes()[:40])
    result = adaptrt("predict", converted("detector"), "broken.png", image)
    assert result.code == 4
    assert len(result.out.splitlines()) == 1
    assert "broken.png" in result.err
    assert "1 of 2 images could not be read" in result.err
    found = adaptrt("predict", converted("detector"), "broken.png", image, "--json")
    assert found.code == 4
    assert [("error" in one) for one in found.json["images"]] == [True, False]


def test_a_pattern_without_files_names_the_suffixes_of_videos_too(adaptrt: Any, converted: Converted) -> None:
    result = adaptrt("predict", converted("detector"), "clips/*.mp4")
    assert result.code == 4
    assert "The pattern clips/*.mp4 matches no images or videos." in result.err
    assert ".mp4" in result.err.partition("Supported suffixes:")[2]


def test_a_missing_image_stops_only_itself(adaptrt: Any, converted: Converted, image: Path) -> None:
    """Also one that a list names, a pattern without images, and an empty folder."""
    Path("empty").mkdir()
    Path("list.txt").write_text("gone.png\nno*.png\n")
    result = adaptrt("predict", converted("detector"), "imag.png", "empty", "list.txt", image, "--json")
    assert result.code == 4
    found = result.json["images"]
    assert [one["path"] for one in found] == ["imag.png", "empty", "gone.png", "no*.png", str(image)]
    assert [("error" in one) for one in found] == [True] * 4 + [False]
    assert found[0]["error"] == "File not found: imag.png."
    assert found[1]["error"] == "The folder empty contains no images."
    assert found[3]["error"] == "File not found: no*.png."
    assert "Skipped: File not found: gone.png." in result.err
    assert "4 of 5 images could not be read." in result.err


def test_a_single_broken_image_is_an_error(adaptrt: Any, converted: Converted) -> None:
    Path("broken.png").write_bytes(b"not an image")
    result = adaptrt("predict", converted("detector"), "broken.png", "--json")
    assert result.code == 4
    assert result.json["error"]["kind"] == "ImageError"


def test_a_missing_image_is_named(adaptrt: Any, converted: Converted, image: Path) -> None:
    result = adaptrt("predict", converted("detector"), image.with_name("imag.png"))
    assert result.code == 4
    assert f"Did you mean '{image}'?" in result.err


def test_a_missing_model_is_named(adaptrt: Any, converted: Converted, image: Path) -> None:
    converted("detector")
    result = adaptrt("predict", image.with_name("detectr.onnx"), image)
    assert result.code == 4
    assert f"Did you mean '{image.with_name('detector.onnx')}'?" in result.err


def test_a_folder_that_cannot_be_made(adaptrt: Any, converted: Converted, image: Path) -> None:
    Path("taken").write_text("a file")
    result = adaptrt("predict", converted("detector"), image, "-o", "taken/deeper")
    assert result.code == 2
    assert result.err == "Error: taken is not a folder.\nChoose another folder with -o.\n"
    Path("damaged.onnx").write_text("no model")
    early = adaptrt("predict", "damaged.onnx", image, "-o", "taken")
    assert early.err == result.err  # before the model is opened


def test_raw_values_are_kept_as_arrays(adaptrt: Any, converted: Converted, image: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the spec in the file is changed")

    from adaptrt.specs import METADATA_KEY, DecoderSpec, ModelSpec

    path = converted("classifier")
    model = onnx.load(str(path))
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            from dataclasses import replace

            spec = replace(ModelSpec.from_json(entry.value), task="values", decoder=DecoderSpec("raw"))
            entry.value = spec.to_json()
    onnx.save(model, str(path))
    result = adaptrt("predict", path, image)
    assert result.code == 0, result.err
    with np.load("predictions/image.npz") as arrays:
        logits = arrays["logits"].tolist()
        assert len(logits) == 3
    assert f"logits [{', '.join(f'{value:.3g}' for value in logits)}]" in result.out
    (found,) = adaptrt("predict", path, image, "--json").json["images"]
    assert found["values"] == {"logits": {"shape": [3], "dtype": "float32", "data": logits}}
    image.with_suffix(".jpg").write_bytes(image.read_bytes())
    assert adaptrt("predict", path, image, image.with_suffix(".jpg"), "-o", "both").code == 0
    assert sorted(path.name for path in Path("both").iterdir()) == ["image-2.npz", "image.npz"]


def test_a_device_that_does_not_exist_is_refused(adaptrt: Any, converted: Converted, image: Path) -> None:
    result = adaptrt("predict", converted("detector"), image, "--device", "gpu")
    assert result.code == 2
    assert "use cpu, cuda or cuda:0" in result.err


def test_long_class_names_leave_the_bars_where_they_are_seen() -> None:
    """ImageNet's names are lists of synonyms, up to 130 characters."""
    from adaptrt.cli.results import Result, describe_result
    from adaptrt.pipeline.batches import Timing
    from adaptrt.predictions import Classification
    from adaptrt.specs import task_named

    names = ("cash machine, cash dispenser, " + "automated teller machine, " * 4, "tabby, tabby cat")
    found = Classification(np.array([0.75, 0.25], np.float32), np.array([0, 1]), names)
    result = Result(Path("a.png"), (9, 9), found, Timing(0, 0, 0), None, task_named("classify"))
    _, first, second = describe_result(result).splitlines()
    assert max(len(first), len(second)) <= 80
    assert first.startswith("  cash machine, cash dispenser, automat...  █")
    assert first.index("█") == second.index("█")
    assert second.startswith("  tabby, tabby cat ")


def test_formats_have_the_flags_of_ultralytics(adaptrt: Any, converted: Converted, image: Path) -> None:
    """``--save-NAME`` is ``--save NAME``: the same files, written once, and the task decides which there are."""
    model = converted("detector")
    short = adaptrt(
        "predict",
        model,
        image,
        "--save-txt",
        "--save-csv",
        "--save-json",
        "--save-crop",
        "--save",
        "txt",
        "-o",
        "short",
    )
    assert short.code == 0, short.err
    assert (
        adaptrt(
            "predict",
            model,
            image,
            *(word for name in ("txt", "csv", "json", "crop") for word in ("--save", name)),
            "-o",
            "long",
        ).code
        == 0
    )
    written = {path.relative_to("short"): path.read_bytes() for path in Path("short").rglob("*") if path.is_file()}
    assert written == {
        path.relative_to("long"): path.read_bytes() for path in Path("long").rglob("*") if path.is_file()
    }
    assert {path.parts[0] for path in written} == {"image.png", "txt", "csv", "json", "crop"}
    wrong = adaptrt("predict", converted("classifier"), image, "--save-crop")
    assert wrong.code == 2
    assert "--save crop: task 'classify' does not support this format." in wrong.err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("predict", "MODEL", ""), "The source"),
        (("predict", "MODEL", "image.png", "", "--stream"), "The source"),
        (("batch", "MODEL", "", "-o", "job"), "The source"),
        (("batch", "MODEL", "image.png", "-o", ""), "The value of -o"),
        (("predict", "MODEL", "image.png", "--classes", ""), "The value of --classes"),
        (("predict", "MODEL", "image.png", "--save", ""), "The value of --save"),
    ],
)
def test_an_empty_text_is_not_the_current_folder(
    adaptrt: Any, converted: Converted, image: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], what: str
) -> None:
    model = converted("detector")
    monkeypatch.chdir(image.parent)
    before = sorted(Path().iterdir())
    result = adaptrt(*(model if word == "MODEL" else word for word in words))
    assert result.code == UsageError.exit_code
    assert result.err.startswith(f"Error: {what} is empty.\nA variable of the shell may be unset.")
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("lost")])
def test_an_interrupted_run_saves_what_it_has(
    adaptrt: Any, converted: Converted, image: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.chdir(image.parent)
    shutil.copy(image, "other.png")
    whole = LocalExecutor.run

    def run(*args: Any) -> Any:
        yield next(whole(*args))
        raise error

    monkeypatch.setattr(LocalExecutor, "run", run)
    result = adaptrt("predict", converted("detector"), image, "other.png", "--save", "json", "--save", "csv")
    assert result.code != 0
    said = "1 of 2 images. Written: predictions/json/predictions.json, predictions/csv/predictions.csv"
    assert said in result.err.splitlines()
    (saved,) = json.loads(Path("predictions/json/predictions.json").read_text())
    assert saved["image"] == str(image)
