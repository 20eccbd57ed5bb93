"""The permutation is what timm's roll, pad and partition do, on any size, window and shift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("timm", reason="needs timm")

from timm.models.swin_transformer import window_partition, window_reverse  # noqa: E402

from adaptrt_timm.swin_order import inverse, is_identity, window_order  # noqa: E402

sides = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(size=sides, window=st.tuples(st.integers(1, 8), st.integers(1, 8)), data=st.data())
def test_like_timm(size: tuple[int, int], window: tuple[int, int], data: st.DataObject) -> None:
    shift = data.draw(st.tuples(st.integers(0, window[0] - 1), st.integers(0, window[1] - 1)))
    height, width = size
    count = height * width
    tokens = torch.arange(1, count + 1, dtype=torch.float32).reshape(1, height, width, 1)
    rolled = torch.roll(tokens, (-shift[0], -shift[1]), (1, 2))
    padded = torch.nn.functional.pad(rolled, (0, 0, 0, -width % window[1], 0, -height % window[0]))
    windows = window_partition(padded, window)

    order = window_order(size, window, shift)
    with_padding = np.append(np.arange(1, count + 1), 0)  # timm pads with zeros
    np.testing.assert_array_equal(with_padding[order], windows.reshape(-1).numpy())

    back = window_reverse(windows, window, *padded.shape[1:3])[:, :height, :width]
    back = torch.roll(back, shift, (1, 2)).reshape(-1).numpy()
    np.testing.assert_array_equal(windows.reshape(-1).numpy()[inverse(order, count)], back)


def test_one_window_needs_no_permutation() -> None:
    assert is_identity(window_order((7, 7), (7, 7), (0, 0)))
    assert not is_identity(window_order((7, 7), (7, 7), (3, 3)))
    assert not is_identity(window_order((14, 7), (7, 7), (3, 0)))
