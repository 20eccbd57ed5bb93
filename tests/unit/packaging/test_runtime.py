"""``adaptrt package runtime``: the C++ example is compiled against stand-ins of TensorRT's headers, and prepares and decodes like adaptrt."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorrt_surfaces import VERSIONS, read_surface

pytest.importorskip("cv2", reason="images need OpenCV")

from adaptrt import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec, UsageError
from adaptrt.packaging.runtime import PACKAGER, SOURCES
from adaptrt.specs.packagers import PackageRequest

STAND_INS = Path(__file__).parents[2] / "support" / "cpp"
RENAMED = {"enqueue_v3": "execute_async_v3", "get_nb_iotensors": "num_io_tensors", "get_iotensor_name": "get_tensor_name", "get_tensor_data_type": "get_tensor_dtype"}  # fmt: skip
SIZE = (48, 64)


def spec(task: str, decoder: DecoderSpec, outputs: list[OutputSpec], **image: Any) -> ModelSpec:
    transform = ImageTransform(**{"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), **image})
    return ModelSpec(
        (InputSpec.image(*SIZE, batch=Dim(1, 4, 8, "batch")),), tuple(outputs), task, transform, decoder, ("cat", "dog", "é")
    )  # fmt: skip


YOLO = spec(
    "detect",
    DecoderSpec("yolo", {"conf": 0.3, "iou": 0.5, "classes": ["cat", 2]}),
    [OutputSpec("output0", ("batch", 7, 40))],
)
ANCHOR = spec(
    "detect",
    DecoderSpec("yolo_anchor", {"conf": 0.2, "iou": 0.5}),
    [OutputSpec("output0", ("batch", 40, 8))],
)
DETR = spec(
    "detect",
    DecoderSpec("boxes", {"conf": 0.5, "max_det": 5}),
    [OutputSpec("scores", ("batch", 20)), OutputSpec("labels", ("batch", 20), "int64"), OutputSpec("boxes", ("batch", 20, 4))],
    resize="stretch",
    colors="bgr",
)  # fmt: skip
CLASSIFY = spec(
    "classify",
    DecoderSpec("classify", {"top_k": 2}),
    [OutputSpec("logits", ("batch", 3))],
    resize="crop",
    crop_fraction=0.875,
)


def request(model: ModelSpec, file: Path, built_with: str = "") -> PackageRequest:
    return PackageRequest(spec=model, files=(file,), name="best", backend="", built_with=built_with)


def arrays_of(model: ModelSpec) -> dict[str, np.ndarray]:
    """Outputs of the network for one image, many of them above the threshold."""
    draw = np.random.default_rng(4)
    low = draw.uniform(0, 30, (40, 2))
    boxes = np.concatenate([low, low + draw.uniform(4, 30, (40, 2))], 1).astype(np.float32)
    if model is YOLO:
        rows = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], draw.random((40, 3))], 1)
        return {"output0": rows.T[None].astype(np.float32)}
    if model is ANCHOR:
        rows = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], draw.random((40, 4))], 1)
        return {"output0": rows[None].astype(np.float32)}
    if model is DETR:
        return {
            "scores": draw.random((1, 20)).astype(np.float32),
            "labels": draw.integers(0, 3, (1, 20)),
            "boxes": boxes[None, :20],
        }
    return {"logits": np.array([[0.5, 2.0, -1.0]], np.float32)}


def fake_engine(model: ModelSpec) -> str:
    """What tests/support/cpp/fake_tensorrt.cpp reads as an engine."""
    lines = [f"in images float32 4 1 3 {SIZE[0]} {SIZE[1]}"]
    for name, array in arrays_of(model).items():
        shape = " ".join(map(str, array.shape))
        lines.append(f"out {name} {array.dtype} {array.ndim} {shape}\n" + " ".join(map(repr, array.ravel().tolist())))
    return "\n".join(lines) + "\n"


def test_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "best.engine").write_bytes(b"engine")
    folder = tmp_path / "out"
    folder.mkdir()
    written = PACKAGER.write(request(YOLO, tmp_path / "best.engine", "10.3.0"), folder)
    assert sorted(map(str, written.files)) == ["CMakeLists.txt", "adaptrt.hpp", "best.engine", "main.cpp", "spec.json"]
    assert any("TensorRT 10.3.0" in note for note in written.notes)
    read = ModelSpec.from_json((folder / "spec.json").read_bytes())
    assert read.decoder is not None
    assert read.decoder.params == {"conf": 0.3, "iou": 0.5, "max_det": 300, "agnostic": False, "classes": [0, 2]}
    assert read.labels == YOLO.labels


def test_the_command_for_the_device_has_the_shapes(tmp_path: Path) -> None:
    (tmp_path / "a b.onnx").write_bytes(b"graph")
    (tmp_path / "out").mkdir()
    notes = PACKAGER.write(request(YOLO, tmp_path / "a b.onnx"), tmp_path / "out").notes
    shapes = "--minShapes=images:1x3x48x64 --optShapes=images:4x3x48x64 --maxShapes=images:8x3x48x64"
    assert any(f"trtexec '--onnx=a b.onnx' --saveEngine=best.engine {shapes}" in note for note in notes)
    fixed = replace(YOLO, inputs=(InputSpec.image(*SIZE, batch=Dim(1, 1, 1)),))
    (tmp_path / "fixed").mkdir()
    notes = PACKAGER.write(request(fixed, tmp_path / "a b.onnx"), tmp_path / "fixed").notes
    assert not any("Shapes" in note for note in notes)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (spec("pose", DecoderSpec("yolo_pose"), [OutputSpec("y", ("batch", 9))]), "decoder 'yolo_pose'"),
        (ModelSpec((InputSpec("x", ((Dim(1, 1, 1),),)),), (OutputSpec("y", (1,)),)), "one input, an RGB image"),
    ],
)
def test_what_the_example_cannot_run_is_named(model: ModelSpec, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        PACKAGER.write(request(model, tmp_path / "best.engine"), tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stand_ins_have_methods_of_tensorrt(version: str) -> None:
    """In Python the same methods have names with underscores."""
    surface = read_surface(version)
    text = (STAND_INS / "NvInfer.h").read_text(encoding="utf-8")
    found = 0
    for kind, body in re.findall(r"^class (I\w+) \{(.*?)^\};", text, re.MULTILINE | re.DOTALL):
        if kind == "ILogger":
            continue
        members = surface[kind if kind in surface else kind[1:]]["members"]
        for method in re.findall(r"(\w+)\([^)]*\)(?: const)? noexcept;", body):
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", method).lower()
            assert RENAMED.get(name, name) in members, f"{kind}.{method}"
            found += 1
    assert found == 10


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    path = tmp_path_factory.mktemp("cpp") / "main"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{STAND_INS}", f"-I{SOURCES}"]
    sources = [SOURCES / "main.cpp", STAND_INS / "fake_tensorrt.cpp"]
    done = subprocess.run(
        [compiler, *flags, *map(str, sources), "-o", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize(
    ("model", "image_size"),
    [
        pytest.param(YOLO, (70, 50), id="yolo"),
        pytest.param(ANCHOR, (70, 50), id="yolo_anchor"),
        pytest.param(YOLO, (31, 90), id="yolo wide", marks=pytest.mark.full),
        *(
            pytest.param(model, size, id=f"{name} {size[0]}", marks=pytest.mark.full)
            for name, model in (("boxes", DETR), ("classify", CLASSIFY))
            for size in ((70, 50), (31, 90))
        ),
    ],
)
def test_the_example_finds_what_adaptrt_finds(
    program: Path, model: ModelSpec, image_size: tuple[int, int], tmp_path: Path
) -> None:
    from adaptrt.vision.decoders.decode import decode
    from adaptrt.vision.transforms import transform_batch

    smooth = np.linspace(0, 255, image_size[0] * image_size[1] * 3).reshape(*image_size, 3).astype(np.uint8)
    (tmp_path / "image.ppm").write_bytes(b"P6\n%d %d\n255\n" % image_size[::-1] + smooth.tobytes())
    (tmp_path / "best.engine").write_text(fake_engine(model))
    folder = tmp_path / "out"
    folder.mkdir()
    PACKAGER.write(request(model, tmp_path / "best.engine"), folder)
    done = subprocess.run([program, "best.engine", "spec.json", "../image.ppm"], cwd=folder, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr

    inputs, metas = transform_batch([smooth], model)
    assert model.image is not None
    step = model.image.scale / min(model.image.std)  # one unit of a pixel
    given = np.fromfile(folder / "input.bin", np.float32).reshape(inputs["images"].shape)
    np.testing.assert_allclose(given, inputs["images"], atol=1.01 * step)
    assert np.mean(np.abs(given - inputs["images"]) > 1e-5) < 0.2, "most pixels are equal"

    (expected,) = decode(arrays_of(model), metas, model)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == len(expected.scores) > 1
    names = [model.labels[label] for label in expected.labels]
    assert [row[0] for row in rows] == [name.replace("é", "?") for name in names] or [row[0] for row in rows] == names
    np.testing.assert_allclose([float(row[1]) for row in rows], expected.scores, atol=6e-5)
    if model.task == "detect":
        np.testing.assert_allclose([list(map(float, row[2:])) for row in rows], expected.boxes, atol=6e-3)


@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec.json": "{"}, "JSON: a string is expected|JSON: unexpected end"),
        ({"spec.json": "[" * 100}, "nested too deeply"),
        ({"best.engine": "x"}, "cannot be loaded"),
        ({"image.ppm": "P6\n5 5\n255\nshort"}, "is too short"),
    ],
)
def test_damaged_files_are_named(program: Path, change: dict[str, str], said: str, tmp_path: Path) -> None:
    (tmp_path / "best.engine").write_text(fake_engine(YOLO))
    folder = tmp_path / "out"
    folder.mkdir()
    PACKAGER.write(request(YOLO, tmp_path / "best.engine"), folder)
    (folder / "image.ppm").write_bytes(b"P6\n4 4\n255\n" + bytes(48))
    for name, content in change.items():
        (folder / name).write_text(content)
    done = subprocess.run([program, "best.engine", "spec.json", "image.ppm"], cwd=folder, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 1
    assert re.search(said, done.stderr)
