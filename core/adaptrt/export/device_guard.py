"""A defect of torch, up to 2.11, on machines without a GPU: once a thread that has exported a model ends, the next export crashes the process.

torch then uses memory of that thread (https://github.com/pytorch/pytorch/pull/178950).
"""

from __future__ import annotations

import threading

import torch

from adaptrt.forks import prepare_forks

_SET = "_ensureCUDADeviceGuardSet"  # private to torch


class _Keeper:
    """Has the thread that waits forever, if there is one."""

    def __init__(self) -> None:
        self.forked()
        prepare_forks(self)

    def forked(self) -> None:
        self.thread: threading.Thread | None = None


_keeper = _Keeper()


def keep_device_guard() -> None:
    """Let a thread that does not end be the first that needs the device guard: the main thread, or one that waits forever."""
    ensure = getattr(torch._C, _SET, None)
    if ensure is None or _keeper.thread is not None or threading.current_thread() is threading.main_thread():
        return
    is_set = threading.Event()

    def keep() -> None:
        ensure()
        is_set.set()
        threading.Event().wait()

    thread = threading.Thread(target=keep, name="adaptrt-device-guard", daemon=True)
    thread.start()
    is_set.wait()
    _keeper.thread = thread
