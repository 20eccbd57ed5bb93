"""The commands in processes of their own, on a folder of models that gpu_models.py wrote."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patience import HANG

# quick builds; level 0 hardly looks at half precision. cuBLAS and cuDNN may be missing
QUICK = {
    "fp32": ("--opt-level", "0"),
    "fp16": ("--precision", "fp16", "--opt-level", "1"),
    "portable": ("--version-compatible", "--opt-level", "0"),
}
TACTICS = ("--tactic-sources", "EDGE_MASK_CONVOLUTIONS,JIT_CONVOLUTIONS")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    seconds: float


def run(words: Sequence[object], environment: Mapping[str, str]) -> Done:
    """``run(["inspect", "x.engine"], ...)``: the command ``adaptrt`` to its end."""
    started = time.monotonic()
    done = subprocess.run(
        _command(words), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def terminal(words: Sequence[object], environment: Mapping[str, str]) -> tuple[int, str]:
    """The same on a terminal of its own: exit code, and everything that was shown."""
    ours, theirs = pty.openpty()
    environment = {**environment, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(_command(words), env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is gone
        while block := os.read(ours, 1 << 16):
            shown += block
    os.close(ours)
    return process.wait(), shown.decode(errors="replace")


def wait_for_build(process: subprocess.Popen[str]) -> int:
    """The process id of the build process of a command, once it runs adaptrt."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + HANG
    while process.poll() is None and time.monotonic() < deadline:
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                if b"adaptrt.backends.tensorrt.build.child" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        time.sleep(0.05)
    raise AssertionError(f"no build process: {process.communicate()}")


def agree(found: Mapping[str, Any], expected: Mapping[str, Any], *, pixels: float, score: float) -> None:
    """Every box that is not near a threshold is in both, at most this far off."""
    images = {Path(image["path"]).name: image["detections"] for image in found["images"]}
    assert images.keys() == expected.keys()
    for name, wanted in expected.items():
        for boxes, others in ((wanted, images[name]), (images[name], wanted)):
            for box in boxes:
                if box["score"] > 0.3:
                    assert any(_same(box, other, pixels, score) for other in others), (name, box, others)


def _same(box: Mapping[str, Any], other: Mapping[str, Any], pixels: float, score: float) -> bool:
    return bool(
        box["label"] == other["label"]
        and abs(box["score"] - other["score"]) <= score
        and max(abs(a - b) for a, b in zip(box["box"], other["box"], strict=True)) <= pixels
    )


class Commands:
    """The folder of models. Engines and the cache that are made lie in there, so that what was built is built once."""

    python = sys.executable

    def __init__(self, folder: Path, *, cache: Path | None = None) -> None:
        self.folder = folder
        self.onnx, self.images = folder / "best.onnx", folder / "images"
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
        self.cache = cache or folder / "cache"
        self.environment = {**os.environ, "ADAPTRT_CACHE_DIR": str(self.cache), "COLUMNS": "160", "NO_COLOR": "1"}

    def engine(self, name: str) -> Path:
        return self.folder / "built" / f"{name}.engine"

    def build_words(self, name: str, output: Path, *more: str) -> list[object]:
        return ["build", self.onnx, "-o", output, *QUICK[name], *TACTICS, "--json", *more]

    def build(self, name: str, output: Path, *more: str) -> Done:
        return run(self.build_words(name, output, *more), self.environment)

    def built(self, name: str) -> Done:
        """What building the engine of this name told, the first time."""
        kept = self.folder / "built" / f"{name}.told.json"
        if not kept.is_file():
            done = self.build(name, self.engine(name))
            assert done.code == 0, done.err
            kept.write_text(json.dumps(asdict(done)))
        return Done(**json.loads(kept.read_text()))

    def json(self, *words: object) -> Any:
        done = run([*words, "--json"], self.environment)
        assert done.code == 0, done.err
        return json.loads(done.out)

    @contextlib.contextmanager
    def started(self, words: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
        """The command on its way; ended in any case."""

        def hear_ctrl_c() -> None:  # ignored where a shell runs the tests in the background
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        process = subprocess.Popen(
            _command(words),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_ctrl_c,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _command(words: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", "adaptrt", *map(str, words)]
