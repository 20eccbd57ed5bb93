import io
import os
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from adaptrt.errors import ImageError, OutputError
from adaptrt.vision import images
from adaptrt.vision.images import (
    bgr_pixels,
    decode_image,
    encode_image,
    encode_jpeg,
    find_images,
    frameworks_read,
    read_image,
    write_image,
)  # fmt: skip
from adaptrt.vision.opencv import cv2

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def _png(side: int) -> bytes:
    """A gray image of one bit that declares this size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_written_and_read_image_has_the_same_pixels_in_rgb_order(tmp_path: Path) -> None:
    path = write_image(tmp_path / "bild ä 猫.png", PIXELS)
    np.testing.assert_array_equal(read_image(path), PIXELS)
    np.testing.assert_array_equal(read_image(str(path)), PIXELS)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied_to_files_and_pil_images(tmp_path: Path, orientation: int, suffix: str) -> None:
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[0x112] = orientation
    path = tmp_path / f"turned.{suffix}"
    image.save(path, exif=exif)
    upright = read_image(path)
    assert upright.shape == ((30, 20, 3) if orientation > 4 else (20, 30, 3))
    np.testing.assert_array_equal(upright, read_image(Image.open(path)))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_any_kind_of_image_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert("RGBA").convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), read_image(image))
    assert read_image(image).shape == PIXELS.shape


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_sixteen_bit_images_keep_their_high_byte(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), deep if len(shape) == 2 else deep[..., ::-1])
    np.testing.assert_array_equal(read_image(path), read_image(deep))
    high = (deep >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read_image(deep), high if high.ndim == 3 else np.stack([high] * 3, -1))


def test_an_rgb_array_is_not_copied() -> None:
    assert np.shares_memory(read_image(PIXELS), PIXELS)


def test_gray_alpha_and_reversed_arrays_become_contiguous_rgb() -> None:
    np.testing.assert_array_equal(read_image(PIXELS[..., 0]), PIXELS[..., [0, 0, 0]])
    np.testing.assert_array_equal(read_image(PIXELS[..., :1]), PIXELS[..., [0, 0, 0]])
    np.testing.assert_array_equal(read_image(np.dstack([PIXELS, PIXELS[..., 0]])), PIXELS)
    assert read_image(PIXELS[..., ::-1]).flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (PIXELS / 255, "float64"),
        (PIXELS.transpose(2, 0, 1), "channels seem to be the first axis"),
        (PIXELS[None], "[1, 20, 30, 3]"),
        (PIXELS[:0], "no pixels"),
        (PIXELS.astype(bool), "bool"),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray, says: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(array)
    assert says in str(caught.value)


def test_files_that_are_no_image(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.png").write_bytes(encode_image(PIXELS, ".png")[:30])
    (tmp_path / "cut.tif").write_bytes(encode_image(PIXELS, ".tif")[:30])
    (tmp_path / "large.png").write_bytes(_png(20_000))
    for name, says in {
        "text.jpg": "not an image",
        "empty.jpg": "empty",
        "cut.png": "damaged",
        "cut.tif": "damaged",
        "large.png": "too large: the maximum is 134,217,728 pixels",
        "tex.jpg": f"Did you mean '{tmp_path / 'text.jpg'}'?",
        "no/such.jpg": "File not found",
        "": "folder",
        "https://example.com/a.jpg": "Files are never downloaded",
    }.items():
        with pytest.raises(ImageError) as caught:
            read_image(name if "://" in name else tmp_path / name)
        assert says in str(caught.value), name
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["float.tif", "float.npy", "bands.npy", "empty.npy"])
def test_every_error_about_a_file_names_it(tmp_path: Path, name: str) -> None:
    """Also one that an array in memory has too."""
    path = tmp_path / name
    arrays = {"float": np.zeros((4, 4, 3), np.float32), "bands": np.zeros((4, 4, 5), np.uint8)}
    array = arrays.get(path.stem, np.zeros((0, 4, 3), np.uint8))
    if path.suffix == ".tif":
        cv2.imwrite(str(path), array)
        with pytest.raises(ImageError) as caught:
            decode_image(path.read_bytes(), name="of a message")
        assert caught.value.message == "of a message: Images must be uint8; got float32."
    else:
        np.save(path, array)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.message.count(name) == 1


def test_other_types_are_refused() -> None:
    with pytest.raises(ImageError, match="bytes is not an image"):
        read_image(b"123")


def test_find_images_in_file_folder_and_pattern(tmp_path: Path) -> None:
    for name in ["b.PNG", "a.jpg", "notes.txt", "deep/c.webp"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == ["a.jpg", "b.PNG"]
    assert find_images(tmp_path / "a.jpg") == [tmp_path / "a.jpg"]
    assert [path.name for path in find_images(f"{tmp_path}/**/*")] == ["a.jpg", "b.PNG", "c.webp"]
    for source in [f"{tmp_path}/*.gif", tmp_path / "missing", tmp_path / "missing.jpg"]:
        with pytest.raises(ImageError):
            find_images(source)


def test_writing_where_it_cannot_be_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "taken.png", PIXELS)
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "missing" / "a.png", PIXELS)
    with pytest.raises(OutputError, match="Did you mean"):
        write_image(tmp_path / "a.pngg", PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_encoded_images_can_be_embedded() -> None:
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_image(PIXELS, ".png")))), PIXELS)
    assert Image.open(io.BytesIO(encode_jpeg(PIXELS))).format == "JPEG"
    assert len(encode_jpeg(PIXELS, 10)) < len(encode_jpeg(PIXELS, 95))


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_bands_of_files_and_arrays(tmp_path: Path, channels: int) -> None:
    from adaptrt.vision.images import for_display

    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, channels), np.uint8)
    np.save(tmp_path / "bands.npy", pixels)
    assert np.array_equal(read_image(tmp_path / "bands.npy", channels), pixels)
    assert np.array_equal(read_image(pixels, channels), pixels)
    assert read_image(tmp_path / "bands.npy", None).shape == (6, 9, channels)
    assert for_display(pixels).shape == (6, 9, 3)
    assert cv2.imwritemulti(str(tmp_path / "bands.tif"), [pixels[..., band] for band in range(channels)])
    assert np.array_equal(read_image(tmp_path / "bands.tif", channels), pixels)
    assert tmp_path / "bands.npy" in find_images(tmp_path)


def test_an_array_file_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory map of it would end the process by SIGBUS."""
    path, load = tmp_path / "bands.npy", np.load
    np.save(path, np.zeros((100, 100, 4), np.uint8))

    def truncating(*args: object, **options: object) -> object:
        found = load(*args, **options)
        os.truncate(path, 128)
        return found

    monkeypatch.setattr(np, "load", truncating)
    with pytest.raises(ImageError, match="not a readable NumPy array"):
        read_image(path, 4)


def test_what_a_framework_gets_of_a_file(tmp_path: Path) -> None:
    color = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    np.save(tmp_path / "color.npy", color)
    np.save(tmp_path / "four.npy", color[..., [0, 1, 2, 2]])
    assert np.array_equal(bgr_pixels(tmp_path / "color.npy", 3), color[..., ::-1])
    assert np.array_equal(bgr_pixels(tmp_path / "four.npy", 4), color[..., [0, 1, 2, 2]])
    assert [frameworks_read(Path(name), channels) for name, channels in (("a.npy", 3), ("a.tif", 4), ("a.png", 1))] == [
        False, False, True,
    ]  # fmt: skip


def test_gray_is_read_from_any_image(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "color.png"), rgb[..., ::-1])
    expected = cv2.imread(str(tmp_path / "color.png"), cv2.IMREAD_GRAYSCALE)[..., None]
    assert np.array_equal(read_image(tmp_path / "color.png", 1), expected)
    assert np.abs(read_image(rgb, 1).astype(int) - expected).max() <= 1


def test_other_channels_than_the_models_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.zeros((4, 4, 2), np.uint8))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    for name, channels, said in (
        ("two.npy", 4, "4 channels"),
        ("two.npy", 3, "3 channels"),
        ("objects.npy", 4, "NumPy"),
    ):
        with pytest.raises(ImageError, match=said):
            read_image(tmp_path / name, channels)
    with pytest.raises(ImageError, match="4 channels"):
        read_image(np.zeros((4, 4, 2), np.uint8), 4)
    assert cv2.imwrite(str(tmp_path / "three.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ImageError, match="4 channels"):
        read_image(tmp_path / "three.png", 4)


def tiff_of_repeated_pages(side: int, pages: int) -> bytes:
    """Black pages that all have the same compressed content."""
    content = zlib.compress(bytes(side * side), 9)
    start = 8 + len(content) + len(content) % 2
    size = 2 + 9 * 12 + 4
    found = struct.pack("<2sHI", b"II", 42, start) + content.ljust(start - 8, b"\0")
    for page in range(pages):
        tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: side, 279: len(content)}
        found += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in tags)
        found += struct.pack("<I", start + (page + 1) * size if page + 1 < pages else 0)
    return found


@pytest.mark.parametrize(("pages", "problem"), [(8, ""), (9, "is too large"), (513, "is too large")])
def test_pages_of_a_small_file_are_bounded(pages: int, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 2 * 512 * 512 if pages < 512 else 1 << 30)
    data = tiff_of_repeated_pages(512, pages)
    assert len(data) < 512 * 512 // 2
    if not problem:
        assert decode_image(data, pages).shape == (512, 512, pages)
        return
    with pytest.raises(ImageError, match=problem):
        decode_image(data, pages)


def test_pages_that_the_file_holds_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bands = np.random.default_rng(0).integers(0, 256, (9, 64, 64), np.uint8)
    cv2.imwritemulti(str(tmp_path / "bands.tif"), list(bands), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    monkeypatch.setattr(images, "MAX_PIXELS", 2 * 64 * 64)
    assert np.array_equal(read_image(tmp_path / "bands.tif", 9), bands.transpose(1, 2, 0))


def test_pil_while_another_thread_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", ModuleType("PIL.Image"))
    with pytest.raises(ImageError, match="object is not an image"):
        read_image(object())
