"""The manifest of a batch job, which decides whether a folder is continued."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from adaptrt.batch.manifest import NAME, manifest_of, open_job
from adaptrt.errors import UsageError


def test_a_folder_with_the_job(tmp_path: Path) -> None:
    (tmp_path / "best.model").write_bytes(b"model")
    manifest = manifest_of(tmp_path / "best.model", {}, [], form="json", part_size=3)
    assert not open_job(tmp_path, manifest)
    assert open_job(tmp_path, manifest)


@pytest.mark.parametrize("content", [b"", b'{"form": 1}', b'{"form": "\xff"}', b'{"other": ' + b"[" * 100_000])
def test_a_folder_whose_manifest_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.model").write_bytes(b"model")
    manifest = manifest_of(tmp_path / "best.model", {}, [], form="json", part_size=3)
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(UsageError, match="is not the manifest of a batch job"):
        open_job(tmp_path, manifest)


def test_a_model_whose_weights_are_missing(tmp_path: Path) -> None:
    """A job that is continued could not tell whether they are the same."""
    weights = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="weights.bin")
    output = onnx.helper.make_tensor_value_info("w", 1, [4])
    graph = onnx.helper.make_graph([], "net", [], [output], [weights])
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(UsageError, match=r"weights\.bin, which is missing"):
        manifest_of(path, {}, [], form="json", part_size=3)
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    assert list(manifest_of(path, {}, [], form="json", part_size=3).model) == ["net.onnx", "weights.bin"]
