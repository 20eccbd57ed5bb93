"""Memory of a batch job over many images: two worker processes and a network that averages each image.

::

    python -m benchmarks.batch.memory [--images 100000] [--minutes 9] [--folder FOLDER] [--json keep]

Memory is that of the job and its workers (proportional set size, so that shared pages count once), about 50 times. The job stops after
``--minutes``; the result says how many images were processed. With ``--folder``, the same command continues it, and adds to the result.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.batch.images import write_images, write_network
from benchmarks.common.results import FOLDER, arguments, finish, machine, table

NAME = "batch_memory"


def memory_of(pid: int) -> int:
    """Bytes of a process and those below it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0
    own = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return own + sum(memory_of(int(child)) for child in children)


def measure(folder: Path, count: int, minutes: float) -> list[dict[str, float]]:
    """Images processed and megabytes."""
    from adaptrt.batch.processes import PROCESSES, ProcessOptions
    from adaptrt.batch.run import BatchRequest, Progress, run_batch
    from adaptrt.specs.executors import ExecutorOptions

    write_network(folder / "mean.onnx")
    paths = write_images(folder / "images", count)
    until, done, ended = time.monotonic() + 60 * minutes, [0], threading.Event()
    found: list[dict[str, float]] = []

    def progress(progress: Progress) -> None:
        done[0] = progress.done
        if time.monotonic() > until:
            raise KeyboardInterrupt

    def watch() -> None:
        wanted = 0
        while not ended.wait(0.05):
            if done[0] > wanted:
                found.append({"images": done[0], "megabytes": memory_of(os.getpid()) / 1e6})
                wanted = done[0] + count // 50

    watcher = threading.Thread(target=watch)
    watcher.start()
    options = ExecutorOptions(threads=1, own=ProcessOptions(workers=2))
    request = BatchRequest(
        model=folder / "mean.onnx",
        sources=paths,
        output=folder / "job",
        executor=PROCESSES,
        options=options,
        progress=progress,
    )
    try:
        run_batch(request)
    except KeyboardInterrupt:
        print(f"stopped after {done[0]} of {count} images")
    finally:
        ended.set()
        watcher.join()
    found.append({"images": done[0], "megabytes": found[-1]["megabytes"]})
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=100_000, metavar="N")
    parser.add_argument("--minutes", type=float, default=9.0, metavar="N")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="keep the job here, to continue it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        found = measure(options.folder or Path(name), options.images, options.minutes)
        seconds = time.monotonic() - started
    where = FOLDER / f"{NAME}.json"
    before: list[Any] = json.loads(where.read_text())["runs"] if options.folder and where.exists() else []
    runs = [*before, {"seconds": round(seconds), "samples": found}]
    table(["images", "MB"], [[int(one["images"]), one["megabytes"]] for one in found])
    about = machine("adaptrt", "onnxruntime", "opencv-python", "numpy")
    finish(NAME, options.json, {"machine": about, "images": options.images, "runs": runs})


if __name__ == "__main__":
    main()
