"""Network streams, from an RTSP server on this machine."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("cv2", reason="images need OpenCV")

import rtsp_server
from patience import wait_until
from videos import gray_frame, index_of

from adaptrt.errors import ImageError
from adaptrt.sources import FrameStream
from adaptrt.sources.capture import LiveSource


def frame(index: int) -> Any:
    return gray_frame(index % 12)


def test_a_stream_that_breaks_is_opened_again() -> None:
    warnings: list[str] = []
    with rtsp_server.serving(frame, 20, 20) as server:
        source = LiveSource(server.url, first_pause=0.01, warn=warnings.append)
        found = []
        for one in source.frames():
            found.append(one)
            if len(found) == 45:
                source.close()
    assert [one.index for one in found] == list(range(45))
    assert [index_of(one.pixels) for one in found[:24]] == [*(index % 12 for index in range(20)), 0, 1, 2, 3]
    assert {one.source for one in found} == {server.url.replace("secret", "***")}
    assert source.fps == 50
    assert server.requests.count("PLAY") == 3
    assert len(warnings) == 2
    assert "secret" not in "".join(warnings)
    assert all(later.timestamp >= earlier.timestamp for earlier, later in pairwise(found))


@pytest.mark.full
def test_the_newest_frame_of_a_stream_wins() -> None:
    with rtsp_server.serving(frame) as server:
        stream = FrameStream([LiveSource(server.url)])
        batches = stream.batches(1)
        ((first,),) = (next(batches),)
        wait_until(lambda: server.played[-1] > first.index + 30, "frames after the first one")
        seen = list(next(batches))
        while seen[-1].index <= first.index + 20:  # frames that were on the way
            seen += next(batches)
        stream.close()
    assert seen[-1].dropped > first.dropped
    assert seen[-1].index - first.index == len(seen) + seen[-1].dropped - first.dropped


def test_a_server_that_is_not_there() -> None:
    with rtsp_server.serving(frame) as server:
        url = server.url
    with pytest.raises(ImageError, match=r"user:\*\*\*@127.*cannot be opened"):
        next(LiveSource(url).frames())
