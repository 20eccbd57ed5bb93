"""The cluster that a job runs on: one that exists, or Ray on this machine while the job runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from adaptrt import DependencyError, PluginError, UsageError

CONNECT = 10.0  # seconds
STARTS = 6  # Ray gives its processes 30 seconds to start, which a busy machine exceeds


def import_ray() -> Any:
    """Ray with Ray Data."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DependencyError(
            f"The executor 'ray' requires Ray, which cannot be imported: {error}.",
            hint="pip install 'adaptrt-ray[ray]'",
        ) from error
    return ray


@contextmanager
def connected(
    ray: Any, address: str, slots: int, warn: Callable[[str], None] = lambda _: None, *, gpus: int = 0
) -> Iterator[None]:
    """Connected to a cluster, or to Ray on this machine; disconnected at the end, unless the program was connected before.

    An empty ``address`` is that in ``RAY_ADDRESS``, or else this machine, with a CPU for each of ``slots`` if it has fewer.
    ``warn`` receives a text for each start that took too long, and if a cluster has fewer than ``gpus`` GPUs, since more may be
    added to it. On this machine that is an error: Ray would wait for them forever.
    """
    if ray.is_initialized():
        _warn_of_missing_gpus(ray, gpus, warn)
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its authors
    address = address or os.environ.get("RAY_ADDRESS", "")
    existing = bool(address and address != "local")
    if existing:
        _join(ray, address)
    else:
        _start(ray, slots, warn)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        if existing:
            _warn_of_missing_gpus(ray, gpus, warn)
        elif gpus > _gpus(ray):
            raise UsageError(
                f"{gpus} GPUs are requested; Ray finds {_gpus(ray)} on this machine.",
                hint="Omit --gpus to run on CPUs, or use --address to run on a cluster.",
            )
        yield
    finally:
        ray.shutdown()


def _gpus(ray: Any) -> int:
    return int(ray.cluster_resources().get("GPU", 0))


def _warn_of_missing_gpus(ray: Any, gpus: int, warn: Callable[[str], None]) -> None:
    if gpus and gpus > (found := _gpus(ray)):
        warn(f"The Ray cluster has {found} GPUs; {gpus} are requested, and actors wait for them.")


def _join(ray: Any, address: str) -> None:
    _require_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except Exception as error:  # Ray raises this class itself
        raise PluginError(
            f"Ray at {address} cannot be used: {error}.",
            hint="ray status shows whether a cluster runs. If it requires a token, set RAY_AUTH_MODE=token.",
        ) from error


def _start(ray: Any, slots: int, warn: Callable[[str], None]) -> None:
    """Without ``local``, Ray would first look for a cluster, and fail with one that has ended without ``ray stop``."""
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(
                address="local",
                num_cpus=max(slots, cpus()),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
            )
        except Exception as error:  # Ray raises this class itself
            ray.shutdown()
            if attempt < STARTS and "timed out" in str(error).lower():
                warn(f"Ray did not start in time; trying again ({attempt + 1} of {STARTS})")
                continue
            raise PluginError(
                f"Ray cannot be started on this machine: {error}.",
                hint="Its log files are in /tmp/ray/session_latest/logs. Or start it with ray start --head, and add --address auto.",
            ) from error
        return


def cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require_reachable(address: str) -> None:
    """Reject the address of a cluster that does not answer; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), CONNECT).close()
    except OSError as error:
        raise PluginError(
            f"Ray at {address} cannot be used: {error.strerror or error}.",
            hint="ray status shows whether a cluster runs.",
        ) from error
