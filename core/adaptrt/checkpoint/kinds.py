"""Detects the kind of a file by its first bytes and its table of contents, with a hint for kinds that cannot be read."""

from __future__ import annotations

import zipfile
from itertools import islice
from typing import TYPE_CHECKING, Literal

from adaptrt.errors import CheckpointError, nearest_file
from adaptrt.specs.backends import backend_of, runs_onnx
from adaptrt.store.model_files import CHECKPOINT_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DOWNLOAD_AGAIN = "Copy or download it again, and compare its size or checksum with the source."


def check_kind(path: Path) -> Literal["zip", "legacy"]:
    """Which of torch's two formats this is; for other files, a ``CheckpointError`` names their kind."""
    if not path.exists():
        hint = (
            nearest_file(path, CHECKPOINT_SUFFIXES) or "Specify the path of a checkpoint. Files are never downloaded."
        )
        raise CheckpointError(f"File not found: {path}.", hint=hint)
    if path.is_dir():
        seen = islice(path.rglob("*"), 2000)  # it may be an entire disk
        found = sorted(str(file.relative_to(path)) for file in seen if file.suffix in CHECKPOINT_SUFFIXES)[:3]
        hint = (
            f"Specify a file in it: {', '.join(found)}"
            if found
            else f"It contains no checkpoint ({', '.join(CHECKPOINT_SUFFIXES)})."
        )
        raise CheckpointError(f"{path} is a folder.", hint=hint)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a regular file.")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    if not head:
        raise CheckpointError(f"{path} is empty (0 bytes).", hint=DOWNLOAD_AGAIN)
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise cut_off(path)
        return "zip"
    other = _other_kind(path, head)
    if other:
        raise CheckpointError(f"{path} is {other[0]}, not a checkpoint of torch.save.", hint=other[1])
    if head[0] != 0x80 and not head.startswith(b"L"):
        raise CheckpointError(
            f"{path} is not a checkpoint: torch.save does not write files with this header.", hint=DOWNLOAD_AGAIN
        )
    return "legacy"


def cut_off(path: Path) -> CheckpointError:
    """The error for an incomplete archive."""
    return CheckpointError(f"{path} is truncated or damaged: its table of contents is missing.", hint=DOWNLOAD_AGAIN)


def is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return _safetensors_header(path, file.read(9))


def _safetensors_header(path: Path, head: bytes) -> bool:
    return len(head) >= 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _other_kind(path: Path, head: bytes) -> tuple[str, str | None] | None:
    """The kind of a file that is not a checkpoint, with a hint."""
    if _safetensors_header(path, head):
        return "a safetensors file", "It contains weights without a network. Use it where a state dict is expected."
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer", "Fetch the file itself: git lfs pull"
    if head[:4] in (b"ftrt", b"ptrt"):
        return "a TensorRT engine", "To run it: adaptrt predict"
    backend = backend_of(path)
    if backend is not None and not runs_onnx(backend):
        return f"a file of {backend.title}", "It is already converted. To run it: adaptrt predict"
    if head[:512].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page", "The download saved a web page instead of the file: download it again."
    if head[:2] == b"\x08" + head[1:2] and head[2:3] == b"\x12" and head[1] < 32:
        return (
            "an ONNX file",
            "It is already converted: adaptrt predict runs it, adaptrt build builds an engine from it.",
        )
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file (Keras, TensorFlow)", None
    if head.startswith((b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"7z\xbc\xaf")):
        return "a compressed archive", "Extract it first."
    if head[257:262] == b"ustar":
        return "a tar archive", "Extract it first, or save it again with torch 1.6 or later."
    if _is_text(head):
        return "a text file", "A checkpoint is a binary file. Pass a config where a config is expected."
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head[:4000].decode("utf-8", "strict" if len(head) < 4000 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\r\n\t" for character in text)


def program_kind(names: Iterable[str]) -> Literal["torchscript", "program"] | None:
    """Whether an archive with these entries is a TorchScript file, or a program of torch.export."""
    names = list(names)
    parts = {part for name in names for part in name.split("/", 2)[:2]}
    if parts & {"archive_format", "serialized_exported_program.json"} or any(
        name.endswith(("models/model.json", "serialized_exported_program.json")) for name in names
    ):
        return "program"
    # torch.save names the archive's folder after the file: code.pth has a folder of that name
    if "constants.pkl" in parts or any(name.split("/", 2)[1:2] == ["code"] for name in names):
        return "torchscript"
    return None


def zip_kind(path: Path, names: Iterable[str]) -> str:
    """The folder in the archive that holds ``data.pkl``, with its slash; rejects other archives with their kind."""
    names = list(names)
    program = program_kind(names)
    if program == "torchscript":
        raise CheckpointError(
            f"{path} is a TorchScript file: a compiled program, not a checkpoint.",
            hint="Convert it with --adapter torch, or pass the .pt file that it was made from.",
        )
    if program == "program":
        raise CheckpointError(
            f"{path} is an exported program (torch.export), not a checkpoint.",
            hint="Convert it with --adapter torch, or pass the checkpoint that it was made from.",
        )
    found = [name.removesuffix("data.pkl") for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        listed = ", ".join(names[:3]) or "nothing"
        raise CheckpointError(
            f"{path} is a zip archive, but not a checkpoint (it contains {listed}{', ...' if len(names) > 3 else ''}).",
            hint="If the checkpoint is inside, extract it first.",
        )
    return found[0]
