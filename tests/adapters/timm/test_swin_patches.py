"""Each patch: the same result as what it replaces, and a worse graph without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("timm", reason="needs timm")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from micro_swin import FORBIDDEN, export, micro, not_in_old, operators, perturb, pictures, run_patched  # noqa: E402
from timm.models.swin_transformer import SwinTransformerBlock  # noqa: E402

from adaptrt_timm.swin_block import WindowBlock  # noqa: E402
from adaptrt_timm.swin_patches import swin_patches  # noqa: E402

TARGETS = ["SwinTransformerBlock", "PatchMerging.forward", "SwinTransformerStage"]
FORMS: dict[str, dict[str, Any]] = {
    "folded": {},
    "broadcast": {"limit": 0},
    "slices": {"windows": "slices"},
}
SIZES: dict[str, dict[str, Any]] = {
    "divides": {},
    "padded": {"img_size": (76, 52)},
    "odd": {"img_size": (52, 68), "depths": [2, 2, 2], "num_heads": [2, 4, 4]},
    "one window": {"img_size": 32, "window_size": 8},
    "two window sizes": {"window_size": [(4, 4), (8, 8)]},
    "no bias": {"qkv_bias": False},
    "head size": {"head_dim": 12},
}
NEW = ("padded", "odd", "two window sizes")


def chosen(model: Any, names: list[str], **form: Any) -> list[Any]:
    return [patch for patch in swin_patches(model, **form) if patch.target.partition(":")[2] in names]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [pytest.param(name, marks=not_in_old) if name in NEW else name for name in SIZES])
def test_the_result_is_the_same(size: str, form: str) -> None:
    model = micro(**SIZES[size])
    x = pictures(model, 3)
    with torch.no_grad():
        expected = model(x)
    actual = run_patched(model, swin_patches(model, **FORMS[form]), x)
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert torch.equal(model(x), expected), "patches were not taken back"


@pytest.mark.parametrize("target", TARGETS)
def test_each_alone_changes_nothing(target: str) -> None:
    model = micro()
    x = pictures(model, 2)
    with torch.no_grad():
        expected = model(x)
    actual = run_patched(model, chosen(model, [target]), x)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    window=st.integers(2, 7),
    shift=st.booleans(),
    heads=st.sampled_from([1, 2, 4]),
    form=st.sampled_from(sorted(FORMS)),
)
def test_any_block(size: tuple[int, int], window: int, shift: bool, heads: int, form: str) -> None:
    torch.manual_seed(0)
    block = SwinTransformerBlock(8, size, heads, window_size=window, shift_size=window // 2 if shift else 0)
    perturb(block)
    x = torch.randn(2, *size, 8)
    with torch.no_grad():
        torch.testing.assert_close(WindowBlock(block, **FORMS[form])(x), block(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_the_graph_is_worse_without(target: str, tmp_path: Path) -> None:
    """When upstream mends this the patch can go."""
    model = micro()
    every = operators(export(model, swin_patches(model), tmp_path / "all.onnx"))
    others = [name for name in TARGETS if name != target]
    left = operators(export(model, chosen(model, others), tmp_path / "left.onnx"))
    assert len(left) > len(every)
    if target == "SwinTransformerStage":
        assert left.count("Gather") > every.count("Gather")
    else:
        assert FORBIDDEN & set(left)


def test_the_first_layer_needs_no_patch(tmp_path: Path) -> None:
    """PatchEmbed compares the size it reads with a number; that leaves nothing in the graph."""
    model = micro(depths=[2], num_heads=[2])
    assert not FORBIDDEN & set(operators(export(model, swin_patches(model), tmp_path / "model.onnx")))


def test_a_model_of_one_stage_has_nothing_to_merge() -> None:
    model = micro(depths=[2], num_heads=[2])
    assert [patch.target.partition(":")[2] for patch in swin_patches(model)] == [TARGETS[0], TARGETS[2]]
