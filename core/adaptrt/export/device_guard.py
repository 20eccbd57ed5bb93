"""A defect of torch, up to 2.11, on machines without a GPU: once a thread that has exported a model ends, the next export crashes the process.

torch then uses memory of that thread (https://github.com/pytorch/pytorch/pull/178950).
"""

from __future__ import annotations

import os
import threading

import torch

_SET = "_ensureCUDADeviceGuardSet"  # private to torch
_keeper: threading.Thread | None = None


def keep_device_guard() -> None:
    """Let a thread that does not end be the first that needs the device guard: the main thread, or one that waits forever."""
    global _keeper
    ensure = getattr(torch._C, _SET, None)
    if ensure is None or _keeper is not None or threading.current_thread() is threading.main_thread():
        return
    is_set = threading.Event()

    def keep() -> None:
        ensure()
        is_set.set()
        threading.Event().wait()

    keeper = threading.Thread(target=keep, name="adaptrt-device-guard", daemon=True)
    keeper.start()
    is_set.wait()
    _keeper = keeper


def _forget_keeper() -> None:
    global _keeper
    _keeper = None


if hasattr(os, "register_at_fork"):  # a forked process does not have it
    os.register_at_fork(after_in_child=_forget_keeper)
