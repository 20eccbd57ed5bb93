"""Commands and options of other tools answer with the one that does the same here."""

from __future__ import annotations

from typing import Any

import pytest


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
        (("convert", "best.pt", "format=engine", "half=True"), "format=engine is --to engine; half=True is --precision fp16"),
        (("convert", "model=best.pt", "imgsz=640", "device=0"), "model=best.pt is best.pt, the first argument; imgsz=640 is --imgsz 640; device=0 is --device cuda:0"),
        (("convert", "best.pt", "dynamic=False", "conf=0.3"), "dynamic=False is --dynamic none; conf=0.3 is --set conf=0.3"),
        (("export", "model=best.pt", "format=engine"), "export is a command of yolo; in adaptrt: adaptrt convert."),
        (("export", "best.pt", "--imgsz", "640"), "in adaptrt: adaptrt convert best.pt."),
        (("val", "best.onnx"), "in adaptrt: adaptrt evaluate best.onnx."),
        (("trtexec", "--onnx=net.onnx"), "in adaptrt: adaptrt build."),
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


def test_other_mistakes_are_answered_as_before(adaptrt: Any) -> None:
    assert "yolo" not in adaptrt("convert", "best.pt", "extra").err
    assert "trtexec" not in adaptrt("build", "a.onnx", "--nonsense").err
