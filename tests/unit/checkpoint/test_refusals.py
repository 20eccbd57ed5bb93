"""Nothing in a file runs, and nothing in it can claim more memory or time than the file is long."""

from __future__ import annotations

import pickle
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read into torch tensors")

from adaptrt.checkpoint import read_checkpoint, read_state_dict  # noqa: E402
from adaptrt.errors import CheckpointError  # noqa: E402

Write = Callable[..., Path]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_os_system_is_refused_and_does_not_run(save: Write, runs: Any, sentinel: Path, protocol: int) -> None:
    path = save({"model": torch.zeros(3), "payload": runs}, protocol)
    with pytest.raises(CheckpointError, match=r"posix\.system") as caught:
        read_checkpoint(path, inert=("torch.nn", "models"))
    assert "--trust-checkpoint" in str(caught.value)
    assert not sentinel.exists()
    # The file is what it seems: torch itself, told to, does run it.
    read_checkpoint(path, trust=True)
    assert sentinel.exists()


@pytest.mark.parametrize("read", [read_checkpoint, read_state_dict])
def test_what_a_trusted_file_fails_with_is_said(save: Write, tmp_path: Path, read: Any) -> None:
    assert list(read(save({"weight": torch.ones(2)}, 2), trust=True)) == ["weight"]
    with pytest.raises(CheckpointError, match="File not found"):
        read(tmp_path / "nowhere.pt", trust=True)
    (tmp_path / "notes.pt").write_text("no weights")
    with pytest.raises(CheckpointError, match="a text file"):
        read(tmp_path / "notes.pt", trust=True)
    (tmp_path / "lost.pt").write_bytes(
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + b"\x80\x02cgone\nNet\n."
    )
    with pytest.raises(CheckpointError, match="torch cannot read") as caught:
        read(tmp_path / "lost.pt", trust=True)
    assert "importable under" in (caught.value.hint or "")


def test_every_name_is_listed(write: Write) -> None:
    data = b"\x80\x02(cos\nsystem\nX\x02\x00\x00\x00ls\x85Rcfoo.bar\nBaz\nc__builtin__\neval\nX\x01\x00\x00\x001\x85Rt."
    with pytest.raises(CheckpointError, match=r"os\.system, foo\.bar\.Baz, builtins\.eval"):
        read_checkpoint(write(data))


@pytest.mark.parametrize(
    "name",
    [
        b"builtins\ngetattr",
        b"builtins\n__import__",
        b"torch\nload",
        b"torch\nhub.load",
        b"torch._utils\n_rebuild_tensor_v2.__globals__",
        b"collections\nOrderedDict.__init__",
        b"numpy\nload",
        b"adaptrt.checkpoint\nread_checkpoint",
        b"pathlib\nPath.unlink",
    ],
)
def test_names_near_the_allow_list(write: Write, name: bytes) -> None:
    with pytest.raises(CheckpointError, match="imports names"):
        read_checkpoint(write(b"\x80\x02c" + name + b"\n."))


def test_a_checkpoint_of_another_framework(write: Write) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(write(b"\x80\x02]cultralytics.nn.tasks\nDetectionModel\nactorch.nn.modules.conv\nConv2d\na."))
    assert "If it is a model of ultralytics," in (caught.value.hint or "")
    assert "--trust-checkpoint" in (caught.value.hint or "")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(write(b"\x80\x02ctorch\nload\n."))
    assert (caught.value.hint or "").startswith("If you trust")


def test_no_state_is_set_on_a_constructor(write: Write) -> None:
    from adaptrt.checkpoint.known import KNOWN

    before = dict(KNOWN)
    data = b"\x80\x02ccollections\nOrderedDict\n}(X\x04\x00\x00\x00callK\x01ub."
    with pytest.raises(CheckpointError, match="state is set on Constructor"):
        read_checkpoint(write(data))
    assert before == KNOWN


def tensor(storage: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A pickle of one tensor over a storage of four floats."""
    parts = [pickle.dumps(part, protocol=0)[:-1] for part in (offset, size, stride)]
    rest = b"\x89ccollections\nOrderedDict\n)R"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"".join(parts) + rest + b"tR."


CLAIMS = {
    "beyond": (0, (5,), (1,)),
    "offset": (4, (1,), (1,)),
    "strides": (0, (2, 2), (3, 1)),
    "negative": (0, (2,), (-1,)),
    "negative offset": (-1, (2,), (1,)),
    "huge": (0, (1 << 40, 1 << 40), (0, 0)),
    "expanded": (0, (1 << 30,), (0,)),
    "ranks": (0, (2, 2), (1,)),
    "overflow": (0, (1 << 62, 4), (1 << 62, 1)),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_tensors_stay_inside_their_storage(write: Any, claim: str) -> None:
    with pytest.raises(CheckpointError, match="tensor"):
        read_checkpoint(write(tensor(write.storage, *CLAIMS[claim]), {"0": bytes(16)}))


def test_the_same_file_with_a_valid_tensor_is_read(write: Any) -> None:
    assert read_checkpoint(write(tensor(write.storage, 1, (2,), (1,)), {"0": bytes(16)})).tolist() == [0.0, 0.0]


def test_a_storage_that_claims_more_than_the_file(write: Any) -> None:
    claimed = write.storage.replace(b"K\x04", b"J\xff\xff\xff\x7f")
    with pytest.raises(CheckpointError, match=r"larger than the file|is truncated"):
        read_checkpoint(write(tensor(claimed, 0, (4,), (1,)), {"0": bytes(16)}))


@pytest.mark.parametrize("identity", [b"K\x01Q", b"NQ", b"(X\x07\x00\x00\x00storagetQ", b")Q", b"X\x01\x00\x00\x00aQ"])
def test_malformed_persistent_ids(write: Write, identity: bytes) -> None:
    with pytest.raises(CheckpointError, match="storage"):
        read_checkpoint(write(b"\x80\x02" + identity + b"."))


BOMBS = {
    "long string": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "long bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "long number": b"I" + b"9" * 200_000 + b"\n.",
    "bytes by count": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "copies": b"\x80\x02](" + b"N" * 100_000 + b"eq\x000(" + b"cbuiltins\nlist\nh\x00\x85R" * 5_000 + b"t.",
    "deep key": b"\x80\x02}K\x01" + b"\x85" * 300_000 + b"K\x02s.",
    "wide key": b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x02s.",
    "list as key": b"\x80\x02}]K\x02s.",
    "array of nothing": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85C\x01b\x87R.",
    "dtype of objects": b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R.",
    "dtype of a record": b"\x80\x02cnumpy\ndtype\nX\x05\x00\x00\x00i4,i4\x89\x88\x87R.",
    "long line": b"\x80\x02V" + b"a" * 3_000_000 + b"\n.",
    "nested groups": b"\x80\x02" + b"(" * 1_000_000 + b"N.",
    "groups without end": b"\x80\x02" + b"(" * 1_000_000,
    "value of another group": b"\x80\x02}K\x01(s.",
    "unclosed group": b"\x80\x02((((N.",
    "extension code": b"\x80\x02\x82\x01.",
    "later protocol": b"\x80\x09N.",
    "next buffer": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(write: Write, bomb: str) -> None:
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError):
        read_checkpoint(write(BOMBS[bomb]))
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_large_memo_index_takes_no_memory(write: Write) -> None:
    assert read_checkpoint(write(b"\x80\x02Nr\xff\xff\xff\xff.")) is None


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N." + bytes(50_000_000))
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(tmp_path / "bomb.pt")


def test_modules_that_hold_the_same_again_and_again() -> None:
    from adaptrt.checkpoint import InertName, InertObject, tensors_of

    module = InertObject(InertName("m", "M"))
    for _ in range(60):
        module = InertObject(InertName("m", "M"), state={"_modules": {"0": module, "1": module}})
    with pytest.raises(CheckpointError, match="contain each other"):
        tensors_of(module)


def test_a_module_that_contains_itself(write: Write) -> None:
    from adaptrt.checkpoint import tensors_of

    data = b"\x80\x02cm\nM\n)\x81q\x00}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00ssb."
    module = read_checkpoint(write(data), inert=("m",))
    with pytest.raises(CheckpointError, match="nested too deeply"):
        tensors_of(module)
