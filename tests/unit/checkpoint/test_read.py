"""What comes back is what was saved, in both formats."""

from __future__ import annotations

import datetime
import pathlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read into torch tensors")

from adaptrt.checkpoint import InertName, InertObject, read_checkpoint, read_facts  # noqa: E402
from adaptrt.errors import CheckpointError  # noqa: E402

Save = Callable[..., Path]

DTYPES = ["float16", "float32", "float64", "bfloat16", "uint8", "int8", "int16", "int32", "int64", "bool", "complex64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(save: Save, dtype: str) -> None:
    tensor = (torch.randn(3, 4) * 10).to(getattr(torch, dtype))
    read = read_checkpoint(save(tensor))
    assert read.dtype == tensor.dtype
    assert torch.equal(read, tensor)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"])
def test_dtypes_without_a_storage_class(save: Save, dtype: str) -> None:
    tensor = torch.arange(6).to(getattr(torch, dtype))
    read = read_checkpoint(save(tensor))
    assert read.dtype == tensor.dtype
    assert torch.equal(read.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_pickle_protocols(save: Save, protocol: int) -> None:
    value = {"a": torch.arange(5), "b": [1, -70000, 2**40, 1.5, None, True, "é", b"\xff\x00", (1, 2, 3, 4)]}
    read = read_checkpoint(save(value, protocol))
    assert torch.equal(read["a"], value["a"])
    assert read["b"] == value["b"]


@pytest.mark.parametrize("protocol", [1, 2, 4])
def test_ranges(save: Save, protocol: int) -> None:
    value = [range(3), range(2, 9, 3)]
    assert read_checkpoint(save(value, protocol)) == value


def test_a_range_of_any_length_is_refused(save: Save) -> None:
    with pytest.raises(CheckpointError, match="range"):
        read_checkpoint(save(range(10**12)))


def test_protocol_0_without_tensors(save: Save) -> None:  # with tensors torch cannot read it either
    value = {"b": [1, -70000, 2**40, 1.5, None, True, "é\n'", b"\xff", (1, 2), {"x": {3}}, []]}
    assert read_checkpoint(save(value, 0)) == value


def test_views_keep_their_strides_and_share_their_storage(save: Save) -> None:
    base = torch.randn(6, 8)
    value = {
        "base": base,
        "column": base[:, 3],
        "transposed": base.t(),
        "part": base[2:4, 1:5],
        "wide": base[:1].expand(50, 8),
    }
    read = read_checkpoint(save(value))
    for name, tensor in value.items():
        assert torch.equal(read[name], tensor)
        assert read[name].stride() == tensor.stride()
    read["base"][2, 3] = 77.0
    assert read["column"][2] == 77.0
    assert read["part"][0, 2] == 77.0


def test_parameters_come_as_plain_tensors(save: Save) -> None:
    parameter = torch.nn.Parameter(torch.randn(3))
    parameter.note = "kept nowhere"
    read = read_checkpoint(save({"plain": torch.nn.Parameter(torch.randn(2)), "noted": parameter}))
    assert type(read["noted"]) is torch.Tensor
    assert not read["plain"].requires_grad
    assert torch.equal(read["noted"], parameter.detach())


def test_scalars_and_empty_tensors(save: Save) -> None:
    read = read_checkpoint(save([torch.tensor(3.0), torch.empty(0), torch.empty(2, 0, 3)]))
    assert read[0].item() == 3.0
    assert [tensor.shape for tensor in read[1:]] == [(0,), (2, 0, 3)]


def test_state_dict_of_a_module(save: Save) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    read = read_checkpoint(save(module.state_dict()))
    assert isinstance(read, OrderedDict)
    assert read._metadata == module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(read, strict=True)


def test_containers(save: Save) -> None:
    table: defaultdict[str, list[int]] = defaultdict(list)
    table["a"] = [1]
    value = {
        "ordered": OrderedDict(x=1, y=(2, [3])),
        "table": table,
        "count": Counter("abca"),
        "set": {1, "b"},
        "frozen": frozenset({2}),
        "size": torch.Size([1, 2]),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "complex": 1 + 2j,
        ("a", 1): "a tuple as key",
    }
    assert read_checkpoint(save(value)) == value


def test_numpy(save: Save) -> None:
    value = {
        "float": np.linspace(0, 1, 6).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        "text": np.array(["ab", "c"]),
        "scalar": np.float32(1.5),
        "flag": np.bool_(True),
    }
    read = read_checkpoint(save(value))
    for name, expected in value.items():
        assert np.array_equal(read[name], expected)
        assert read[name].dtype == expected.dtype


@pytest.mark.parametrize("protocol", [2, 5])
def test_paths_and_dates(save: Save, protocol: int) -> None:
    value = {
        "path": pathlib.PurePosixPath("/data/best.pt"),
        "windows": pathlib.PureWindowsPath(r"C:\data\best.pt"),
        "when": datetime.datetime(2024, 5, 6, 7, 8, 9),
        "day": datetime.date(2024, 5, 6),
        "took": datetime.timedelta(hours=3),
    }
    assert read_checkpoint(save(value, protocol)) == value


def test_deep_nesting_does_not_recurse(write: Callable[..., Path]) -> None:
    depth = 200_000
    read = read_checkpoint(write(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."))
    for _ in range(depth - 1):
        (read,) = read
    assert read == []


def test_big_endian_zip(tmp_path: Path) -> None:
    import zipfile

    tensor = torch.arange(4, dtype=torch.int32)
    torch.save(tensor, tmp_path / "little.pt")
    with zipfile.ZipFile(tmp_path / "little.pt") as source, zipfile.ZipFile(tmp_path / "big.pt", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("/byteorder"):
                data = b"big"
            elif name.endswith("/data/0"):
                data = np.frombuffer(data, dtype="<i4").astype(">i4").tobytes()
            target.writestr(name, data)
    assert torch.equal(read_checkpoint(tmp_path / "big.pt"), tensor)


def test_inert_modules_remember_everything(save: Save) -> None:
    read = read_checkpoint(save(torch.nn.Conv2d(3, 4, 3, stride=2)), inert=("torch.nn",))
    assert isinstance(read, InertObject)
    assert read.path == "torch.nn.modules.conv.Conv2d"
    assert read.get("stride") == (2, 2)
    assert read.get("_parameters")["weight"].shape == (4, 3, 3, 3)
    assert repr(read) == "<inert torch.nn.modules.conv.Conv2d object>"


def test_inert_names_match_whole_parts_only(write: Callable[..., Path]) -> None:
    data = b"cmodelsx.common\nConv\n."
    assert read_checkpoint(write(b"\x80\x02" + data), inert=("modelsx",)) == InertName("modelsx.common", "Conv")
    with pytest.raises(Exception, match=r"modelsx\.common\.Conv"):
        read_checkpoint(write(b"\x80\x02" + data), inert=("models",))


def test_inert_subclasses_of_containers(write: Callable[..., Path]) -> None:
    data = b"\x80\x02cfoo\nDict\n)\x81(K\x01K\x02uX\x01\x00\x00\x00s"  # a dict subclass with an item, and its state
    read = read_checkpoint(write(data + b"b."), inert=("foo.Dict",))
    assert read.entries == {1: 2}
    assert read.state == "s"
    listed = read_checkpoint(write(b"\x80\x02cfoo\nList\n)\x81(K\x01K\x02e."), inert=("foo",))
    assert listed.items == [1, 2]


def test_a_call_of_an_inert_function_is_recorded(write: Callable[..., Path]) -> None:
    read = read_checkpoint(write(b"\x80\x02cbuiltins\ngetattr\nK\x01K\x02\x86R."), inert=("builtins.getattr",))
    assert (read.path, read.args) == ("builtins.getattr", (1, 2))


@pytest.mark.parametrize("buffer", [2, 7, 64])
def test_old_files_are_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, buffer: int) -> None:
    value = {"text": "a" * 200, "weight": torch.arange(300), "list": [0.5, -1, "b" * 70]}
    torch.save(value, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    monkeypatch.setattr("adaptrt.checkpoint.legacy.BUFFER", buffer)
    monkeypatch.setattr("adaptrt.checkpoint.outline.BUFFER", buffer)
    found = read_checkpoint(tmp_path / "old.pt")
    assert torch.equal(found.pop("weight"), value["weight"])
    outline = read_facts(str(tmp_path / "old.pt")).content
    assert outline.pop("weight").shape == (300,)
    assert found == outline == {"text": value["text"], "list": value["list"]}
