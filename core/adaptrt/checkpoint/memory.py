"""Memory for the tensors of a checkpoint: a file that declares more than the machine has is rejected before it is read."""

from __future__ import annotations

from pathlib import Path

import torch

from adaptrt.errors import CheckpointError
from adaptrt.quantities import file_size

_MEMINFO, _LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")


class TensorMemory:
    """Allocates the tensors of one file: all of them together must fit into the memory that was available at first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.available = available_memory()
        self.taken = 0

    def allocate(self, size: int) -> torch.Tensor:
        """``size`` bytes; ``CheckpointError`` if there is not enough memory."""
        self.taken += size
        if self.available is None or self.taken <= self.available:
            try:
                return torch.empty(size, dtype=torch.uint8)  # torch's own memory: aligned for every dtype
            except RuntimeError as error:  # a limit of the process
                raise self._too_large("") from error
        raise self._too_large(f"; {file_size(self.available)} of memory is available")

    def _too_large(self, available: str) -> CheckpointError:
        return CheckpointError(
            f"Not enough memory to read {self.path}: its tensors take {file_size(self.taken)} or more{available}.",
            hint="Read it on a machine with more memory, or save a smaller checkpoint, such as only the weights in half precision.",
        )


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping, within the limit of a container; ``None`` where Linux's files are absent."""
    found = []
    try:
        lines = _MEMINFO.read_text().splitlines()
        found += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
        found += [int(text) for text in [_LIMIT.read_text().strip()] if text.isdigit()]
    except (OSError, ValueError, IndexError):
        pass
    return min(found, default=None)
