"""Commands and options of other tools answer with the one that does the same here."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from command_tree import command_of


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("convert", "net.py", "--cfg-options", "a=1"), "--cfg-options is an option of mmdet; in adaptrt: --set cfg.KEY=VALUE."),
        (("convert", "net.py", "--skip-postprocess"), "--set raw=true"),
        (("convert", "net.py", "--dynamic-export"), "--dynamic batch,hw"),
        (("convert", "net.py", "--trt-file", "a.engine"), "-o FILE.engine"),
        (("build", "net.onnx", "--saveEngine=a.engine"), "--saveEngine is an option of trtexec; in adaptrt: -o FILE.engine."),
        (("build", "net.onnx", "--minShapes=x:1x3"), "--min-shape INPUT:SHAPE"),
        (("build", "--onnx=net.onnx"), "adaptrt build FILE.onnx"),
        (("convert", "best.pt", "--format", "engine"), "--format is an option of yolo; in adaptrt: --to onnx,engine."),
        (("convert", "best.pt", "--conf", "0.3"), "In this command: --set conf=VALUE, which is stored in the file."),
        (("convert", "best.pt", "--imgsz", "416", "320"), "Height and width are one value: --imgsz 416x320."),
        (("predict", "best.onnx", "bus.jpg", "--save-conf"), "--save-conf is an option of YOLOv5; in adaptrt: --save-txt"),
    ],
)  # fmt: skip
def test_options_of_other_tools(adaptrt: Any, words: tuple[str, ...], said: str) -> None:
    result = adaptrt(*words)
    assert result.code == 2
    assert said in " ".join(result.err.split())


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("export model=best.pt format=engine imgsz=640 half=True", "convert best.pt --to onnx,engine --imgsz 640 --precision fp16"),
        ("export best.pt", "convert best.pt"),
        ("export", "convert SOURCE"),
        ("export --weights best.pt --include onnx engine --half --img 640 480", "convert best.pt --to onnx,engine --precision fp16 --imgsz 640x480"),
        ("export model='my file.pt' int8=True data=c.yaml", "convert 'my file.pt' --precision int8 --calib images/"),
        ("detect export model=best.pt simplify=False", "convert best.pt --no-simplify"),
        ("mode=export model=best.pt nms=True conf=0.3", "convert best.pt --nms --set conf=0.3"),
        ("convert best.pt format=engine --verify quick half=True -o x.onnx", "convert best.pt --to onnx,engine --verify quick --precision fp16 -o x.onnx"),
        ("convert model=best.pt imgsz=[640,320] device=0 dynamic=False", "convert best.pt --imgsz 640x320 --device cuda:0 --dynamic none"),
        ("val model=best.onnx data=coco.yaml conf=0.3", "evaluate best.onnx --data coco.yaml --conf 0.3"),
        ("val best.onnx", "evaluate best.onnx --data DATA"),
        ("task=detect mode=predict model=best.onnx source=images classes=[0,2] save_txt=True", "predict best.onnx images --classes 0,2 --save-txt"),
        ("predict model=best.onnx source=bus.jpg conf=0.25", "predict best.onnx bus.jpg --conf 0.25"),
        ("detect --weights best.onnx --source a.jpg --conf-thres 0.4 --save-crop", "predict best.onnx a.jpg --conf 0.4 --save-crop"),
        ("benchmark model=runs/best.onnx", "bench runs/best.onnx"),
        ("checks", "doctor"),
        ("trtexec --onnx=net.onnx", "build net.onnx"),
        ("onnx2tensorrt net.onnx", "build net.onnx"),
        ("help", "--help"),
        ("help convert", "convert --help"),
    ],
)  # fmt: skip
def test_the_command_of_adaptrt_is_shown(adaptrt: Any, typed: str, command: str) -> None:
    result = adaptrt(*shlex.split(typed))
    assert result.code == 2
    assert result.err.splitlines()[1:] == [f"In adaptrt: adaptrt {command}"]
    name, *words = shlex.split(command)
    if "--help" not in command:
        command_of(name).make_context(name, words)  # it can be pasted


def test_a_checkpoint_is_converted_first(adaptrt: Any) -> None:
    error = adaptrt("predict", "model=runs/best.pt", "source=bus.jpg").err
    assert error.endswith(
        "In adaptrt: adaptrt convert runs/best.pt && adaptrt predict runs/best.onnx bus.jpg\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("runs/best.pt --imgsz 320", "convert runs/best.pt --imgsz 320"),
        ("'my model.safetensors'", "convert 'my model.safetensors'"),
        ("best.onnx", "inspect best.onnx"),
        ("best.engine", "inspect best.engine"),
        ("folder", "convert folder"),
    ],
)
def test_a_file_without_a_command(
    adaptrt: Any, typed: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    result = adaptrt(*shlex.split(typed))
    assert result.code == 2
    assert result.err.splitlines()[1:] == [f"Did you mean: adaptrt {command}"]


def test_words_without_an_equivalent_are_named(adaptrt: Any) -> None:
    error = adaptrt("export", "model=best.pt", "format=tflite", "optimize=True", "imgsz=640").err
    assert "Without an equivalent: format=tflite, optimize=True." in error
    assert "In adaptrt: adaptrt convert best.pt --imgsz 640\n" in error
    assert "adaptrt does not train models" in adaptrt("train", "data=coco.yaml").err


def test_files_and_options_may_have_an_equals_sign(
    adaptrt: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model=a").touch()
    assert "yolo" not in adaptrt("convert", "model=a", "--set", "conf=0.4", "--dry-run").err
    assert "yolo" not in adaptrt("convert", "best.pt", "extra", "--set", "conf=0.4").err


def test_only_near_options_are_suggested(adaptrt: Any) -> None:
    assert "Did you mean '--save-csv'?" in adaptrt("predict", "best.onnx", "a.jpg", "--csv").err
    assert "Did you mean '--verify'?" in adaptrt("convert", "best.pt", "--verfy", "quick").err
    assert "Did you mean" not in adaptrt("predict", "best.onnx", "a.jpg", "--agnostic-nms").err


def test_an_option_without_its_value_leads_to_the_help_of_the_command(adaptrt: Any) -> None:
    assert adaptrt("predict", "best.onnx", "a.jpg", "--save").err.endswith("See: adaptrt predict --help\n")
    said = "'--dynamic' requires an argument. Axes to make dynamic: batch, hw, batch,hw or none."
    assert said in adaptrt("convert", "best.pt", "--half", "--dynamic").err


def test_other_mistakes_are_answered_as_before(adaptrt: Any) -> None:
    assert "yolo" not in adaptrt("convert", "best.pt", "extra").err
    assert "trtexec" not in adaptrt("build", "a.onnx", "--nonsense").err


@pytest.mark.usefixtures("here")
def test_a_file_whose_name_begins_with_a_dash(adaptrt: Any) -> None:
    for name in ("-alpha.png", "-oops.png", "--b c.png"):
        Path(name).touch()
    said = "'-alpha.png' is a file whose name begins like an option: write ./-alpha.png."
    assert said in adaptrt("predict", "best.onnx", "-alpha.png").err
    assert "write './--b c.png'." in adaptrt("predict", "best.onnx", "--b c.png").err
    assert "write ./-oops.png." in adaptrt("predict", "best.onnx", "-oops.png").err
    assert "write" not in adaptrt("predict", "best.onnx", "-other.png").err
    assert "write" not in adaptrt("predict", "best.onnx", "-x", "--", "-alpha.png").err
