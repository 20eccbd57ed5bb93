"""Networks that are built without a checkpoint: a warning, and batch norms with which their activations stay in range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adaptrt.request import Conversion

_IMAGES = 2  # a map of one cell has a variance too
_LEAST_VARIANCE = 1e-3  # a channel that hardly varies is not amplified


def warn_of_random_weights(
    ctx: Conversion,
    name: object,
    remedy: str = "pass trained weights with --weights",
    *,
    network: nn.Module | None = None,
) -> None:
    """Warn about a network that was built without a checkpoint, and name what ``take_noise_statistics`` did to it."""
    taken = network is not None and any(norm.running_mean.any() for norm in batch_norms(network))
    noise = " (batch-norm statistics taken from noise)" if taken else ""
    ctx.warn(f"{name} has random weights{noise}, so its predictions are meaningless: {remedy}.")


def take_noise_statistics(network: nn.Module, forward: Callable[[torch.Tensor], object], size: tuple[int, ...]) -> None:
    """Give the batch norms of ``network`` the mean and variance of their first input on noise, in place, if need be.

    ``forward`` takes float32 [2, *size], normalized images (``size``: channels, height, width), always the same. The
    untrained statistics, 0 and 1, change nothing: in some deep networks, activations then grow with every layer. Those that
    stay within half precision keep them. A batch norm that ``forward`` does not reach is left as it is, and so are all if the
    network fails: its error is reported where it runs as the reference.
    """
    import torch

    norms = batch_norms(network)
    if not norms:
        return
    noise = torch.randn(_IMAGES, *size, generator=torch.Generator().manual_seed(0))
    largest: list[float] = []

    def measure(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        largest.append(float(inputs[0].abs().max()))

    with torch.no_grad():
        try:
            with _hooked(norms, lambda: measure):
                forward(noise)
        except Exception:  # a network may raise anything
            return
        limit = torch.finfo(torch.float16).max
        if all(value <= limit for value in largest):  # not max(): it may be NaN
            return
        with _hooked(norms, first_statistics):
            forward(noise)


@contextmanager
def _hooked(
    norms: Sequence[Any], make: Callable[[], Callable[[Any, tuple[torch.Tensor, ...]], None]]
) -> Iterator[None]:
    handles = [norm.register_forward_pre_hook(make()) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def batch_norms(network: nn.Module) -> list[Any]:
    """The batch norms with statistics."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return [part for part in network.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]


def first_statistics() -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
    """A hook for one batch norm: a head may share it among levels, and the first counts."""
    called: list[bool] = []

    def hook(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if called:
            return
        called.append(True)
        values = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(values.mean(1))
        norm.running_var.copy_(values.var(1).clamp(min=_LEAST_VARIANCE))

    return hook
