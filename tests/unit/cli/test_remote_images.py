"""``adaptrt batch`` and ``predict`` on images in S3 buckets and at web addresses."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="s3:// requires pyarrow")

from s3_server import s3_environment

pytestmark = pytest.mark.full


@pytest.fixture
def bucket(image: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    names = ("a.png", "b.png", "more/c.png")
    with s3_environment({f"data/set/{name}": image.read_bytes() for name in names}, monkeypatch, tmp_path) as objects:
        yield objects


def test_batch_reads_buckets_and_web_addresses(
    bucket: dict[str, bytes], adaptrt: Any, converted: Any, tmp_path: Path
) -> None:
    """The rows of the same files on this machine; what disappears is a row with its error, tried again with ``--retry-failed``."""
    (tmp_path / "web").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "web" / name).write_bytes(bucket[f"data/set/{name}"])
    handler = functools.partial(_Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        bucket["data/set/b.png"] = b"broken"
        words = ["batch", converted("classifier"), "s3://data/set/*.png", f"{url}/a.png", f"{url}/none.png", tmp_path / "web" / "b.png", "-o", tmp_path / "out", "--part-size", 2]  # fmt: skip
        result = adaptrt(*words, "--executor", "local", "--json")
        assert (result.code, result.json["rows"], result.json["failed"]) == (4, 5, 2), result.err
        rows = rows_in(tmp_path / "out")
        assert [row["path"] for row in rows] == ["s3://data/set/a.png", "s3://data/set/b.png", f"{url}/a.png", f"{url}/none.png", str(tmp_path / "web" / "b.png")]  # fmt: skip
        assert "s3://data/set/b.png is not an image" in rows[1]["error"]
        assert "HTTP 404" in rows[3]["error"]
        assert rows[0]["classes"] == rows[2]["classes"] == rows[4]["classes"]

        bucket["data/set/b.png"] = bucket["data/set/a.png"]
        retried = adaptrt(*words, "--executor", "local", "--retry-failed", "--json")
        assert (retried.json["processed"], retried.json["failed"]) == (2, 1)
        server.shutdown()
        thread.join()


def test_worker_processes_read_buckets(bucket: dict[str, bytes], adaptrt: Any, converted: Any, tmp_path: Path) -> None:
    words = ["batch", converted("classifier"), "s3://data/set/**/*.png", "-o", tmp_path / "out"]
    result = adaptrt(*words, "--executor-set", "workers=2", "--json")
    assert (result.code, result.json["rows"]) == (0, 3), result.err


def test_predict_reads_buckets(bucket: dict[str, bytes], adaptrt: Any, converted: Any, tmp_path: Path) -> None:
    result = adaptrt("predict", converted("classifier"), "s3://data/set/", "--json")
    assert result.code == 0, result.err
    assert [row["source"] for row in result.json["images"]] == ["s3://data/set/a.png", "s3://data/set/b.png"]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for part in sorted(folder.glob("part-*")) for line in part.read_text().splitlines()]
