"""int8 from the command line: calibrated on images, judged by what is predicted on others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_convnet import SIDE, write_convnet, write_images

from adaptrt.specs import METADATA_KEY


@pytest.fixture
def calib(tmp_path: Path) -> Path:
    write_images(tmp_path / "calib", 80)
    return tmp_path / "calib"


def link(result: Any, number: int = 3) -> dict[str, Any]:
    found: dict[str, Any] = result.json["links"][number]
    return found


def operators(path: str) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_without_labels_predictions_are_compared_on_images_held_back(adaptrt: Any, net: Path, calib: Path) -> None:
    result = adaptrt("quantize", net, "--calib", calib, "-o", "out.int8.onnx", "--json")
    assert result.code == 0, result.err
    assert sorted(path.name for path in Path().iterdir()) == [
        "net.onnx", "out.int8.onnx", "out.quantize.report.html", "out.quantize.report.json",
    ]  # fmt: skip
    assert "QuantizeLinear" in operators("out.int8.onnx")
    assert {one.key for one in onnx.load("out.int8.onnx").metadata_props} >= {METADATA_KEY, "kept"}
    assert link(result)["status"] == "passed"
    agreement, *distances = link(result)["checks"]
    assert (agreement["name"], agreement["value"], agreement["limit"]) == ("same top-1", 1.0, 0.8)
    assert agreement["samples"] == 16  # a fifth of 80
    assert all(check["limit"] is None and check["passed"] for check in distances)
    assert result.json["verdict"] == {"word": "partly verified", "missing": ["link 3: no labels (--data)"]}
    assert (
        f"int8: 2 layers in int8, float: 1 image layers, 1 output layers; minmax over 64 images of {calib}"
        in result.json["notes"]
    )
    assert result.json["warnings"] == []


def test_the_file_has_the_name_that_was_given(adaptrt: Any, net: Path, calib: Path) -> None:
    words = ("quantize", net, "--calib", calib, "--verify", "none")
    result = adaptrt(*words, "-o", "small.onnx", "--json")
    assert result.code == 0, result.err
    assert [Path(one["path"]).name for one in result.json["files"].values()] == ["small.onnx"]
    assert sorted(path.name for path in Path().glob("small*")) == [
        "small.onnx", "small.quantize.report.html", "small.quantize.report.json",
    ]  # fmt: skip
    result = adaptrt(*words, "-o", net)
    assert result.code == 2, result.err
    assert f"-o would overwrite the input {net}." in result.err


def test_with_labels_the_score_decides(adaptrt: Any, net: Path, calib: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "val", 100, seed=1)
    result = adaptrt("quantize", net, "--calib", calib, "--data", tmp_path / "val", "--json")
    assert result.code == 0, result.err
    loss = link(result)["checks"][0]
    assert (loss["name"], loss["unit"], loss["limit"], loss["samples"]) == ("loss of top-1", "points", 1.0, 100)
    scores = "top-1 100.00 instead of 100.00 on 100 images; 95 % interval of the loss 0.00 to 0.00 points"
    assert loss["reason"].startswith(scores)
    assert scores in result.err
    assert result.json["verdict"] == {"word": "verified", "missing": []}
    assert [Path(one["path"]).name for one in result.json["files"].values()] == ["net.int8.onnx"]


def test_a_score_on_few_images_is_partly_verified(adaptrt: Any, net: Path, calib: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "val", 120, seed=1)
    result = adaptrt("quantize", net, "--calib", calib, "--data", tmp_path / "val", "--data-limit", 40, "--json")
    assert result.json["verdict"]["missing"] == ["link 3: scored on 40 images, fewer than 100"]


def test_copies_of_an_image_count_once(adaptrt: Any, net: Path, calib: Path, tmp_path: Path) -> None:
    for path in write_images(tmp_path / "val", 8, seed=1):
        for copy in range(14):
            shutil.copyfile(path, path.with_name(f"{copy}-{path.name}"))
    result = adaptrt("quantize", net, "--calib", calib, "--data", tmp_path / "val", "--json")
    assert result.json["verdict"]["missing"] == ["link 3: scored on 8 different images, fewer than 100"]


def test_a_score_that_any_constant_reaches_is_partly_verified(adaptrt: Any, net: Path, tmp_path: Path) -> None:
    """Images of one class; the file, calibrated on dark images, answers the same for every image."""
    write_images(tmp_path / "dark", 64, light=0.05)
    write_images(tmp_path / "val", 400, seed=1)
    for label in ("red", "green", "blue"):
        shutil.rmtree(tmp_path / "val" / label)
    result = adaptrt("quantize", net, "--calib", tmp_path / "dark", "--data", tmp_path / "val", "--json")
    assert result.code == 0, result.err
    assert result.json["verdict"] == {
        "word": "partly verified",
        "missing": ["link 3: on these images, a file that ignores its input would lose only 0 points of top-1"],
    }


def test_a_loss_beyond_the_limit_leaves_no_file(adaptrt: Any, net: Path, tmp_path: Path) -> None:
    """Ranges of dark images: in daylight everything saturates, and the colors look alike."""
    write_images(tmp_path / "dark", 64, light=0.05)
    write_images(tmp_path / "val", 20, seed=1)
    result = adaptrt("quantize", net, "--calib", tmp_path / "dark", "--data", tmp_path / "val", "--max-loss", 5)
    assert result.code == 9
    assert "Link 3 (reduced-precision graph vs. reference) fails: loss of top-1 75" in result.err
    assert "top-1 25.00 instead of 100.00 on 20 images" in result.err
    assert "activations exceed their calibrated range" in result.err
    assert "Calibrate on more images" in result.err
    assert not Path("net.int8.onnx").exists()
    result = adaptrt("quantize", net, "--calib", tmp_path / "dark", "--data", tmp_path / "val", "--max-loss", 80)
    assert result.code == 0


def test_images_in_both_sets_are_counted(adaptrt: Any, net: Path, calib: Path, tmp_path: Path) -> None:
    twice = write_images(tmp_path / "val", 30, seed=1)[:3]
    for path in twice:
        (calib / f"copy-{path.name}").write_bytes(path.read_bytes())
    result = adaptrt("quantize", net, "--calib", calib, "--data", tmp_path / "val")
    assert result.code == 2
    assert "3 of 30 verification images are also calibration images" in result.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "quantize needs images"),
        (("--calib", "nowhere"), "Not found: nowhere."),
        (("--calib", "net.onnx"), "is not a folder, a pattern, a .txt file or an .npz file"),
        (("--calib", "."), ". contains no images."),
        (("--calib", ".", "--calib-images", "0"), "number of calibration images must be at least 1"),
        (("--calib", ".", "--calib-method", "magic"), "Unknown calibration method 'magic'"),
        (("--calib", ".", "--max-loss", "1"), "--max-loss requires labels"),
        (("--calib", ".", "--data", ".", "--max-loss", "-1"), "largest loss must be between 0 and 100"),
        (("--calib", ".", "--data-limit", "5"), "--data-limit needs --data"),
        (("--calib-batch", "5"), "--calib-batch needs --calib"),
        (("--calib", ".", "--data", "nowhere"), "Not found: nowhere."),
        (("--calib", ".", "--data", ".", "--verify", "none"), "--data conflicts with --verify none"),
    ],
)
def test_invalid_requests(adaptrt: Any, net: Path, flags: tuple[str, ...], said: str) -> None:
    result = adaptrt("quantize", net, *flags)
    assert result.code == 2
    assert said in result.err


def test_what_stays_float_is_half_where_the_target_takes_types_from_the_graph(
    adaptrt: Any, net: Path, calib: Path
) -> None:
    words = ("quantize", net, "--calib", calib, "--json", "--target")
    typed, plain = adaptrt(*words, "10", "-o", "typed.onnx"), adaptrt(*words, "8", "-o", "plain.onnx")
    assert typed.code == plain.code == 0, typed.err + plain.err
    types = {}
    for name in ("typed", "plain"):
        model = onnx.shape_inference.infer_shapes(onnx.load(f"{name}.onnx"))
        found = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
        scales = {one.name: one.data_type for one in model.graph.initializer if "int8_scale" in one.name}
        types[name] = model.opset_import[0].version, found.get("pool"), set(scales.values())
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert types["plain"] == (17, single, {single})
    assert types["typed"][:2] == (19, half)
    assert link(typed)["checks"][0]["value"] == 1.0
    assert any(note.startswith("fp16: ") for note in typed.json["notes"])
    inputs = [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]
    assert set(inputs) == {single}


def test_lists_and_arrays(adaptrt: Any, net: Path, calib: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(tmp_path) for path in calib.rglob("*.png"))
    (tmp_path / "list.txt").write_text("# images\n" + "\n".join(map(str, names[:70])) + "\n\n")
    result = adaptrt(
        "quantize", net, "--calib", tmp_path / "list.txt", "--calib-images", 65, "--calib-batch", 4, "--json"
    )
    assert result.code == 0, result.err
    assert link(result)["checks"][0]["samples"] == 5  # what is left of 70
    (tmp_path / "list.txt").write_text("absent.png")
    assert "lists absent.png, which does not exist" in adaptrt("quantize", net, "--calib", tmp_path / "list.txt").err
    rows = np.random.default_rng(0).random((70, 3, SIDE, SIDE), dtype=np.float32)
    np.savez("rows.npz", rows)
    result = adaptrt("quantize", net, "--calib", "rows.npz", "--json")
    assert result.code == 0, result.err
    judged, reported = link(result)["checks"]
    assert (judged["name"], judged["kind"], judged["samples"], judged["passed"]) == ("logits", "held back", 8, True)
    assert 0 < judged["value"] < judged["limit"]
    assert reported["limit"] is None  # noise that is nothing like the rows
    np.savez("rows.npz", rows[:9])
    result = adaptrt("quantize", net, "--calib", "rows.npz", "--json")
    assert result.json["verdict"]["word"] == "not verified"
    assert "link 3 did not run: no images beside those of the calibration" in result.json["verdict"]["missing"][0]
    np.savez("rows.npz", rows.astype(np.float64))
    assert (
        "is float64 (70, 3, 16, 16), but the model expects float32 Nx3x16x16"
        in adaptrt("quantize", net, "--calib", "rows.npz").err
    )
    np.savez("rows.npz", a=rows, b=rows)
    assert "has no array for input 'images'" in adaptrt("quantize", net, "--calib", "rows.npz").err
    Path("rows.npz").write_bytes(b"no")
    assert "is not an .npz file" in adaptrt("quantize", net, "--calib", "rows.npz").err
    assert (
        "--calib-batch 5 exceeds the model's largest batch of 4"
        in adaptrt("quantize", net, "--calib", calib, "--calib-batch", 5).err
    )


def test_build_quantizes_too(adaptrt: Any, net: Path, calib: Path) -> None:
    result = adaptrt("build", net, "--int8", "--calib", calib, "--verify", "quick", "--json")
    assert result.code == 0, result.err
    assert operators("net.int8.onnx") >= {"QuantizeLinear"}
    refused = adaptrt("build", net, "--int8")
    assert refused.code == 8
    assert "--int8 --calib FOLDER" in refused.err
    assert "--calib is for int8, and the precision is fp16" in adaptrt("build", net, "--fp16", "--calib", calib).err
    again = adaptrt("build", "net.int8.onnx", "--int8", "--calib", calib)
    assert "already has QuantizeLinear and DequantizeLinear nodes" in again.err
    assert "adaptrt build net.int8.onnx --int8" in again.err


def test_a_file_without_preprocessing_says_what_to_do(adaptrt: Any, net: Path, calib: Path) -> None:
    write_convnet(net, spec=None)
    result = adaptrt("quantize", net, "--calib", calib)
    assert result.code == 2
    assert "net.onnx contains no preprocessing" in result.err
    assert "adaptrt adopt" in result.err
    np.savez("rows.npz", np.random.default_rng(0).random((70, 3, SIDE, SIDE), dtype=np.float32))
    result = adaptrt("quantize", net, "--calib", "rows.npz", "--shape", f"images=1..4x3x{SIDE}x{SIDE}", "--json")
    assert result.code == 0, result.err
    assert result.json["verdict"]["word"] == "verified"


def test_the_cache(adaptrt: Any, net: Path, calib: Path) -> None:
    words = ("quantize", net, "--calib", calib, "--calib-cache", "new/ranges.json", "--verify", "none", "--json")
    first = adaptrt(*words)
    assert first.code == 0, first.err
    written = Path("net.int8.onnx").read_bytes()
    assert json.loads(Path("new/ranges.json").read_text())["images"] == 80
    second = adaptrt(*words)
    assert "int8: ranges from the calibration cache new/ranges.json (80 images)" in second.json["notes"]
    assert Path("net.int8.onnx").read_bytes() == written
    next(calib.rglob("*.png")).unlink()
    assert "ranges.json is stale (different images)" in adaptrt(*words).json["warnings"][0]


def test_convert_compares_with_the_model_itself(adaptrt: Any, tiny: str, tmp_path: Path) -> None:
    write_images(tmp_path / "calib", 20)
    words = ("convert", "detector", "--adapter", tiny, "--calib", tmp_path / "calib", "--verify", "quick", "--json")
    result = adaptrt(*words, "--int8", "--calib-images", 12, "--quantize-also", "Conv")
    assert result.code == 0, result.err
    agreement, *_ = link(result)["checks"]
    assert (agreement["kind"], agreement["samples"]) == ("metric", 8)
    assert operators("detector.int8.onnx") >= {"QuantizeLinear"}
    assert "QuantizeLinear" not in operators("detector.onnx")
    files = result.json["files"]
    assert files["reduced"]["verdict"]["word"] == "partly verified"
    assert "link 3: no labels (--data)" in files["reduced"]["verdict"]["missing"]
    assert "link 3: no labels (--data)" not in files["onnx"]["verdict"]["missing"]
    assert adaptrt(*words).code == 2  # without --int8


def test_a_built_file_agrees_with_the_graph_and_in_batches(adaptrt: Any, net: Path, calib: Path, copying: Any) -> None:
    """Link 4: predictions as the Q/DQ graph's, as the original's, and the same in a batch; distances are only reported."""
    words = ("build", net, "--int8", "--calib", calib, "--to", "onnx,copying", "--verify", "quick", "--json")
    result = adaptrt(*words)
    assert result.code == 0, result.err
    checks = link(result, 4)["checks"]
    assert [(check["name"], check["kind"]) for check in checks if check["limit"] is not None] == [
        ("same top-1", "same graph"), ("same top-1", "metric"), ("same top-1", "batch"),
    ]  # fmt: skip
    assert {check["kind"] for check in checks if check["limit"] is None} == {"samples", "batch"}


@pytest.mark.full
def test_a_graph_that_is_quantized_already_is_not_judged_by_distances(
    adaptrt: Any, net: Path, calib: Path, copying: Any
) -> None:
    """A constant on every logit is far beyond any distance, and changes no prediction."""
    assert adaptrt("quantize", net, "--calib", calib, "--verify", "none", "-o", "q.int8.onnx").code == 0
    copying.shift = 50.0
    words = ("build", "q.int8.onnx", "--int8", "--to", "copying", "--verify", "quick", "--json")
    result = adaptrt(*words)
    assert result.code == 0, result.err
    assert all(check["limit"] is None for check in link(result, 4)["checks"])
    assert "link 4: no images to compare predictions on (--data or --image)" in str(result.json)
    image = next(calib.rglob("*.png"))
    seen = adaptrt(*words, "--image", image)
    assert seen.code == 0, seen.err
    assert [check["name"] for check in link(seen, 4)["checks"] if check["limit"] is not None] == ["same top-1"]


@pytest.mark.parametrize("command", ["quantize", pytest.param("build", marks=pytest.mark.full)])
def test_a_decoder_is_enough_for_a_file_without_a_spec(
    adaptrt: Any, net: Path, calib: Path, tmp_path: Path, command: str
) -> None:
    """Calibrated through the preprocessing of that decoder's task; the spec is in the file that is written."""
    from adaptrt.onnxfile.reader import read_onnx

    write_convnet(net, spec=None)
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\ngray\n")
    words = ("--decoder", "classify", "--names", tmp_path / "names.txt", "--calib", calib, "--json")
    words += ("--int8", "--to", "onnx") if command == "build" else ()
    result = adaptrt(command, net, *words)
    assert result.code == 0, result.err
    spec = read_onnx(Path("net.int8.onnx")).spec
    assert spec is not None
    assert (spec.task, spec.labels) == ("classify", ("red", "green", "blue", "gray"))
    assert link(result)["checks"][0]["name"] == "same top-1"
    assert any("decoder classify, from --decoder" in note for note in result.json["notes"])
    again = adaptrt(command, "net.int8.onnx", *words)
    assert "already has a spec" in again.err
