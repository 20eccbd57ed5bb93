"""From what a user names, as in ``adaptrt predict``, to sources."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adaptrt.errors import ImageError, UsageError
from adaptrt.quantities import counted
from adaptrt.sources import capture, download
from adaptrt.sources.capture import LiveSource, VideoSource
from adaptrt.sources.frames import Source
from adaptrt.sources.images import ImageSource, Unreadable
from adaptrt.sources.remote import find_remote
from adaptrt.specs.image_files import ImageFile, RemoteFile, is_remote

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
_UNREAD = frozenset(
    {
        ".arw", ".avif", ".cr2", ".cr3", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe",
        ".jxl", ".nef", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".raw", ".svg", ".tga",
    }
)  # fmt: skip
"""Kinds of images that folders and patterns do not find."""
NETWORK_SCHEMES = ("rtsp", "rtsps", "rtmp")
_LARGEST_LIST = 1 << 30  # bytes: ten million paths of 100


def _ignore(text: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How sources are read.

    ``channels``: of the images, as for ``read_image``. ``url_bytes`` and ``url_seconds`` limit a download. ``tries``: how often a lost
    live source is opened again before it is given up. ``warn`` receives warnings for the user.
    """

    channels: int | None = 3
    url_bytes: int = download.MAX_BYTES
    url_seconds: float = download.MAX_SECONDS
    tries: int = capture.TRIES
    warn: Callable[[str], None] = field(default=_ignore)


Named = str | os.PathLike[str] | int | Source


def find_sources(named: Named | Sequence[Named], options: SourceOptions | None = None) -> list[Source]:
    """Sources for a file, folder, pattern, ``.txt`` list, URL, S3 address, camera index (``0`` or ``camera:0``) or ``rtsp://`` stream, or several.

    All still images together are one source, and what is named twice is read once. Nothing is opened, and URLs are downloaded when their frames are read.
    A list names a file, folder or pattern in each line, relative to its folder. One of several that is missing or has no
    images becomes a source whose only frame is the error; a single one raises it. Raises ``UsageError`` for anything else, such as an
    array.
    """
    options = options or SourceOptions()
    several = named if isinstance(named, Sequence) and not isinstance(named, str) else [named]
    found: dict[str | int, Source] = {}
    images: dict[ImageFile, None] = {}
    for one in several:
        for source in _sources_of(one, options) if len(several) == 1 else _sources_or_error(one, options):
            if isinstance(source, RemoteFile):
                images[source] = None
            elif not isinstance(source, Path):
                found.setdefault(str(one) if isinstance(one, (int, str, os.PathLike)) else id(source), source)
            elif source.suffix.lower() in VIDEO_SUFFIXES:
                found.setdefault(str(source), VideoSource(source, options.channels))
            else:
                images[source] = None
    still = [ImageSource(list(images), options.channels)] if images else []
    return [*still, *found.values()]


def _sources_of(named: Named, options: SourceOptions) -> Sequence[Source | ImageFile]:
    if isinstance(named, int):
        return [_camera(named, options)]
    if not isinstance(named, (str, os.PathLike)):
        if not hasattr(named, "frames"):
            raise UsageError(
                f"Not a source: {type(named).__name__}.",
                hint="For an image in memory, call the model: model(image). A source is a path, an address, a camera index, or an object "
                "with the methods of adaptrt.sources.Source.",
            )
        return [named]
    text = os.fspath(named)
    if re.fullmatch(r"camera:\d+|\d+", text) and not Path(text).exists():
        return [_camera(int(text.rpartition(":")[2]), options)]
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in NETWORK_SCHEMES:
        return [LiveSource(text, options.channels, tries=options.tries, warn=options.warn)]
    if scheme in ("http", "https"):
        from adaptrt.sources.url import UrlSource

        return [UrlSource(text, options)]
    if scheme == "s3":
        return find_remote(text)
    if scheme:
        raise UsageError(
            f"Unsupported address: {text}.", hint=f"Supported: http, https, s3, {', '.join(NETWORK_SCHEMES)}."
        )
    return read_list(Path(text)) if _is_list(text) else files_of(text)


def _sources_or_error(named: Named, options: SourceOptions) -> Sequence[Source | ImageFile]:
    try:
        return _sources_of(named, options)
    except ImageError as error:
        return [Unreadable(str(named), error)]


def _camera(index: int, options: SourceOptions) -> LiveSource:
    return LiveSource(index, options.channels, tries=options.tries, warn=options.warn)


def files_of(text: str) -> list[Path]:
    """The images and videos of a file, folder or pattern, sorted; never an empty list."""
    from adaptrt.vision.images import find_images

    return find_images(text, videos=VIDEO_SUFFIXES)


def warn_of_skipped(named: Sequence[str], warn: Callable[[str], None], *, videos: bool, below: bool = False) -> None:
    """Warn of images in folders and patterns that are not read because of their kind; without ``videos``, also of those.

    ``below``: folders are searched with those inside them.
    """
    kinds = _UNREAD if videos else _UNREAD | VIDEO_SUFFIXES
    for one in named:
        path = Path(one)
        if "://" in one or path.is_file() or not (path.is_dir() or glob.has_magic(one)):
            continue
        if path.is_dir():
            inside: Iterable[Path] = path.rglob("*") if below else path.iterdir()
        else:
            inside = map(Path, glob.iglob(one, recursive=True))  # noqa: PTH207
        found = Counter(file.suffix.lower() for file in inside if file.suffix.lower() in kinds and file.is_file())
        if found:
            listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.items()))
            warn(f"{one}: {counted(found.total(), 'file')} skipped, whose kinds are not read from folders: {listed}.")


def image_files(named: Sequence[str]) -> list[Path]:
    """The still images that files, folders, patterns and ``.txt`` lists name, each once.

    Folders and patterns name existing images. A line of a list can name what does not exist: reading it is an error.
    """
    from adaptrt.vision.images import find_images

    found: dict[Path, None] = {}
    for one in named:
        found.update(dict.fromkeys(read_list(Path(one), find_images) if _is_list(one) else find_images(one)))
    return list(found)


def remote_and_local_images(named: Sequence[str]) -> list[ImageFile]:
    """``image_files``, and images at web addresses and in S3 buckets, each once, in the order in which they are named."""
    found: dict[ImageFile, None] = {}
    for one in named:
        found.update(dict.fromkeys(find_remote(one) if is_remote(one) else image_files([one])))
    return list(found)


def readable_images(named: Sequence[str]) -> tuple[list[Path], dict[str, ImageError]]:
    """``image_files``, and the error of each name that is missing or has no images; without any image, an error."""
    found: dict[Path, None] = {}
    failed: dict[str, ImageError] = {}
    for one in named:
        try:
            found.update(dict.fromkeys(image_files([one])))
        except ImageError as error:
            failed[one] = error
    if not found:
        raise next(iter(failed.values()))
    return list(found), failed


def _is_list(text: str) -> bool:
    return Path(text).suffix.lower() == ".txt" and Path(text).is_file()


def read_list(path: Path, find: Callable[[str], list[Path]] = files_of) -> list[Path]:
    """The files that a list names: a file, folder or pattern in each line, relative to the list; ``#`` starts a comment.

    ``find`` returns those of a folder or pattern. URLs and cameras are rejected: only the user's own words open those.
    """
    try:
        if path.stat().st_size > _LARGEST_LIST:
            raise UsageError(f"{path} is too large for a list of files.")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not valid UTF-8 text.", hint="A list contains one image or video per line."
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path to the list."
        ) from error
    found: list[Path] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if "://" in text or "\0" in text:
            raise UsageError(
                f"{path}:{number}: {text!r} is not a file.", hint="Specify URLs and streams on the command line, not in a list."
            )  # fmt: skip
        file = path.parent / text
        try:
            found += [file] if file.is_file() or not (glob.has_magic(text) or file.is_dir()) else find(str(file))
        except ImageError:
            found.append(file)  # reported when it is read: the others are still used
    if not found:
        raise UsageError(f"{path} lists no files.", hint="A list contains one image or video per line.")
    return found
