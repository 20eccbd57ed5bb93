"""The Python blocks of the extension's README run: Ray Data and Ray Serve with ``adaptrt.Predictor``."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doc_pages import ROOT, blocks_of
from patience import HANG

pytestmark = pytest.mark.full
PAGE = ROOT / "extensions" / "ray" / "README.md"
DATA, EXACT, SERVE = (block.text for block in blocks_of(PAGE) if block.language == "python")


def run(text: str, folder: Path, cluster: Any) -> str:
    """In a process of its own, on the cluster of the tests."""
    environment = {**os.environ, "RAY_ADDRESS": cluster.get_runtime_context().gcs_address}
    command = [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=HANG
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def folder(model: Path, images: Path, tmp_path: Path) -> Path:
    shutil.copy(model, tmp_path)
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images" / "000005.jpg").unlink()
    return tmp_path


def predicted(folder: Path) -> dict[str, Any]:
    """What ``adaptrt predict --json`` finds, by name of the image."""
    command = [sys.executable, "-m", "adaptrt", "predict", "best.onnx", "images", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return {Path(row["path"]).name: row["classes"] for row in json.loads(done.stdout)["images"]}


def written(folder: Path) -> dict[str, Any]:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Ray Data writes Parquet with pyarrow")
    rows = parquet.read_table(folder).to_pylist()
    assert not [row["error"] for row in rows if row["error"]]
    return {Path(row["path"]).name: json.loads(row["prediction"])["classes"] for row in rows}


def close(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """The same scores, by label."""
    assert set(found) == set(expected)
    for name, classes in expected.items():
        scores = {one["label"]: one["score"] for one in found[name]}
        assert scores == pytest.approx({one["label"]: one["score"] for one in classes}, abs=tolerance), name


def test_ray_data(cluster: Any, folder: Path) -> None:
    expected = predicted(folder)
    run(DATA, folder, cluster)
    close(written(folder / "results"), expected, 2 / 255)
    run(EXACT, folder, cluster)
    assert written(folder / "exact") == expected


def test_ray_serve(cluster: Any, folder: Path) -> None:
    pytest.importorskip("starlette", reason="needs Ray Serve: pip install 'ray[serve]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    expected = predicted(folder)
    assert "8123" in SERVE
    lines = run(SERVE.replace("8123", str(port)), folder, cluster).splitlines()
    by_handle, by_http = [json.loads(line) for line in lines if line.startswith(("[", "{"))]
    close({name: one["classes"] for name, one in zip(sorted(expected), by_handle, strict=True)}, expected, 1e-6)
    close({"000000.jpg": by_http["classes"]}, {"000000.jpg": expected["000000.jpg"]}, 1e-6)
