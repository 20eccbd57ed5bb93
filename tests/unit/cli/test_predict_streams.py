"""``adaptrt predict`` on videos and cameras: lines of JSON, drawn videos, what ends them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="images need OpenCV")

import rtsp_server  # noqa: E402
from patience import HANG  # noqa: E402
from videos import Camera, frames_in, gray_frame, write_video  # noqa: E402

from adaptrt.errors import UsageError  # noqa: E402
from adaptrt.vision.video import VideoWriter  # noqa: E402

Converted = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Camera:
    from adaptrt.sources import capture

    device = Camera([gray_frame(index) for index in range(3)])
    original = capture.open_capture
    monkeypatch.setattr(capture, "open_capture", lambda target: device if target == 0 else original(target))
    return device


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_video_is_drawn_and_has_a_line_of_json_for_each_frame(adaptrt: Any, converted: Converted) -> None:
    model = converted("detector")
    clip = write_video(Path("clip.mp4"), 5)
    plain = adaptrt("predict", model, clip)
    assert plain.code == 0, plain.err
    assert len(plain.out.splitlines()) == 6
    assert "clip.mp4 frame 4 (0.40 s): " in plain.out
    assert plain.out.endswith("Written: predictions/clip.mp4\n")
    assert frames_in(Path("predictions/clip.mp4")) == 5
    streamed = adaptrt("predict", model, clip, "--stream", "--batch", "2", "--save", "video", "-o", "found")
    assert streamed.code == 0, streamed.err
    found = lines(streamed.out)
    assert [one["frame"] for one in found] == [0, 1, 2, 3, 4]
    assert found[2]["timestamp"] == pytest.approx(0.2, abs=0.01)
    assert {"source", "dropped", "height", "width", "detections", "milliseconds"} <= set(found[0])
    assert frames_in(Path("found/clip.mp4")) == 5
    limited = adaptrt("predict", model, clip, "--json", "--max-frames", "2").json
    assert [one["frame"] for one in limited["images"]] == [0, 1]


def test_a_folder_may_have_a_dot_in_its_name(adaptrt: Any, converted: Converted) -> None:
    """Also a new one; only the suffixes of videos and images name a file."""
    model, clip = converted("detector"), write_video(Path("clip.mp4"), 1)
    Path("run.1").mkdir()
    Path("notes.doc").touch()
    for output, written in (
        ("run.1", "run.1/clip.mp4"),
        ("run.2", "run.2/clip.mp4"),
        ("new/found.mp4", "new/found.mp4"),
    ):
        assert adaptrt("predict", model, clip, "-o", output).out.endswith(f"Written: {written}\n")
        assert frames_in(Path(written)) == 1
    assert "notes.doc is not a folder" in adaptrt("predict", model, clip, "-o", "notes.doc").err


@pytest.mark.parametrize("output", ["found.avi", "found.JPG", "found.webm"])
def test_a_name_that_is_not_written_is_refused(adaptrt: Any, converted: Converted, output: str) -> None:
    """The file with another suffix is one that the user did not name."""
    Path("found.mp4").touch()
    model, clip = converted("detector"), write_video(Path("clip.mp4"), 1)
    result = adaptrt("predict", model, clip, "-o", output)
    assert result.code == UsageError.exit_code
    assert "-o found.mp4" in result.err
    assert not Path("found.mp4").stat().st_size
    cv2.imwrite("image.png", gray_frame(1))
    assert "-o found.png" in adaptrt("predict", model, "image.png", "--stream", "-o", "found.mov").err
    written = adaptrt("predict", model, "image.png", "--stream", "-o", "found.jpg")
    assert written.code == 0, written.err
    assert Path("found.jpg").is_file()
    several = adaptrt("predict", model, clip, "image.png", "-o", "found.mp4")
    assert "-o found.mp4 is one file, but there are 2 sources." in several.err
    assert not Path("found.mp4").stat().st_size


def test_files_beside_the_named_video_are_kept() -> None:
    """Frames of another size begin another file."""
    for keep, names in ((True, ["clip.mp4", "clip-3.mp4"]), (False, ["clip.mp4", "clip-2.mp4"])):
        Path("clip-2.mp4").touch()
        with VideoWriter(Path("clip.mp4"), None, keep_others=keep) as writer:
            for side in (64, 32):
                writer.write(np.zeros((side, side, 3), np.uint8))
        assert [path.name for path in writer.written] == names


def test_frames_have_the_predictions_of_images(converted: Converted) -> None:
    import adaptrt as api

    clip = write_video(Path("clip.avi"), 5)
    with api.load(converted("detector")) as model:
        found = list(model.predict(clip, batch=2, conf=0.1))
        assert [one.frame.index for one in found] == list(range(5))
        for one in found:
            (expected,) = model(one.frame.pixels, conf=0.1)
            np.testing.assert_allclose(one.prediction.boxes, expected.boxes, atol=1e-4)
        with pytest.raises(api.UsageError, match="batch must be 1 to"):
            model.predict(clip, batch=1000)


def test_a_frame_that_cannot_be_read_leaves_a_whole_video(adaptrt: Any, converted: Converted) -> None:
    clip = write_video(Path("clip.avi"), 40)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    result = adaptrt("predict", converted("detector"), clip, "--stream", "--save", "video")
    assert result.code == 4
    *good, last = lines(result.out)
    assert "the rest cannot be decoded" in last["error"]
    assert frames_in(Path("predictions/clip.mp4")) == len(good) > 0


def test_an_interrupt_leaves_a_whole_video(adaptrt: Any, converted: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptrt.cli import streams

    original, seen = streams._line, []

    def interrupted(*args: Any) -> str:
        seen.append(args)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(streams, "_line", interrupted)
    result = adaptrt("predict", converted("detector"), write_video(Path("clip.mp4"), 9))
    assert result.code == 130
    assert frames_in(Path("predictions/clip.mp4")) == 3
    assert [path.name for path in Path("predictions").iterdir()] == ["clip.mp4"]
    assert result.out.splitlines()[-1] == "Written: predictions/clip.mp4"


def test_a_camera(adaptrt: Any, converted: Converted, camera: Camera) -> None:
    model = converted("detector")
    result = adaptrt("predict", model, "0", "--stream", "--max-frames", "1", "--save", "video")
    assert result.code == 0, result.err
    (one,) = lines(result.out)
    assert one["source"] == "camera:0"
    assert one["dropped"] == one["frame"]
    assert frames_in(Path("predictions/camera0.mp4")) == 1
    assert camera.released
    assert adaptrt("predict", model, "0", "--json").code == 2


def test_images_and_lists_go_on_as_before(adaptrt: Any, converted: Converted, image: Path) -> None:
    Path("list.txt").write_text(f"{image}\n")
    model = converted("detector")
    listed, named = (adaptrt("predict", model, source, "--json").json["images"][0] for source in ("list.txt", image))
    for one in (listed, named):
        one.pop("milliseconds")
    assert listed == named
    (line,) = lines(adaptrt("predict", model, image, "--stream").out)
    assert line["detections"] == named["detections"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--save", "csv"], "--save csv is for image files"),
        (["--stream", "--json"], "--stream and --json conflict"),
        (["--show"], "requires a display"),
    ],
)
def test_what_does_not_go_together(
    adaptrt: Any, converted: Converted, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    result = adaptrt("predict", converted("detector"), write_video(Path("clip.mp4"), 1), *options)
    assert result.code == 2
    assert message in result.err
    assert not Path("predictions").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only X11 and Wayland have an address")
def test_a_display_that_does_not_answer_is_an_error(
    adaptrt: Any, converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV's window library would end the process."""
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4077")
    result = adaptrt("predict", converted("detector"), write_video(Path("clip.mp4"), 1), "--show")
    assert result.code == 2
    assert "OpenCV cannot open a window on display :4077" in result.err
    assert "Use --save video, or --stream." in result.err


def test_an_error_that_ends_the_command_is_printed_once(adaptrt: Any, converted: Converted) -> None:
    model = converted("detector")
    clip = write_video(Path("clip.mp4"), 2)
    Path("broken.mp4").write_bytes(clip.read_bytes()[:200])
    alone = adaptrt("predict", model, "broken.mp4")
    assert alone.code == 4
    assert alone.err.count("cannot be opened as a video") == 1
    two = adaptrt("predict", model, "broken.mp4", "missing.mp4")
    assert two.code == 4
    assert two.err.splitlines()[0].startswith("Skipped: File not found: missing.mp4")
    assert two.err.count("broken.mp4 cannot be opened as a video") == 1
    beside = adaptrt("predict", model, "broken.mp4", clip)
    assert beside.code == 4
    assert beside.err.splitlines() == ["Skipped: broken.mp4 cannot be opened as a video."]


@pytest.mark.full
def test_a_missing_camera_is_one_error(converted: Converted) -> None:
    """OpenCV prints ten lines about it, unless its log is off."""
    words = [sys.executable, "-m", "adaptrt", "predict", str(converted("detector")), "63", "--stream"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=HANG, env=environment)
    assert done.returncode == 4
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == (
        "Error: camera:63 cannot be opened.\n"
        "Check that the camera is connected, not in use, and that you may read it; try another index.\n"
    )


@pytest.mark.full
def test_lines_of_a_network_stream(adaptrt: Any, converted: Converted) -> None:
    with rtsp_server.serving(lambda index: gray_frame(index % 12)) as server:
        result = adaptrt("predict", converted("detector"), server.url, "--stream", "--max-frames", "5")
    assert result.code == 0, result.err
    found = lines(result.out)
    assert len(found) == 5
    assert {(one["source"], one["height"]) for one in found} == {(server.url.replace("secret", "***"), 64)}
    assert "secret" not in result.out + result.err
