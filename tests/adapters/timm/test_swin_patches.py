"""Each patch: the same result as what it replaces, and a worse graph without it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("timm", reason="needs timm")

import onnx  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from micro_swin import FORBIDDEN, export, images, micro, not_in_old, operators, perturb, run_patched  # noqa: E402
from timm.layers import Mlp  # noqa: E402
from timm.models.swin_transformer import SwinTransformerBlock  # noqa: E402

from adaptrt_timm.swin_block import WindowBlock  # noqa: E402
from adaptrt_timm.swin_form import Form  # noqa: E402
from adaptrt_timm.swin_mlp import FoldedMlp, folded_mlp  # noqa: E402
from adaptrt_timm.swin_patches import swin_patches  # noqa: E402

TARGETS = ["SwinTransformerBlock", "PatchMerging.forward", "SwinTransformerStage"]
FORMS = {
    "default": Form(),
    "broadcast": Form(limit=0),
    "slices": Form(windows="slices"),
    "plain": Form(aligned=False, gelu=False, transposed=False),
}
SIZES: dict[str, dict[str, Any]] = {
    "divides": {},
    "padded": {"img_size": (76, 52)},
    "odd": {"img_size": (52, 68), "depths": [2, 2, 2], "num_heads": [2, 4, 4]},
    "odd windows": {"window_size": 7, "img_size": 56},
    "one window": {"img_size": 32, "window_size": 8},
    "two window sizes": {"window_size": [(4, 4), (8, 8)]},
    "no bias": {"qkv_bias": False},
    "head size": {"head_dim": 12},
}
NEW = ("padded", "odd", "two window sizes")


def chosen(model: Any, names: list[str]) -> list[Any]:
    return [patch for patch in swin_patches(model) if patch.target.partition(":")[2] in names]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [pytest.param(name, marks=not_in_old) if name in NEW else name for name in SIZES])
def test_the_result_is_the_same(size: str, form: str) -> None:
    model = micro(**SIZES[size])
    x = images(model, 3)
    with torch.no_grad():
        expected = model(x)
    actual = run_patched(model, swin_patches(model, FORMS[form]), x)
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert torch.equal(model(x), expected), "patches were not taken back"


@pytest.mark.parametrize("target", TARGETS)
def test_each_alone_changes_nothing(target: str) -> None:
    model = micro()
    x = images(model, 2)
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
        torch.testing.assert_close(WindowBlock(block, FORMS[form])(x), block(x), atol=1e-5, rtol=1e-5)


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


def test_scores_are_in_rows_that_tensor_cores_load(tmp_path: Path) -> None:
    """49 tokens of a window look at 56 keys."""
    model = micro(window_size=7, img_size=56)
    rows = {}
    for aligned in (False, True):
        exported = export(model, swin_patches(model, Form(aligned=aligned)), tmp_path / "model.onnx")
        rows[aligned] = _softmax_rows(onnx.shape_inference.infer_shapes(exported))
    assert rows == {False: {49}, True: {56}}


def _softmax_rows(model: onnx.ModelProto) -> set[int | None]:
    sizes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    rows = [sizes[node.output[0]][-1] for node in model.graph.node if node.op_type == "Softmax"]
    return {dim.dim_value or None for dim in rows}


def test_gelu_keeps_its_value_and_loses_its_constants(tmp_path: Path) -> None:
    """Scores that are far apart, so that the constants are where they belong."""
    mlp = perturb(Mlp(8, 32)).requires_grad_(False)
    folded = folded_mlp(mlp)
    assert isinstance(folded, FoldedMlp)
    x = 5 * torch.randn(64, 8)
    torch.testing.assert_close(folded(x), mlp(x), atol=1e-5, rtol=1e-5)
    model = micro()
    found = operators(export(model, swin_patches(model), tmp_path / "model.onnx"))
    assert "Div" not in found
    assert found.count("Erf") == found.count("Mul")


@pytest.mark.parametrize("other", [{"act_layer": partial(torch.nn.GELU, "tanh")}, {"norm_layer": torch.nn.LayerNorm}])
def test_another_mlp_stays(other: dict[str, Any]) -> None:
    mlp = Mlp(8, 32, **other)
    assert folded_mlp(mlp) is mlp


def test_windows_that_are_not_shifted_are_a_transpose(tmp_path: Path) -> None:
    model = micro(depths=[1], num_heads=[2])
    gathered = operators(export(model, swin_patches(model, Form(transposed=False)), tmp_path / "gathered.onnx"))
    found = operators(export(model, swin_patches(model), tmp_path / "model.onnx"))
    assert gathered.count("Gather") == found.count("Gather") + 1
