"""Commands as Ray tasks, for ``adaptrt sweep``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt import PluginError, UsageError
from adaptrt.specs.executors import Command, CommandLimits, CommandResult
from adaptrt.specs.variables import without_options
from adaptrt_ray.cluster import connected, import_ray

if TYPE_CHECKING:
    from adaptrt_ray import RayOptions

CHECK = 0.5  # seconds between two looks at a process: a canceled task ends it
PATIENCE = 10.0  # seconds in which canceled tasks end


def run_commands(commands: Sequence[Command], limits: CommandLimits, own: RayOptions) -> Iterator[CommandResult]:
    """The result of each command when it has ended, anywhere on the cluster; those that run end when the iterator is closed.

    A command whose worker or machine ended runs once more. If Ray ends on this machine, this is a ``PluginError``. Files, and the
    folder of this process, must be at the same paths on every machine.
    """
    if limits.gpus:
        raise UsageError(
            "--gpus lists GPUs of this machine; Ray chooses its own.", hint="Use --executor-set gpus=2: two at a time."
        )
    if not commands:
        return
    ray = import_ray()
    slots = own.gpus or own.actors or limits.jobs
    needs = {"num_cpus": 1, "num_gpus": int(bool(own.gpus)), "max_retries": 0}
    with connected(ray, own.address, slots, gpus=own.gpus):
        task = ray.remote(**needs, **({"memory": limits.memory} if limits.memory else {}))(run)
        waiting, running, lost = list(commands), dict[Any, Command](), set[str]()
        try:
            while waiting or running:
                while waiting and len(running) < slots:
                    command = waiting.pop(0)
                    running[task.remote(command, sys.executable, str(Path.cwd()))] = command
                for done in ray.wait(list(running))[0]:
                    command = running.pop(done)
                    result = _result(ray, done, command, again=command.name not in lost)
                    if result is None:
                        lost.add(command.name)
                        waiting.append(command)
                    else:
                        yield result
        finally:
            _cancel(ray, list(running))


def _cancel(ray: Any, tasks: list[Any]) -> None:
    """A task ends its process first. The worker of one that has not after ``PATIENCE`` is killed, with its processes."""
    for force in (False, True):
        for one in tasks:
            ray.cancel(one, force=force)
        with suppress(ray.exceptions.RayError):
            tasks = ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE)[1] if tasks else []


def run(command: Command, driver_python: str, folder: str) -> tuple[int, float]:
    """In the task: the exit code and the seconds of the command, with the Python of this machine."""
    words = [sys.executable if word == driver_python else word for word in command.words[:1]] + [*command.words[1:]]
    environment = without_options(os.environ)
    started = time.monotonic()
    output, log = Path(folder, command.output), Path(folder, command.log)
    with _cancellation() as canceled, output.open("wb") as out, log.open("ab" if command.append else "wb") as err:
        process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        try:
            while not canceled:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(CHECK), time.monotonic() - started
            raise KeyboardInterrupt  # for Ray
        except BaseException:
            process.terminate()
            process.wait()
            raise


@contextmanager
def _cancellation() -> Iterator[list[int]]:
    """Not empty once Ray has canceled the task, which it does by the handler of SIGINT.

    The default handler would raise anywhere, also where the process has started and ``Popen`` has not returned it yet. Workers
    that a shell script started in the background have no handler.
    """
    canceled: list[int] = []  # an Event has a lock, which a second signal would wait for
    handler = signal.signal(signal.SIGINT, lambda number, _: canceled.append(number))
    try:
        yield canceled
    finally:
        signal.signal(signal.SIGINT, handler)


def _result(ray: Any, done: Any, command: Command, *, again: bool) -> CommandResult | None:
    """``None``: the worker or its machine ended, which says nothing about the command; it can run ``again``."""
    try:
        return CommandResult(command.name, *ray.get(done))
    except ray.exceptions.LocalRayletDiedError as error:
        raise PluginError(
            "Ray has ended on this machine.", hint="Run the same command again: finished conversions are kept."
        ) from error
    except ray.exceptions.RayError as error:
        if again and isinstance(error, (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)):
            return None
        with command.log.open("a", encoding="utf-8") as log:
            log.write(f"\nThe Ray task failed: {error}\n")
        return CommandResult(command.name, 1, 0.0)
