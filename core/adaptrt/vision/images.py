"""Reading and writing images. In memory an image is uint8 [H, W, C]: RGB (not OpenCV's BGR), gray, or other bands."""

from __future__ import annotations

import glob
import math
import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from adaptrt.errors import ImageError, OutputError, did_you_mean, empty_value, nearest_file
from adaptrt.store.workspace import written_aside
from adaptrt.vision.opencv import MAX_PIXELS, cv2

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from numpy.typing import NDArray

ImageArray: TypeAlias = "NDArray[np.uint8]"

SUFFIXES = frozenset({".bmp", ".dib", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
BAND_SUFFIXES = frozenset({".npy", ".tif", ".tiff"})  # that hold any number of channels
MAX_CHANNELS = 512  # OpenCV's own limit
_READ = SUFFIXES | BAND_SUFFIXES


def read_image(source: Any, channels: int | None = 3) -> ImageArray:
    """An image as uint8 [H, W, ``channels``], from a path, an array or a PIL image.

    3 channels are RGB and 1 is gray, from any image file. Other numbers, and None for as many as there are, come from an
    ``.npy`` file [H, W, C], a TIFF (its pages are stacked; bands in the order in which OpenCV decodes them, as
    Ultralytics reads multispectral images) or an array, as they are.

    A file is decoded as by ``cv2.imread``: rotated by its EXIF orientation, three channels (gray is repeated, alpha
    dropped), 16 bit reduced to the high byte. These are the pixels that Ultralytics' predict sees.

    An array is uint8 (or uint16) [H, W, 3] or [H, W, 4] in **RGB** order, or [H, W] or [H, W, 1] gray. Reverse the
    channels of an image from ``cv2.imread`` with ``[..., ::-1]`` first. An RGB uint8 array is not copied.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, channels)
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        with _naming(name):
            return _read_file(name, channels)
    pil = sys.modules.get("PIL.Image")
    if isinstance(source, getattr(pil, "Image", ())):  # another thread may be importing it
        return _from_pil(source, channels)
    hint = "Pass a path, an RGB array uint8 [H, W, 3] or a PIL image."
    if isinstance(source, (bytes, bytearray, memoryview)):
        hint = "Decode the file first: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)"
    raise ImageError(f"{type(source).__name__} is not an image.", hint=hint)


def _read_file(name: str, channels: int | None) -> ImageArray:
    suffix = Path(name).suffix.lower()
    if suffix == ".npy" or (channels not in (1, 3) and suffix in BAND_SUFFIXES):
        return _from_array(_read_bands(Path(name), suffix), channels, name)
    image = _from_file(name, gray=channels == 1)
    return image if channels is None else _require_channels(image, channels, name)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors about an image say of which file, also those that arrays have too."""
    try:
        yield
    except ImageError as error:
        if Path(name).name in error.message:
            raise
        raise ImageError(f"{name}: {error.message}", hint=error.hint) from error


def frameworks_read(image: Path, channels: int) -> bool:
    """Whether frameworks read the file themselves: gray and color images. Of others they take the pixels."""
    return channels in (1, 3) and image.suffix.lower() != ".npy"


def bgr_pixels(image: Path, channels: int) -> ImageArray:
    """The pixels of a file in OpenCV's order: BGR for three channels, others as they are."""
    pixels = read_image(image, channels)
    return np.ascontiguousarray(pixels[..., ::-1]) if channels == 3 else pixels


def decode_image(data: bytes, channels: int | None = 3, name: str = "image") -> ImageArray:
    """The content of an image file as uint8 [H, W, ``channels``]: the pixels that ``read_image`` reads from the file.

    ``name`` is for messages; it does not tell the format. For other numbers of channels than 3 and 1, ``data`` is a TIFF.
    """
    if not data:
        raise ImageError(f"{name} is empty.", hint="It must be the content of an image file.")
    array = np.frombuffer(data, np.uint8)
    with _naming(name):
        if channels not in (1, 3):
            return _from_array(_bands_in(array, name), channels, name)
        return _require_channels(_decode(array, name, gray=channels == 1), channels, name)


def for_display(image: ImageArray) -> ImageArray:
    """RGB to look at: gray three times, or the first three of other bands."""
    if image.shape[2] == 3:
        return image
    return np.repeat(image[..., :1], 3, axis=2) if image.shape[2] < 3 else np.ascontiguousarray(image[..., :3])


def find_images(source: str | os.PathLike[str], *, videos: Collection[str] = ()) -> list[Path]:
    """The images of a file, folder or glob pattern (``**`` recurses), sorted; never an empty list.

    ``videos``: the suffixes of other files that are found too.
    """
    if not os.fspath(source):
        raise empty_value("The source")  # as a path, it would be the current folder
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found, nothing = list(path.iterdir()), f"The folder {path} contains no images"
    elif glob.has_magic(str(source)):
        found = [Path(name) for name in glob.glob(str(source), recursive=True)]  # noqa: PTH207
        nothing = f"The pattern {source} matches no images"
    else:
        raise _missing(path)
    suffixes = _READ.union(videos)
    files = sorted(file for file in found if file.suffix.lower() in suffixes and file.is_file())
    if not files:
        message = f"{nothing} or videos." if videos else f"{nothing}."
        raise ImageError(message, hint=f"Supported suffixes: {', '.join(sorted(suffixes))}.")
    return files


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and in those inside it, sorted; may be empty."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def encode_image(rgb: ImageArray, suffix: str = ".png", *, quality: int = 92) -> bytes:
    """The image encoded as a file of this type; ``quality`` is for JPEG and WebP, 1 to 100."""
    if suffix.lower() not in SUFFIXES:
        raise OutputError(f"Unsupported image format: {suffix!r}.", hint=did_you_mean(suffix, SUFFIXES))
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }.get(suffix.lower(), [])
    done, data = cv2.imencode(suffix.lower(), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise OutputError(f"OpenCV could not encode an image of shape {rgb.shape} as {suffix}.")
    return bytes(data)


def encode_jpeg(rgb: ImageArray, quality: int = 92) -> bytes:
    return encode_image(rgb, ".jpg", quality=quality)


def write_image(path: str | os.PathLike[str], rgb: ImageArray, *, parents: bool = False) -> Path:
    """Write an RGB image in the format of the path's suffix; the file appears only when complete. ``parents``: create its folder."""
    path = Path(path)
    data = encode_image(rgb, path.suffix or ".png")
    try:
        with written_aside(path, parents=parents) as aside:
            aside.write_bytes(data)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Choose another location."
        ) from error
    return path


def _bytes_of(path: Path) -> NDArray[np.uint8]:
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image.", hint="Specify a file in it.")
    try:
        # cv2.imread cannot open every unicode path on Windows; decoding from memory can
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data.size:
        raise ImageError(f"{path} is empty.", hint="Copy or download it again.")
    return data


def _from_file(name: str, *, gray: bool = False) -> ImageArray:
    if "://" in name:
        raise ImageError(f"{name} is a URL. Files are never downloaded.", hint="Download the image and pass the file.")
    path = Path(name)
    return _decode(_bytes_of(path), str(path), gray=gray)


def _decode(data: NDArray[np.uint8], name: str, *, gray: bool) -> ImageArray:
    _require_bounded(data, name)
    color = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
    bgr = _decoded(name, lambda: cv2.imdecode(data, color | cv2.IMREAD_ANYDEPTH))
    if bgr is None:
        raise _undecodable(data, name)
    bgr = _to_uint8(bgr)
    if gray:
        return bgr[..., None]
    rgb: ImageArray = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, bgr)
    return rgb


def _decoded(name: str, decode: Callable[[], Any]) -> Any:
    try:
        return decode()
    except cv2.error as error:
        if "IMAGE_PIXELS" in error.err:
            raise _too_large(name) from error
        if error.code == cv2.Error.StsNoMem:
            raise ImageError(f"Not enough memory to decode {name}.", hint="Cut or resize it first.") from error
        raise ImageError(f"{name} cannot be decoded: {error.err}.", hint="Copy or download it again.") from error


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name} is too large: the maximum is {MAX_PIXELS:,} pixels.", hint="Cut or resize it first.")


def _require_bounded(data: NDArray[np.uint8], name: str) -> None:
    """The limit for PNG, of which a kilobyte can declare any size, also where OpenCV was loaded before it could be set."""
    head = bytes(data[:24])
    if head.startswith(_PNG) and int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big") > MAX_PIXELS:
        raise _too_large(name)


# what files of the supported formats begin with
_PNG = b"\x89PNG\r\n\x1a\n"
_BEGINNINGS = (b"\xff\xd8\xff", _PNG, b"BM", b"II*\0", b"MM\0*")


def _undecodable(data: NDArray[np.uint8], name: str) -> ImageError:
    head = bytes(data[:12])
    if head.startswith(_BEGINNINGS) or (head[:4], head[8:]) == (b"RIFF", b"WEBP"):
        return ImageError(f"{name} is damaged and cannot be decoded.", hint="Copy or download it again.")
    return ImageError(
        f"{name} is not an image that OpenCV can read.", hint="Supported formats: JPEG, PNG, WebP, BMP and TIFF."
    )


def _read_bands(path: Path, suffix: str) -> NDArray[Any]:
    """Every channel of a file: [H, W] or [H, W, C]."""
    if suffix == ".npy":
        return _read_npy(path)
    return _bands_in(_bytes_of(path), str(path))


def _read_npy(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise _missing(path)
    try:
        shape = np.shape(np.load(path, allow_pickle=False, mmap_mode="r"))  # from the header
        if len(shape) in (2, 3):
            if shape[0] * shape[1] > MAX_PIXELS or math.prod(shape[2:]) > MAX_CHANNELS:
                raise ImageError(f"{path} contains an array of shape {list(shape)}, which is too large for an image.")
            # not from the map: if the file becomes shorter meanwhile, SIGBUS ends the process
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"{path} is not a readable NumPy array: {error}.") from error
    raise ImageError(f"{path} must contain a single array [H, W] or [H, W, C].")


def _bands_in(data: NDArray[np.uint8], name: str) -> NDArray[Any]:
    _require_bounded(data, name)
    pages = _pages(data, name)
    if not pages:
        raise _undecodable(data, name)
    bands = [page if page.ndim == 3 else page[..., None] for page in pages]
    if len({band.shape[:2] for band in bands}) > 1:
        raise ImageError(f"The pages of {name} have different sizes.")
    stacked: NDArray[Any] = bands[0] if len(bands) == 1 else np.concatenate(bands, axis=2)
    return stacked


def _pages(data: NDArray[np.uint8], name: str) -> list[NDArray[Any]]:
    """The pages of a file, one after another: all of them can have the same few bytes, however large they are."""
    by_page = "range" in (cv2.imdecodemulti.__doc__ or "")  # OpenCV before 4.10 decodes all of them at once
    pages: list[NDArray[Any]] = []
    left = max(4 * MAX_PIXELS, 8 * len(data))
    while left >= 0 and len(pages) <= MAX_CHANNELS:
        chosen: dict[str, Any] = {"range": (len(pages), len(pages) + 1)} if by_page else {}
        done, found = _decoded(name, partial(cv2.imdecodemulti, data, cv2.IMREAD_UNCHANGED, **chosen))
        pages += found if done else ()
        left -= sum(page.size for page in found) if done else 0
        if not by_page or not done or not found:
            break
    if left < 0 or len(pages) > MAX_CHANNELS:
        raise _too_large(name)
    return pages


def _require_channels(image: ImageArray, channels: int, name: str = "") -> ImageArray:
    if image.shape[2] == channels:
        return image
    raise ImageError(
        f"The model expects images with {channels} channels; {name or 'this image'} has {image.shape[2]}.",
        hint=f"Pass a TIFF with {channels} bands, or an .npy file uint8 [H, W, {channels}].",
    )


def _to_uint8(array: NDArray[Any]) -> ImageArray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    hint = "For values in 0..1: (array * 255).round().astype('uint8')." if array.dtype.kind == "f" else None
    raise ImageError(f"Images must be uint8; got {array.dtype}.", hint=hint)


def _missing(path: Path) -> ImageError:
    return ImageError(f"File not found: {path}.", hint=nearest_file(path) or "Check the path.")


def _from_array(array: NDArray[Any], channels: int | None = 3, name: str = "") -> ImageArray:
    array = _to_uint8(array)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or (channels == 3 and not name and array.shape[2] not in (1, 3, 4)):
        first = array.shape[:1] == ((3,) if channels is None else (channels,))
        hint = "The channels seem to be the first axis: use array.transpose(1, 2, 0)." if first else None
        raise ImageError(f"Images must have shape [H, W, {channels or 'C'}]; got {list(array.shape)}.", hint=hint)
    if not array.size:
        raise ImageError(f"An array of shape {list(array.shape)} has no pixels.")
    if channels == 3 and array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if channels == 3 and array.shape[2] == 4 and not name:
        array = array[..., :3]  # alpha
    if channels == 1 and array.shape[2] == 3:
        array = cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2GRAY)[..., None]
    return np.ascontiguousarray(array if channels is None else _require_channels(array, channels, name))


def _from_pil(image: Any, channels: int | None = 3) -> ImageArray:
    from PIL import ImageOps

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16") or channels not in (1, 3):
            return _from_array(np.asarray(image), channels)  # convert() would clip at 255
        pixels = np.ascontiguousarray(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, ValueError) as error:
        raise ImageError(f"The PIL image cannot be read: {error}.") from error
    return pixels[..., None] if channels == 1 else pixels
