"""Each patch: the same result as the original, and a worse export without it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from narrow_detr import inputs_of, narrow_detr, operators

from adaptrt import ExportError
from adaptrt.patching import applied, require_called
from adaptrt.plugins.facade import Contributed
from adaptrt_mmdet.patches import query_patches

SHAPE_ARITHMETIC = ("Shape", "Gather", "Expand", "ScatterND", "Range", "ConstantOfShape")
SIZES = {
    "fixed": ("none", None),
    "masked": ("mask", None),
    "dynamic": ("none", "batch,hw"),
    "both": ("mask", "batch,hw"),
}


@pytest.mark.parametrize("name", SIZES)
def test_patched_is_the_original(tmp_path: Path, name: str) -> None:
    padding, dynamic = SIZES[name]
    model, spec = narrow_detr(tmp_path, padding=padding, dynamic=dynamic)
    sizes = [(64, 96), (96, 64), (128, 128)] if dynamic else [(64, 96)]
    samples = [inputs_of(spec, batch=2, seed=seed, size=size) for seed, size in enumerate(sizes)]
    with torch.inference_mode():
        expected = [model(*sample.values()) for sample in samples]
        assert (expected[0][0][0] - expected[0][0][1]).abs().max() > 1e-2, "the images make a difference"
        patches = query_patches(model, spec)
        for patch in [*([one] for one in patches), patches]:
            # a patch alone, then all of them; those of one mechanism only work together
            if len(patch) == 1 and any(word in patch[0].target for word in ("data_samples", "pre_decoder", "Decoder")):
                continue
            if len(patch) == 1 and padding == "mask" and "pre_transformer" in patch[0].target:
                continue
            with applied(model, [Contributed(one, "test") for one in patch]) as records:
                actual = [model(*sample.values()) for sample in samples]
                require_called(records)
            for (scores, labels, boxes), (other, same, moved), (height, width) in zip(
                expected, actual, sizes, strict=True
            ):
                side = max(height, width)
                assert (scores - other).abs().max() < 1e-4
                assert torch.equal(labels, same)
                assert (boxes - moved).abs().max() / side < 1e-4
        again = model(*samples[0].values())
    assert all(torch.equal(one, two) for one, two in zip(expected[0], again, strict=True)), "patches are undone"


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """What the graph holds with all patches."""
    folder = tmp_path_factory.mktemp("patched")
    model, spec = narrow_detr(folder)
    return operators(model, spec, query_patches(model, spec), folder / "all.onnx")


def test_all_patches_leave_no_shape_arithmetic(patched: Counter[str]) -> None:
    assert not {name: patched[name] for name in SHAPE_ARITHMETIC if patched[name]}


@pytest.mark.parametrize(
    "target",
    ["pre_transformer", "MultiheadAttention", "pre_decoder", "DetrTransformerDecoder.", "DetrTransformerDecoderLayer"],
)
def test_each_patch_is_needed(tmp_path: Path, target: str, patched: Counter[str]) -> None:
    model, spec = narrow_detr(tmp_path)
    patches = query_patches(model, spec)
    left_out = [patch for patch in patches if target not in patch.target]
    assert len(left_out) == len(patches) - 1
    try:
        worse = operators(model, spec, left_out, tmp_path / "worse.onnx")
    except ExportError:  # torch's own attention does not take queries of batch 1 to images of batch 2
        assert target == "MultiheadAttention"
        return
    assert any(worse[name] > patched[name] for name in (*SHAPE_ARITHMETIC, "Transpose", "MatMul", "Softmax"))


@pytest.mark.parametrize("padding", ["mask", "none"])
def test_the_patches_of_traced_sizes_are_needed(tmp_path: Path, padding: str) -> None:
    """Without them TorchScript writes numbers of the trace into the graph, or fixes the batch."""
    import onnxruntime

    model, spec = narrow_detr(tmp_path, padding=padding, dynamic="batch,hw" if padding == "none" else None)
    name = "data_samples" if padding == "mask" else "image_size"
    patches = [patch for patch in query_patches(model, spec) if name not in patch.target]
    other = inputs_of(spec, batch=3, seed=5, size=(96, 128) if padding == "none" else (64, 96))
    with torch.inference_mode():
        expected = model(*other.values())[2].numpy()
    try:
        operators(model, spec, patches, tmp_path / "worse.onnx")
        session = onnxruntime.InferenceSession(str(tmp_path / "worse.onnx"), providers=["CPUExecutionProvider"])
        boxes = session.run(["boxes"], {key: value.numpy() for key, value in other.items()})[0]
    except Exception:
        return
    assert boxes.shape != expected.shape or abs(boxes - expected).max() > 1


def test_the_positions_are_mmdets_own(tmp_path: Path) -> None:
    from adaptrt_mmdet.positions import constant_positions, masked_positions, traced_positions

    model, _ = narrow_detr(tmp_path)
    encoding = model.detector.positional_encoding
    padding = torch.zeros(2, 5, 7)
    padding[0, 3:] = 1
    padding[1, :, 6:] = 1
    expected = encoding(padding.bool()).flatten(2).transpose(1, 2)
    for static in (True, False):
        assert (masked_positions(encoding, padding, static=static) - expected).abs().max() < 1e-6
    plain = encoding(None, input=torch.zeros(1, 3, 5, 7)).flatten(2).transpose(1, 2)
    assert torch.equal(constant_positions(encoding, 5, 7), plain)
    assert (traced_positions(encoding, torch.zeros(2, 3, 5, 7)) - plain).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("kind", "padding"),
    [
        ("ConditionalDETR", "none"),
        pytest.param("ConditionalDETR", "mask", marks=pytest.mark.full),
        pytest.param("DABDETR", "none", marks=pytest.mark.full),
        pytest.param("DABDETR", "mask", marks=pytest.mark.full),
    ],
)
def test_the_family_is_patched_to_the_same_result(tmp_path: Path, kind: str, padding: str) -> None:
    from mmengine.config import Config

    from adaptrt_mmdet.configs import find_config

    name = {"ConditionalDETR": "conditional-detr_r50_8xb2-50e_coco", "DABDETR": "dab-detr_r50_8xb2-50e_coco"}[kind]
    given = Config.fromfile(find_config(name))
    given.merge_from_dict(
        {
            "model.backbone.depth": 18,
            "model.backbone.base_channels": 8,
            "model.neck.in_channels": [64],
            "model.num_queries": 6,
            "model.encoder.num_layers": 1,
            "model.decoder.num_layers": 2,
        }
    )
    config = tmp_path / "config.py"
    given.dump(config)
    model, spec = narrow_detr(tmp_path, padding=padding, source=config)
    assert model.kind == kind
    sample = inputs_of(spec)
    patches = query_patches(model, spec)
    with torch.inference_mode():
        expected = model(*sample.values())
        with applied(model, [Contributed(patch, "test") for patch in patches]) as records:
            actual = model(*sample.values())
            require_called(records)
    scores, boxes = ((one - other).abs().max() for one, other in zip(expected, actual, strict=True))
    assert scores < 1e-4
    assert boxes / 96 < 1e-4
    operators(model, spec, patches, tmp_path / "out.onnx")
