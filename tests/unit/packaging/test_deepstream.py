"""``adaptrt package deepstream``: golden files, and what a configuration cannot express. DeepStream itself is not run."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the sample is encoded with OpenCV")

from adaptrt import (
    DecoderSpec,
    Dim,
    ImageMeta,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputSpec,
    Processing,
    UsageError,
)
from adaptrt.packaging.deepstream import PACKAGER, PARSER, DeepStreamOptions, config_of
from adaptrt.specs.packagers import PackageRequest

GOLDEN = Path(__file__).parent / "golden"
STAND_INS = Path(__file__).parents[2] / "support" / "cpp"
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
DETR = replace(
    YOLO,
    outputs=outputs("scores", "labels", "boxes"),
    image=ImageTransform(resize="stretch"),
    decoder=DecoderSpec("boxes", {"conf": 0.5}),
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
        (YOLO, "no parser for the outputs of decoder 'yolo'"),
        (CLASSES, "std differs by channel (0.229, 0.224, 0.225)"),
        (CLASSES, "resize 'crop'"),
        (CLASSES, "interpolation 'cubic'"),
        (CLASSES, "softmax"),
        (NMS, "the command is in nvdsinfer_adaptrt.cpp"),
        (replace(NMS, outputs=NMS.outputs[1:]), "no parser for the outputs of decoder 'efficient_nms'"),
        (replace(NMS, labels=()), "change num-detected-classes"),
        (replace(NMS, labels=("traffic;light", "dog")), "labels contain semicolons"),
    ],
)
def test_what_cannot_be_expressed_is_listed(spec: ModelSpec, said: str) -> None:
    text, notes = config_of(request(spec))
    (note,) = [note for note in notes if said in note]
    assert f"# {note}\n" in text
    assert notes[0].startswith("DeepStream was not run")


def keys_of(made: PackageRequest) -> dict[str, str]:
    return dict(
        line.split("=", 1) for line in config_of(made)[0].splitlines() if "=" in line and not line.startswith("#")
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (NMS, {"cluster-mode": "4", "pre-cluster-threshold": "0.25", "topk": "300"}),
        (replace(NMS, outputs=(*NMS.outputs, OutputSpec("nms_converged", ("batch", 1)))), {"cluster-mode": "4"}),
        (DETR, {"cluster-mode": "4", "pre-cluster-threshold": "0.5", "output-blob-names": "scores;labels;boxes"}),
        (
            replace(DETR, decoder=DecoderSpec("boxes", {"iou": 0.6, "max_det": 50, "classes": ["dog"]})),
            {"cluster-mode": "2", "nms-iou-threshold": "0.6", "topk": "50", "filter-out-class-ids": "0"},
        ),
    ],
)
def test_detectors_are_read_by_the_parser_in_the_package(spec: ModelSpec, expected: dict[str, str]) -> None:
    """No version of DeepStream has a parser for these outputs."""
    keys = keys_of(request(spec))
    own = {"parse-bbox-func-name": "NvDsInferParseAdaptrt", "custom-lib-path": "libnvdsinfer_adaptrt.so"}
    assert keys.items() >= {**own, "network-type": "0", "num-detected-classes": "2", **expected}.items()


def test_advice_is_only_for_decoders_with_nms() -> None:
    detr = replace(DETR, outputs=outputs("logits", "pred_boxes", "labels"))
    assert not [note for note in config_of(request(detr))[1] if "--nms" in note]
    assert [note for note in config_of(request(YOLO))[1] if "--nms" in note]


def test_names_are_written_as_key_files_require() -> None:
    keys = keys_of(request(YOLO, parser="P", parser_library=" a\\b\nc.so"))
    assert keys["custom-lib-path"] == r"\sa\\b\nc.so"


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


def test_the_folder_of_a_detector_has_the_parser(tmp_path: Path) -> None:
    (tmp_path / "best.onnx").write_bytes(b"a graph")
    folder = tmp_path / "deepstream"
    folder.mkdir()
    made = replace(request(replace(NMS, labels=("a;b", "c\nd"))), files=(tmp_path / "best.onnx",))
    PACKAGER.write(made, folder)
    assert (folder / PARSER.name).read_bytes() == PARSER.read_bytes()
    assert (folder / "labels.txt").read_text() == "a,b\nc d\n"


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parser with a program that calls it, compiled against stand-ins of DeepStream's headers."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    path = tmp_path_factory.mktemp("nvinfer") / "parse"
    flags = ["-std=c++14", "-Wall", "-Wextra", "-Werror", f"-I{STAND_INS}"]
    words = [compiler, *flags, str(PARSER), str(STAND_INS / "call_parser.cpp"), "-o", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path


def parsed(parser: Path, arrays: dict[str, np.ndarray], threshold: float) -> list[list[float]]:
    """Class, score and box [x1 y1 x2 y2] of each object; ``arrays`` are the outputs for one image."""
    text = f"640 384 2 {threshold} {len(arrays)}\n"
    for name, array in arrays.items():
        text += f"{name} {array.dtype} {array.size} {' '.join(map(repr, array.ravel().tolist()))}\n"
    done = subprocess.run([parser], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    return [[label, score, left, top, left + width, top + height] for label, score, left, top, width, height in rows]


@pytest.mark.parametrize(("spec", "integers"), [(NMS, "int32"), (DETR, "int64")], ids=["efficient_nms", "boxes"])
def test_the_parser_finds_what_the_decoder_finds(parser: Path, spec: ModelSpec, integers: str) -> None:
    draw = np.random.default_rng(5)
    low = draw.uniform(0, 200, (1, 100, 2))
    rows = {
        "boxes": np.concatenate([low, low + draw.uniform(4, 90, low.shape)], 2).astype(np.float32),
        "scores": -np.sort(-draw.random((1, 100)).astype(np.float32)),
        "classes": draw.integers(0, 2, (1, 100)).astype(integers),
    }
    if spec is NMS:
        arrays = {"num_dets": np.array([[60]], integers), **{f"det_{name}": array for name, array in rows.items()}}
    else:
        arrays = {"scores": rows["scores"], "labels": rows["classes"], "boxes": rows["boxes"]}
    meta = ImageMeta((384, 640), (384, 640), (1.0, 1.0), (0.0, 0.0))
    (found,) = Processing(spec).postprocess(arrays, [meta])
    expected = [
        [*one] for one in zip(found.labels.tolist(), found.scores.tolist(), *found.boxes.T.tolist(), strict=True)
    ]
    conf = spec.decoder.params["conf"] if spec.decoder else 0
    made = parsed(parser, arrays, conf)
    assert 20 < len(made) < 100
    np.testing.assert_allclose(made, expected, rtol=1e-5)


def test_the_parser_rejects_other_outputs(parser: Path) -> None:
    wrong = "640 384 2 0.5 1\nscores float32 1 0.5\n"
    done = subprocess.run([parser], input=wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "found: scores (type 0)" in done.stderr
