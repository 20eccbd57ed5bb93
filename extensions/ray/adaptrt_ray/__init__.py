"""The executor ``ray``: a pool of Ray actors, each with its own copy of the model, on this machine or a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptrt import UsageError
from adaptrt.specs.executors import Command, CommandLimits, CommandResult, ExecutorOptions, ImageResult
from adaptrt.specs.image_files import ImageFile


@dataclass(frozen=True)
class RayOptions:
    """``address``: of a cluster (``auto``: the running one); empty: that in ``RAY_ADDRESS``, or else Ray is started on this machine and
    stopped at the end.

    ``gpus``: number of actors that have a GPU each. ``actors``: number of actors; 0: ``gpus``, or else one for each CPU.
    ``images``: how many an actor gets at a time.
    """

    address: str = ""
    gpus: int = 0
    actors: int = 0
    images: int = 16

    def __post_init__(self) -> None:
        for name in ("gpus", "actors"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must be at least 0; got {getattr(self, name)}.")
        if self.images < 1:
            raise UsageError(f"images must be at least 1; got {self.images}.")
        if self.gpus and self.actors not in (0, self.gpus):
            raise UsageError(f"gpus={self.gpus} and actors={self.actors} conflict.", hint="Omit actors.")


class RayExecutor:
    """Each image runs alone, so that results equal those of ``adaptrt predict``. Ray is imported when the job starts."""

    name = "ray"
    summary = "actors on this machine or on a Ray cluster"
    options = RayOptions

    def run(self, model: Path, sources: Sequence[ImageFile], options: ExecutorOptions) -> Iterator[ImageResult]:
        from adaptrt_ray.job import run_job

        yield from run_job(model, sources, options, options.own or RayOptions())

    def run_commands(
        self, commands: Sequence[Command], limits: CommandLimits, own: RayOptions | None
    ) -> Iterator[CommandResult]:
        """``actors`` or ``gpus`` commands at a time, or else ``limits.jobs``."""
        from adaptrt_ray.commands import run_commands

        yield from run_commands(commands, limits, own or RayOptions())


EXECUTOR = RayExecutor()
