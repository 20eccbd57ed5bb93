"""Sources: what a user names, frames of files, cameras and URLs, and their batches."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

cv2 = pytest.importorskip("cv2", reason="images need OpenCV")

import numpy as np  # noqa: E402
from patience import wait_until  # noqa: E402
from videos import Camera, gray_frame, index_of, write_video  # noqa: E402

from adaptrt.errors import ImageError, UsageError  # noqa: E402
from adaptrt.sources import Frame, FrameStream, SourceOptions, capture, find_sources, stream  # noqa: E402
from adaptrt.sources.capture import LiveSource, VideoSource  # noqa: E402
from adaptrt.sources.find import image_files, readable_images, warn_of_skipped  # noqa: E402
from adaptrt.sources.images import ImageSource  # noqa: E402


def read(named: Any, size: int = 1, **options: Any) -> list[list[Frame]]:
    return list(FrameStream(find_sources(named, SourceOptions(**options))).batches(size))


@pytest.mark.parametrize("image", [gray_frame(1), [gray_frame(1)], None, 1.5])
def test_an_image_in_memory_is_not_a_source(image: Any) -> None:
    with pytest.raises(UsageError, match="Not a source") as caught:
        find_sources(image)
    assert "model(image)" in str(caught.value.hint)


def test_an_empty_text_is_not_a_source() -> None:
    for named in ("", ["", "missing.png"]):
        with pytest.raises(UsageError, match="The source is empty"):
            find_sources(named)


def test_what_a_user_can_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.jpg"):
        cv2.imwrite(name, gray_frame(1))
    write_video(tmp_path / "clip.mp4", 2)
    Path("list.txt").write_text("# two\nb.png\n\nclip.mp4\n")
    images, clip = find_sources(".")
    assert isinstance(images, ImageSource)
    assert [path.name for path in images.paths] == ["a.jpg", "b.png"]
    assert isinstance(clip, VideoSource)
    assert [source.name for source in find_sources("list.txt")] == ["b.png", "clip.mp4"]
    assert [source.name for source in find_sources(["*.png", "*.mp4"])] == ["b.png", "clip.mp4"]
    for camera in ("0", "camera:0", 0):
        (live,) = find_sources(camera)
        assert isinstance(live, LiveSource)
        assert live.name == "camera:0"
    (stream,) = find_sources("rtsp://user:secret@host/1")
    assert stream.live
    assert stream.name == "rtsp://user:***@host/1"
    Path("0").mkdir()
    cv2.imwrite("0/c.png", gray_frame(1))
    assert find_sources("0")[0].still  # a folder goes before a camera


def test_one_rule_for_lists_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``predict``, ``batch`` and ``--calib`` find the same files: relative to the list, once each, without videos."""
    from adaptrt.cli.results import find_targets
    from adaptrt.pipeline.calibration import choose_images
    from adaptrt.specs.calibration import CalibrationRequest

    folder = tmp_path / "data"
    for name in ("b.png", "a.png", "more/c.png", "more/[d].png"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(folder / name), gray_frame(1))
    write_video(folder / "more" / "clip.mp4", 2)
    lines = ["# images", "b.png", "", "  *.png ", "more", "more/[d].png", "b.png"]
    (folder / "list.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    found = image_files(["data/list.txt", "data/b.png"])
    names = [str(path.relative_to("data")) for path in found]
    assert names == ["b.png", "a.png", "more/[d].png", "more/c.png"]
    assert [target.path for target in find_targets(readable_images(["data/list.txt"])[0], None)] == found
    Path("data", "other.heic").touch()
    warnings: list[str] = []
    choose_images(CalibrationRequest(Path()), hold_back=False, warn=warnings.append)
    assert warnings == [".: 2 files skipped, whose kinds are not read from folders: 1 .heic, 1 .mp4."]
    chosen = choose_images(CalibrationRequest(Path("data/list.txt")), hold_back=False)
    assert sorted(chosen.used) == sorted(found)
    pattern = choose_images(CalibrationRequest(Path("data/**/*.png")), hold_back=False)
    assert sorted(pattern.used) == sorted(found)

    with Path("data/list.txt").open("a") as file:
        file.write("\nabsent.png")
    assert [path.name for path in image_files(["data/list.txt"])][-1] == "absent.png"
    with pytest.raises(UsageError, match="lists absent.png, which does not exist"):
        choose_images(CalibrationRequest(Path("data/list.txt")), hold_back=False)
    with pytest.raises(ImageError, match="not found|matches no images"):
        image_files(["data/none*.png"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("http://host/a.png", "list.txt:1: 'http://host/a.png' is not a file"),
        ("rtsp://host/1", "is not a file"),
        ("# nothing", "lists no files"),
    ],
)
def test_a_list_names_files_only(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(UsageError, match=message):
        find_sources(tmp_path / "list.txt")


def test_other_addresses_are_rejected() -> None:
    with pytest.raises(UsageError, match="Unsupported address: ftp://host/a.png"):
        find_sources("ftp://host/a.png")


def test_every_frame_of_a_video_in_order(tmp_path: Path) -> None:
    batches = read(write_video(tmp_path / "clip.mp4", 7), size=3)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    frames = [frame for batch in batches for frame in batch]
    assert [frame.index for frame in frames] == list(range(7))
    assert [frame.timestamp for frame in frames] == pytest.approx([index / 10 for index in range(7)], abs=0.01)
    assert [index_of(frame.pixels) for frame in frames] == list(range(7))
    assert not any(frame.dropped for frame in frames)


def test_videos_take_turns_until_each_ends(tmp_path: Path) -> None:
    clips = [write_video(tmp_path / f"{name}.avi", count) for name, count in (("a", 1), ("b", 3))]
    frames = [frame for batch in read(clips, size=2) for frame in batch]
    assert [(Path(frame.source).name, frame.index) for frame in frames] == [("a.avi", 0), ("b.avi", 0), ("b.avi", 1), ("b.avi", 2)]  # fmt: skip


def test_a_truncated_video_says_what_is_missing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *good, last = [frame for batch in read(path) for frame in batch]
    assert all(frame.error is None for frame in good)
    assert last.error is not None
    assert "the rest cannot be decoded" in last.error.message


def test_a_playlist_named_like_a_video_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n")
    ((frame,),) = read(path)
    assert frame.error is not None
    assert "is not a video file" in frame.error.message


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, list[Camera]], None]:
    """``cameras(0, [first, second])``: what opening camera 0 gives, one after another."""
    known: dict[Any, list[Camera]] = {}
    original = capture.open_capture

    def open_capture(target: Any) -> Any:
        if target not in known:
            return original(target)
        return known[target].pop(0) if known[target] else Camera([])

    monkeypatch.setattr(capture, "open_capture", open_capture)
    monkeypatch.setattr(capture, "FIRST_PAUSE", 0.0)

    def plug_in(index: int, devices: list[Camera]) -> None:
        known[index] = devices

    return plug_in


def live(index: int, **options: Any) -> LiveSource:
    return LiveSource(index, first_pause=0, **options)


def test_the_newest_frame_of_a_camera_wins(cameras: Any) -> None:
    ready = threading.Semaphore(0)
    cameras(0, [Camera([gray_frame(index) for index in range(6)], ready)])
    stream = FrameStream([live(0, tries=0)])
    batches = stream.batches(4)
    ready.release()
    ((first),) = next(batches)
    ready.release(5)  # the device ends after these, and the thread waits to report that
    seen = [first]
    while seen[-1].index < 5:
        seen += next(batches)
    assert seen[-1].dropped == 6 - len(seen)
    assert [frame.index for frame in seen] == sorted({frame.index for frame in seen})
    assert all(index_of(frame.pixels) == frame.index for frame in seen)
    ((last,),) = batches
    assert last.error is not None
    assert "camera:0 was lost after 6 frames" in last.error.message


def test_frames_that_wait_are_replaced_and_counted(cameras: Any) -> None:
    device = Camera([gray_frame(index) for index in range(6)])
    cameras(0, [device])
    stream = FrameStream([live(0, tries=0)])
    batches = stream.batches(1)
    condition = stream._condition
    with condition:  # nothing can be taken before the device has ended
        pass
    frames = [frame for (frame,) in batches]
    good = [frame for frame in frames if frame.error is None]
    assert good[-1].index == 5
    assert good[-1].dropped == 6 - len(good)
    assert device.released


def test_a_lost_camera_is_opened_again(cameras: Any) -> None:
    warnings: list[str] = []
    first, second = Camera([gray_frame(0)]), Camera([gray_frame(1)])
    cameras(0, [first, Camera([]), second])
    frames = []
    with pytest.raises(ImageError, match="lost after 2 frames"):
        frames.extend(live(0, tries=2, warn=warnings.append).frames())
    assert first.released
    assert second.released
    assert "(1 of 2)" in warnings[0]
    assert "(2 of 2)" in warnings[1]
    assert "(1 of 2)" in warnings[2]  # a frame starts the count again


def test_a_camera_that_is_not_there_is_an_error_at_once(cameras: Any) -> None:
    cameras(3, [])
    with pytest.raises(ImageError, match="camera:3 cannot be opened"):
        next(live(3).frames())


def test_two_cameras_share_a_batch_and_one_may_end(cameras: Any) -> None:
    gates = [threading.Semaphore(0), threading.Semaphore(0)]
    for index, gate in enumerate(gates):
        cameras(index, [Camera([gray_frame(4 * index + count) for count in range(2)], gate)])
    stream = FrameStream([live(0, tries=0), live(1, tries=0)])
    for gate in gates:
        gate.release(2)
    found = [frame for batch in stream.batches(2) for frame in batch]
    assert {frame.source for frame in found if frame.error is None} == {"camera:0", "camera:1"}
    assert {frame.source for frame in found if frame.error is not None} == {"camera:0", "camera:1"}


def test_a_file_beside_a_camera_loses_no_frame(cameras: Any, tmp_path: Path) -> None:
    cameras(0, [Camera([gray_frame(0)] * 3)])
    clip = VideoSource(write_video(tmp_path / "clip.mp4", 9))
    frames = [frame for batch in FrameStream([live(0, tries=0), clip]).batches(2) for frame in batch]
    assert [frame.index for frame in frames if frame.source == clip.name] == list(range(9))


def test_closing_ends_the_threads(cameras: Any) -> None:
    gate = threading.Semaphore(1)
    device = Camera([gray_frame(0)] * 5, gate)
    cameras(0, [device])
    batches = FrameStream([live(0)]).batches(1)
    next(batches)
    gate.release(9)
    batches.close()  # type: ignore[attr-defined]
    assert device.released
    assert not [one for one in threading.enumerate() if one.name.startswith("adaptrt-source") and one.is_alive()]


def test_the_end_of_python_ends_the_threads(cameras: Any) -> None:
    """A loop that ends with break does not close its batches, and a thread that is inside OpenCV would abort the process."""
    cameras(0, [Camera([gray_frame(0)] * 100_000)])
    batches = FrameStream([live(0)]).batches(1)
    next(batches)
    threads = [one for one in threading.enumerate() if one.name == "adaptrt-source camera:0"]
    assert len(threads) == 1
    stream._end_threads()
    wait_until(lambda: not threads[0].is_alive(), "the end of the thread")


def test_an_error_of_another_kind_reaches_the_reader(cameras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(target: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(capture, "open_capture", fail)
    with pytest.raises(ZeroDivisionError):
        list(FrameStream([live(0)]).batches(1))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), gray_frame(3))
    write_video(folder / "clip.mp4", 3)
    (folder / "page.html").write_text("<html></html>")
    (folder / "list.bin").write_text("#EXTM3U\nfile:///etc/passwd\n")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            if self.path.startswith("/slow"):
                return self.trickle(body=self.path == "/slow.png")
            if self.path == "/announced.png":
                self.send_response(200)
                self.send_header("Content-Type", "image/png")
                self.send_header("Content-Length", str(1 << 40))
                return self.end_headers()
            if self.path != "/away":
                return super().do_GET()
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/a.png")
            return self.end_headers()

        def trickle(self, *, body: bool) -> None:
            """A byte now and then, of the body or of a header, for much longer than any limit."""
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n" + (b"\r\n" if body else b"X-Pad: "))
            with suppress(OSError):  # until the client closes the connection
                for _ in range(1000):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)

        def log_message(self, *_: Any) -> None: ...

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_urls_of_images_and_videos(server: str) -> None:
    ((frame,),) = read(f"{server}/a.png")
    assert frame.source == f"{server}/a.png"
    assert np.array_equal(frame.pixels, gray_frame(3))
    assert [frame.index for (frame,) in read(f"{server}/clip.mp4")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/none.png", {}, "HTTP 404"),
        ("/page.html", {}, "not an image or video, but text/html"),
        ("/away", {}, "is not an http or https URL"),
        ("/a.png", {"url_bytes": 10}, "is larger than"),
        ("/a.png", {"url_seconds": 1e-9}, "took longer|cannot be downloaded"),
        ("/announced.png", {}, "is larger than 1024 MiB"),
        ("/slow.png", {"url_seconds": 0.4}, "took longer than 0.4 s"),
        ("/slow-headers.png", {"url_seconds": 0.4}, "took longer than 0.4 s"),
        ("/list.bin", {}, "/list.bin is not an image that OpenCV can read"),
    ],
)
def test_urls_that_are_refused_leave_nothing(
    server: str, path: str, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    started = time.monotonic()
    ((frame,),) = read(server + path, **options)
    assert time.monotonic() - started < 20  # the slow answers take 50 s
    assert frame.error is not None
    import re

    assert re.search(message, frame.error.message), frame.error.message
    assert list(own.iterdir()) == []


def test_what_is_named_twice_is_read_once(tmp_path: Path) -> None:
    """Its frames would otherwise alternate in one video file."""
    clip = write_video(tmp_path / "clip.mp4", 2)
    image = tmp_path / "image.png"
    image.touch()
    (tmp_path / "list.txt").write_text("clip.mp4\nimage.png\n")
    found = find_sources([clip, str(clip), tmp_path, tmp_path / "list.txt", image, 0, "0", "rtsp://a/x", "rtsp://a/x"])
    assert [source.name for source in found] == [str(image), str(clip), "camera:0", "rtsp://a/x"]


def test_a_missing_source_stops_only_itself(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 2)
    frames = [frame for batch in read([tmp_path / "clp.mp4", clip, tmp_path / "no*.png"]) for frame in batch]
    assert sorted(frame.source for frame in frames if frame.error is None) == [str(clip)] * 2
    errors = {frame.source: frame.error.message for frame in frames if frame.error is not None}
    assert errors == {
        str(tmp_path / "clp.mp4"): f"File not found: {tmp_path / 'clp.mp4'}.",
        str(tmp_path / "no*.png"): f"The pattern {tmp_path / 'no*.png'} matches no images or videos.",
    }
    with pytest.raises(ImageError, match="File not found"):
        find_sources(tmp_path / "clp.mp4")
    with pytest.raises(ImageError, match="File not found") as caught:
        find_sources(tmp_path / "recording.mov")
    assert caught.value.hint == "Check the path."  # it may be of a video


def test_images_of_other_kinds_are_counted(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c.gif", "d.png", "e.txt", "f.mp4", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "g.gif").mkdir()

    def said(*named: str, videos: bool = True) -> list[str]:
        warnings: list[str] = []
        warn_of_skipped(named, warnings.append, videos=videos)
        return [one.removeprefix(f"{tmp_path}") for one in warnings]

    assert said(str(tmp_path)) == [": 3 files skipped, whose kinds are not read from folders: 1 .gif, 2 .heic."]
    assert said(f"{tmp_path}/*.h*", "0", "rtsp://*/1") == [
        "/*.h*: 1 file skipped, whose kinds are not read from folders: 1 .heic."
    ]
    assert "1 .gif, 2 .heic, 1 .mp4." in said(str(tmp_path), videos=False)[0]
    assert said(str(tmp_path / "a.heic"), str(tmp_path / "*.png")) == []
