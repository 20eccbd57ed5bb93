"""Commands in processes of this machine, several at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adaptrt.specs.executors import Command, CommandLimits, CommandResult
from adaptrt.specs.variables import without_options

POLL = 0.1  # seconds
_LAUNCH = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execvp(sys.argv[1], sys.argv[1:])"
_ENDS_WITH_PARENT = (sys.executable, "-I", "-S", "-c", _LAUNCH) if sys.platform == "linux" else ()
"""Asks Linux for SIGTERM (15) when the parent ends (1: PR_SET_PDEATHSIG), then runs the command: one that is left would be in the way of
its repetition. Not with ``preexec_fn``: a Ctrl-C that arrives while Python forks is lost."""


def cpu_count() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Running:
    name: str
    process: subprocess.Popen[bytes]
    started: float
    gpu: str | None
    files: tuple[IO[bytes], IO[bytes]]


def run_processes(commands: Sequence[Command], limits: CommandLimits) -> Iterator[CommandResult]:
    """The result of each command when it has ended. Those that run are terminated when the iterator is closed and, on Linux, when
    this process is killed."""
    waiting, running = list(commands), list[_Running]()
    free = list(limits.gpus)
    slots = min(limits.jobs, len(limits.gpus)) if limits.gpus else limits.jobs
    try:
        while waiting or running:
            while waiting and len(running) < slots and (not running or _available() >= limits.memory):
                running.append(_start(waiting.pop(0), free.pop(0) if free else None, min(slots, len(commands))))
            ended = [one for one in running if one.process.poll() is not None]
            for one in ended:
                running.remove(one)
                if one.gpu is not None:
                    free.append(one.gpu)
                _close(one)
                yield CommandResult(one.name, one.process.returncode, time.monotonic() - one.started)
            if not ended:
                time.sleep(POLL)
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()
            _close(one)


def _start(command: Command, gpu: str | None, side_by_side: int) -> _Running:
    environment = without_options(os.environ)
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    if side_by_side > 1:  # with all cores for each, threads would wait for those of the others
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cpu_count() // side_by_side)))
    output, log = command.output.open("wb"), command.log.open("ab" if command.append else "wb")
    words = [*_ENDS_WITH_PARENT, *command.words]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=log, env=environment)
    return _Running(command.name, process, time.monotonic(), gpu, (output, log))


def _close(one: _Running) -> None:
    for file in one.files:
        file.close()


def _available() -> int:
    """Bytes of memory that are available; without a way to know, any number."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return sys.maxsize
