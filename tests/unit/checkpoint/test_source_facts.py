"""What core reads from a source for recognizers: as data, without torch."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptrt import CheckpointError
from adaptrt.checkpoint import InertObject, TensorShape, read_facts


class Code:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_by_its_shapes(tmp_path: Path, zipped: bool) -> None:
    state = OrderedDict(weight=torch.zeros(2, 3), bias=torch.zeros(2))
    path = tmp_path / "best.pt"
    torch.save({"arch": "resnet18", "state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    facts = read_facts(str(path))
    assert facts.kind == "checkpoint"
    assert facts.tensors == {"weight": (2, 3), "bias": (2,)}
    assert facts.content["arch"] == "resnet18"
    assert facts.content["state_dict"]["bias"] == TensorShape((2,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_is_not_executed(tmp_path: Path, zipped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    path = tmp_path / "best.pt"
    torch.save({"model": net, "extra": Code()}, path, _use_new_zipfile_serialization=zipped)
    facts = read_facts(str(path))
    model = facts.content["model"]
    assert isinstance(model, InertObject)
    assert model.path == "torch.nn.modules.container.Sequential"
    assert {"torch.nn.modules.linear.Linear", "builtins.print"} <= facts.classes
    assert "executed" not in capsys.readouterr().out


def test_safetensors_and_the_config_beside_them(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"a": "b"}, "w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(16))
    (tmp_path / "model.json").write_text('{"architecture": "resnet18"}')
    facts = read_facts(str(path))
    assert (facts.kind, facts.tensors) == ("weights", {"w": (4,)})
    assert facts.config == {"architecture": "resnet18"}


def test_python_is_read_as_literals(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text(
        "_base_ = ['base.py']\nimport os\nraise SystemExit\nsize = 2 * 8\n"
        "model = dict(type='DETR', head=dict(size=size, queries=-1))\nclass Net: ...\ndef _own(): ...\n"
    )
    facts = read_facts(str(path))
    assert facts.kind == "python"
    assert facts.config == {"_base_": ["base.py"], "model": {"type": "DETR", "head": {"queries": -1}}}
    assert facts.definitions == ("Net",)


@pytest.mark.parametrize("text", ["x = (" * 5000, "x = 1\0", 'x = "', "{**{}}", "x: int"])
def test_python_that_cannot_be_read_gives_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.py"
    path.write_text(text)
    assert read_facts(str(path)).config == {}


@pytest.mark.parametrize(
    ("source", "kind"), [("resnet18", "name"), ("a.b:Net", "object"), ("a.b:Net.build", "object"), ("mmdet::x/y.py", "name")]
)  # fmt: skip
def test_names_and_objects(source: str, kind: str) -> None:
    assert read_facts(source).kind == kind


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02garbage", pickle.dumps({"a": 1}), b"<html>"])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_facts(str(path))


def test_a_missing_file_names_its_neighbor(tmp_path: Path) -> None:
    (tmp_path / "best.pt").touch()
    with pytest.raises(CheckpointError, match="not found") as caught:
        read_facts(str(tmp_path / "bset.pt"))
    assert "best.pt" in str(caught.value.hint)


def test_reading_imports_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    torch.save({"w": torch.zeros(1)}, path)
    code = f"import sys; from adaptrt.checkpoint import read_facts; read_facts({str(path)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
