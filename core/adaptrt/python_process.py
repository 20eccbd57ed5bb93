"""Command lines of Python processes that do not search the current folder for modules.

``python -c`` and ``python -m`` search it first: a ``numpy.py`` or ``json.py`` among the files of a model would run. The option
``-P`` exists from Python 3.11 on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# sys is built in, so it does not come from a folder; -m would have put the absolute path of the current folder there
_PATH = "import sys; sys.path[:] = [folder for folder in sys.path if folder]\n"
_SAFE_PATH = "PYTHONSAFEPATH"
_HAS_SAFE_PATH = sys.version_info >= (3, 11)
_starting = threading.Lock()


def program_command(program: str) -> tuple[str, str, str]:
    """Runs source text, as ``python -c`` does; arguments can be appended."""
    return sys.executable, "-c", f"{_PATH}{program}"


def module_command(module: str) -> tuple[str, str, str]:
    """Runs a module or package, as ``python -m`` does; arguments can be appended."""
    return program_command(f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)")


@contextmanager
def safe_path() -> Iterator[None]:
    """For processes that ``multiprocessing`` starts, which have the search path of this process only later, and for the one that it
    starts beside them."""
    with _starting, _safe_environment() if _HAS_SAFE_PATH else _safe_programs():
        yield


@contextmanager
def _safe_environment() -> Iterator[None]:
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        os.environ.pop(_SAFE_PATH, None)
        if before is not None:
            os.environ[_SAFE_PATH] = before


@contextmanager
def _safe_programs() -> Iterator[None]:
    """For Python 3.10, which reads no such variable: both processes are started by this function, with ``-c``."""
    from multiprocessing import util

    module: Any = util
    start = module.spawnv_passfds

    def start_safely(path: Any, words: Sequence[Any], descriptors: Any) -> Any:
        words = list(words)
        if "-c" in words[:-1]:
            program = words.index("-c") + 1
            words[program] = f"{_PATH}{words[program]}"
        return start(path, words, descriptors)

    module.spawnv_passfds = start_safely
    try:
        yield
    finally:
        module.spawnv_passfds = start
