"""Videos that tests draw, and simulated cameras."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def gray_frame(index: int, side: int = 64) -> np.ndarray:
    """A frame whose gray level tells its index, RGB."""
    return np.full((side, side, 3), (10 + 20 * index) % 250, np.uint8)


def index_of(pixels: np.ndarray) -> int:
    return round((float(pixels.mean()) - 10) / 20)


def write_video(path: Path, frames: int, rate: float = 10, side: int = 64) -> Path:
    fourcc = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), fourcc, rate, (side, side))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(gray_frame(index, side)[..., ::-1])
    writer.release()
    return path


def frames_in(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


class Camera:
    """A device that gives ``frames``, one for each time ``ready`` is released (all at once without it), then fails."""

    def __init__(self, frames: Sequence[np.ndarray | None], ready: threading.Semaphore | None = None) -> None:
        self.frames, self.ready, self.released = list(frames), ready, False
        self.opened = bool(self.frames)

    def isOpened(self) -> bool:
        return self.opened

    def grab(self) -> bool:
        if not self.frames:
            return False
        if self.ready is not None:
            self.ready.acquire()
        self.now = self.frames.pop(0)
        return True

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return (False, None) if self.now is None else (True, self.now[..., ::-1])

    def get(self, prop: int) -> float:
        return 5.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def release(self) -> None:
        self.released = True
