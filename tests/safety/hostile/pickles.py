"""Pickles written opcode by opcode, and the files that torch would have put them into."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SPARSE = 8 << 30


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(dotted: str) -> bytes:
    module, _, attribute = dotted.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def call(dotted: str, *arguments: bytes) -> bytes:
    """REDUCE of a name with these arguments."""
    return name(dotted) + b"(" + b"".join(arguments) + b"tR"


def model_with(value: bytes) -> bytes:
    """A checkpoint ``{"model": value}``."""
    return b"\x80\x02}" + text("model") + value + b"s."


def zipped(path: Path, data: bytes, **options: int) -> None:
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/version", b"3\n")


def legacy(path: Path, data: bytes, storages: Sequence[str] = ()) -> None:
    out = io.BytesIO()
    for head in (MAGIC, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}):
        pickle.dump(head, out, protocol=2)
    out.write(data)
    pickle.dump(list(storages), out, protocol=2)
    path.write_bytes(out.getvalue())


def sparse(path: Path, data: bytes) -> None:
    """A legacy file with gigabytes of nothing behind its pickles."""
    legacy(path, data)
    with path.open("r+b") as file:
        file.truncate(SPARSE)


def large_storage(size: int) -> bytes:
    """A tensor whose storage has this many bytes."""
    storage = b"(" + text("storage") + name("torch.ByteStorage") + text("0") + text("cpu") + integer(size) + b"NtQ"
    one = b"(" + integer(size) + b"t" + b"(" + integer(1) + b"t"
    return name("torch._utils._rebuild_tensor_v2") + b"(" + storage + integer(0) + one + b"\x89}tR"


def sparse_tensor(path: Path, data: bytes) -> None:
    """A legacy file of gigabytes that are one tensor, all zeros."""
    legacy(path, data, ["0"])
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        file.write(struct.pack("<q", SPARSE))
        file.truncate(end + 8 + SPARSE)


def colliding_keys(count: int) -> bytes:
    """A dict of integers that all have the hash 0: each insertion meets all before it."""
    keys = b"".join(pickle.dumps((2**61 - 1) * number, 2)[2:-1] + b"N" for number in range(1, count))
    return b"}(" + keys + b"u"


def integer(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]
