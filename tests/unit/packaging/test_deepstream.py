"""``adaptrt package deepstream``: golden files, and what a configuration cannot express. DeepStream itself is not run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cv2", reason="the sample is encoded with OpenCV")

from adaptrt import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec, UsageError
from adaptrt.packaging.deepstream import PACKAGER, DeepStreamOptions, config_of
from adaptrt.specs.packagers import PackageRequest

GOLDEN = Path(__file__).parent / "golden"
BATCH = Dim(1, 8, 16, "batch")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def outputs(*names: str) -> tuple[OutputSpec, ...]:
    return tuple(OutputSpec(name, ("batch", 100)) for name in names)


YOLO = ModelSpec(
    (InputSpec.image(384, 640, batch=BATCH),),
    outputs("output0"),
    "detect",
    ImageTransform(),
    DecoderSpec("yolo", {"conf": 0.3}),
    ("cat", "dog"),
)
NMS = replace(
    YOLO,
    outputs=outputs("num_dets", "det_boxes", "det_scores", "det_classes"),
    image=ImageTransform(pad=0),
    decoder=DecoderSpec("efficient_nms", {"conf": 0.25}),
)
CLASSES = ModelSpec(
    (InputSpec.image(224, 224, batch=BATCH),),
    outputs("logits"),
    "classify",
    ImageTransform(resize="crop", crop_fraction=0.875, interpolation="cubic", library="pil", colors="bgr", **IMAGENET),  # type: ignore[arg-type]
    DecoderSpec("classify"),
    ("cat", "dog"),
)


def request(spec: ModelSpec, file: str = "best.onnx", built_with: str = "", **options: Any) -> PackageRequest:
    return PackageRequest(
        spec=spec,
        files=(Path(file),),
        name="best",
        backend="",
        built_with=built_with,
        options=DeepStreamOptions(**options),
    )


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("yolo_onnx", request(YOLO)),
        ("nms_engine", request(NMS, "best.engine", "10.16.1")),
        ("classes_onnx", request(CLASSES, precision="fp32")),
        ("custom_parser", request(YOLO, parser="NvDsInferParseYolo", parser_library="libyolo.so", precision="int8")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_golden_files(name: str, made: PackageRequest) -> None:
    text, _ = config_of(made)
    path = GOLDEN / f"{name}.txt"
    assert text == path.read_text(encoding="utf-8"), f"if it is right, write it to {path}"


@pytest.mark.parametrize("spec", [YOLO, NMS, CLASSES], ids=["yolo", "nms", "classes"])
def test_the_factor_and_offsets_compute_what_the_spec_says(spec: ModelSpec) -> None:
    image = spec.image
    assert image is not None
    lines = dict(line.split("=") for line in config_of(request(spec))[0].splitlines() if "=" in line and line[0] != "#")
    factor = float(lines["net-scale-factor"])
    offsets = [float(one) for one in lines.get("offsets", "0;0;0").split(";")]
    std = sum(image.std) / 3
    for value in (0, 114, 255):
        for channel in range(3):
            expected = (value * image.scale - image.mean[channel]) / std
            assert factor * (value - offsets[channel]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (YOLO, "padding"),
        (YOLO, "no built-in parser"),
        (CLASSES, "std differs by channel (0.229, 0.224, 0.225)"),
        (CLASSES, "resize 'crop'"),
        (CLASSES, "interpolation 'cubic'"),
        (CLASSES, "softmax"),
        (replace(NMS, outputs=(*NMS.outputs, OutputSpec("nms_converged", ("batch", 1)))), "no built-in parser"),
    ],
)
def test_what_cannot_be_expressed_is_listed(spec: ModelSpec, said: str) -> None:
    text, notes = config_of(request(spec))
    (note,) = [note for note in notes if said in note]
    assert f"# {note}\n" in text
    assert notes[0].startswith("DeepStream was not run")


def test_a_letterbox_padded_with_black_is_deepstreams_own() -> None:
    assert not [note for note in config_of(request(NMS))[1] if "padding" in note]


def test_invalid_requests_are_named() -> None:
    more = replace(YOLO, inputs=(*YOLO.inputs, InputSpec("sizes", ((BATCH, Dim.fixed(2)),), dtype="int64")))
    with pytest.raises(UsageError, match="only the image input: sizes"):
        config_of(request(more))
    with pytest.raises(UsageError, match="image input"):
        config_of(request(replace(YOLO, image=None)))
    bands = replace(YOLO, inputs=(InputSpec.image(64, 64, channels=4, batch=BATCH),))
    with pytest.raises(UsageError, match="this model has 4"):
        config_of(request(bands))
    with pytest.raises(UsageError, match="belong together"):
        DeepStreamOptions(parser="Parse")


def test_the_folder(tmp_path: Path) -> None:
    model = tmp_path / "best.onnx"
    model.write_bytes(b"a graph")
    folder = tmp_path / "deepstream"
    folder.mkdir()
    made = replace(request(YOLO), files=(model,))
    package = PACKAGER.write(made, folder)
    assert sorted(map(str, package.files)) == ["best.onnx", "config_infer_primary.txt", "labels.txt"]
    assert (folder / "best.onnx").read_bytes() == b"a graph"
    assert (folder / "labels.txt").read_text() == "cat\ndog\n"
