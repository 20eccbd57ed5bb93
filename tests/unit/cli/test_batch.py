"""``adaptrt batch``: results of predict in parts; a job that was killed is continued, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from patience import HANG

from adaptrt.batch.parts import find_parts, write_part
from adaptrt.batch.processes import ProcessExecutor, ProcessOptions
from adaptrt.specs.executors import ExecutorOptions

Converted = Callable[[str], Path]


def copies(image: Path, folder: Path, count: int, *, broken: Sequence[int] = ()) -> list[Path]:
    """Images of several sizes; those in ``broken`` cannot be read."""
    from adaptrt.vision.images import encode_image, read_image

    folder.mkdir(exist_ok=True)
    whole = read_image(image)
    files = [encode_image(whole[: 96 - 8 * index, : 128 - 5 * index], ".png") for index in range(5)]
    paths = [folder / f"{index:05d}.png" for index in range(count)]
    for index, path in enumerate(paths):
        path.write_bytes(b"broken" if index in broken else files[index % 5])
    return paths


def rows_in(folder: Path) -> list[dict[str, Any]]:
    parts, warnings = find_parts(folder)
    assert not warnings
    return [row for index in sorted(parts) for row in parts[index].read()]


def test_rows_are_those_of_predict(adaptrt: Any, converted: Converted, image: Path, tmp_path: Path) -> None:
    model, images = converted("detector"), copies(image, tmp_path / "images", 5, broken=[3])
    expected = adaptrt("predict", model, tmp_path / "images", "--conf", "0.4", "--json").json["images"]
    expected = [{key: value for key, value in row.items() if key not in ("milliseconds", "output")} for row in expected]
    words = ("batch", model, tmp_path / "images", "-o", tmp_path / "results", "--conf", "0.4", "--part-size", "2")
    result = adaptrt(*words, "--executor-set", "workers=2")
    assert result.code == 4, result.err
    assert "5 rows in 3 parts; 5 images processed" in result.out
    assert "Failed: 1 of 5 images. --retry-failed" in result.err
    rows = rows_in(tmp_path / "results")
    assert [row["path"] for row in rows] == [str(path) for path in images]
    assert sorted(rows, key=str) == sorted(expected, key=str)

    again = adaptrt(*words, "--executor", "local", "--json")
    assert again.json["processed"] == 0, "nothing is left"
    assert "changed after" not in again.err
    images[0].write_bytes(images[1].read_bytes())
    assert "1 image changed after the results were written (first: " in adaptrt(*words, "--executor", "local").err
    images[3].write_bytes(images[2].read_bytes())
    retried = adaptrt(*words, "--executor", "local", "--retry-failed", "--json")
    assert (retried.code, retried.json["processed"], retried.json["failed"]) == (0, 1, 0)
    assert rows_in(tmp_path / "results")[3]["detections"] == rows[2]["detections"]
    assert len(list((tmp_path / "results").glob("part-*"))) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("options", "params was {} and is {'conf': '0.6'}"),
        ("model", "the model differs (detector.onnx)"),
        ("more", "it has 3 images, not 4"),
        ("manifest", "but no job.json"),
        ("other", "the list of images differs"),
        ("parts", "the part size was 2 and is 3"),
        ("plugins", "plugins was {'plugins.toml': "),
    ],
)
def test_another_job_is_not_resumed(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path, change: str, said: str
) -> None:
    model, images = converted("detector"), copies(image, tmp_path / "images", 3)
    words = ["batch", model, tmp_path / "images", "-o", tmp_path / "results", "--executor", "local", "--part-size", 2]
    if change == "plugins":
        (tmp_path / "plugins.toml").write_text("# none\n")
        words = [*words[:-2], "--plugins", tmp_path / "plugins.toml", *words[-2:]]
    assert adaptrt(*words).code == 0
    before = rows_in(tmp_path / "results")
    if change == "plugins":
        (tmp_path / "plugins.toml").write_text("# none either\n")
    elif change == "options":
        words += ["--conf", "0.6"]
    elif change == "model":
        onnx = pytest.importorskip("onnx", reason="changes the file")
        changed = onnx.load(str(model))
        changed.doc_string = "another"
        onnx.save(changed, str(model))
    elif change == "more":
        copies(image, tmp_path / "images", 4)
    elif change == "manifest":
        (tmp_path / "results" / "job.json").unlink()
    elif change == "other":
        images[0].rename(tmp_path / "images" / "other.png")
    else:
        words[-1] = 3
    result = adaptrt(*words)
    assert result.code == 2
    assert said in result.err
    assert rows_in(tmp_path / "results") == before


def test_lists_and_missing_images(adaptrt: Any, converted: Converted, image: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# two\nimage.png\nmissing.png\n\nimage.png\n")
    model = converted("classifier")
    words = ["batch", model, tmp_path / "list.txt", "-o", tmp_path / "results", "--executor", "local"]
    assert adaptrt(*words).code == 4
    predicted = adaptrt("predict", model, tmp_path / "list.txt", "--json")
    assert predicted.code == 4
    assert [row["path"] for row in predicted.json["images"]] == [row["path"] for row in rows_in(tmp_path / "results")]
    first, second = rows_in(tmp_path / "results")
    assert first["path"] == str(image)
    assert first["classes"]
    assert "not found" in second["error"]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_name_that_is_not_utf8_does_not_end_the_job(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path, form: str
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet requires pyarrow")
    folder = tmp_path / "images"
    folder.mkdir()
    for name, content in ((b"\xffgood.png", image.read_bytes()), (b"\xfebroken.png", b"broken")):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    model, results = converted("classifier"), tmp_path / "results"
    result = adaptrt("batch", model, folder, "-o", results, "--executor", "local", "--format", form)
    assert result.code == 4, result.err
    broken, good = rows_in(results)
    assert good["path"] == rf"{folder}/\xffgood.png"
    assert r"\xfebroken.png" in broken["error"]
    predicted = adaptrt("predict", model, folder, "--json")
    assert {row["path"] for row in predicted.json["images"]} == {good["path"], broken["path"]}


def test_a_damaged_part_is_computed_again(adaptrt: Any, converted: Converted, image: Path, tmp_path: Path) -> None:
    copies(image, tmp_path / "images", 4)
    words = ["batch", converted("detector"), tmp_path / "images", "-o", tmp_path / "results", "--executor", "local", "--part-size", 2]  # fmt: skip
    assert adaptrt(*words).code == 0
    before = rows_in(tmp_path / "results")
    part = min((tmp_path / "results").glob("part-*"))
    part.write_bytes(part.read_bytes()[:-9])
    (tmp_path / "results" / ".part-000001.0-2-00.jsonl.aside").write_text("half")
    result = adaptrt(*words, "--json")
    assert "is damaged" in result.err
    assert result.json["processed"] == 2
    assert rows_in(tmp_path / "results") == before
    assert not list((tmp_path / "results").glob(".part*"))


def test_an_interrupted_job_says_how_to_continue(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adaptrt.batch.run.run_batch", interrupted)
    result = adaptrt("batch", converted("detector"), image, "-o", tmp_path / "job")
    assert result.code == 130
    assert f"Completed parts are in {tmp_path / 'job'}. Repeat the command to continue." in result.err


def test_of_two_generations_the_later_one_counts(tmp_path: Path) -> None:
    """A run that retries failed images can be killed between writing a part and removing the earlier one."""
    for generation in (9, 10, 2):
        write_part(tmp_path, 0, generation, [{"path": "a", "error": str(generation)}], "jsonl")
    (row,) = rows_in(tmp_path)
    assert row["error"] == "10"
    assert len(list(tmp_path.glob("part-*"))) == 1


def test_parquet_holds_the_same_rows(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet requires pyarrow")
    rows = [{"path": "a", "height": 3, "width": 4, "detections": [{"box": [0.1, 2.0]}]}, {"path": "b", "error": "no"}]
    assert write_part(tmp_path, 0, 0, rows, "parquet").read() == rows
    assert rows_in(tmp_path) == rows


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="the worker is ended by a signal")
def test_an_image_that_ends_its_worker_is_a_row(
    converted: Converted, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading one image kills the process, as a fault in a decoder does; the others are answered."""
    images = copies(image, tmp_path / "images", 6)
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def hook(event, args):\n"
        "    if event == 'open' and str(args[0]).endswith('00002.png'): os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(hook)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = ExecutorOptions(own=ProcessOptions(workers=1))
    found = {one.path: one for one in ProcessExecutor().run(converted("detector"), images, options)}
    assert set(found) == set(images)
    assert [path.name for path, one in found.items() if one.error is not None] == ["00002.png"]
    assert "signal 9" in found[images[2]].error.message  # type: ignore[union-attr]


def killed_until_done(command: list[str], folder: Path, kills: int, count: int, seed: int) -> Iterator[int]:
    """Run a job, kill it with SIGKILL after random numbers of parts, and at last let it finish; yields rows after each run."""
    draw = random.Random(seed)
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        enough = len(list(folder.glob("part-*"))) + draw.randint(1, 2)
        end = time.monotonic() + HANG
        while len(list(folder.glob("part-*"))) < enough and process.poll() is None and time.monotonic() < end:
            time.sleep(draw.uniform(0.001, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        yield len(rows_in(folder))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield len(rows_in(folder))


@pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL")
@pytest.mark.full
@pytest.mark.parametrize(("count", "part", "kills"), [(40, 4, 1), (2000, 50, 3)], ids=["small", "large"])
def test_killed_jobs_lose_and_double_nothing(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path, count: int, part: int, kills: int
) -> None:
    model, images = converted("detector"), copies(image, tmp_path / "images", count)
    folder = tmp_path / "results"
    command = [sys.executable, "-m", "adaptrt", "batch", model, tmp_path / "images", "-o", folder, "--part-size", part]
    folder.mkdir()
    rows = list(killed_until_done(list(map(str, command)), folder, kills, count, seed=count))
    assert rows == sorted(rows)
    assert 0 < rows[0] < count
    found = rows_in(folder)
    assert Counter(row["path"] for row in found) == Counter(map(str, images))
    whole = tmp_path / "whole"
    assert (
        adaptrt("batch", model, tmp_path / "images", "-o", whole, "--part-size", part, "--executor", "local").code == 0
    )
    assert found == rows_in(whole)
    assert sorted(path.name for path in folder.glob("part-*")) == sorted(path.name for path in whole.glob("part-*"))


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_workers_end_with_a_killed_job(converted: Converted, image: Path, tmp_path: Path) -> None:
    copies(image, tmp_path / "images", 4000)
    command = [sys.executable, "-m", "adaptrt", "batch", converted("detector"), tmp_path / "images", "-o", tmp_path / "results", "--part-size", "4", "--executor-set", "workers=2"]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + HANG
    while not list((tmp_path / "results").glob("part-*")) and time.monotonic() < end:
        time.sleep(0.02)
    children = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(children) >= 2
    process.kill()
    process.wait()
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_options_that_the_executor_lacks_are_named(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path
) -> None:
    result = adaptrt("batch", converted("classifier"), image, "-o", tmp_path / "results", "--gpus", 2)
    assert result.code == 2
    assert "The executor 'processes' has no option 'gpus'." in result.err


def test_the_executor_that_has_the_option_is_named(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path
) -> None:
    words = ("--executor", "local", "--executor-set", "workers=2")
    result = adaptrt("batch", converted("classifier"), image, "-o", tmp_path / "results", *words)
    assert result.code == 2
    assert "--executor processes" in result.err


def test_jobs_do_not_run_twice_at_the_same_time(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path
) -> None:
    from filelock import FileLock

    from adaptrt.batch.run import LOCK

    (tmp_path / "results").mkdir()
    with FileLock(tmp_path / "results" / LOCK):
        result = adaptrt("batch", converted("detector"), image, "-o", tmp_path / "results", "--executor", "local")
    assert result.code == 2
    assert "Another process" in result.err


def test_values_are_json_numbers(tmp_path: Path) -> None:
    write_part(tmp_path, 0, 0, [{"path": "é\n", "values": {"y": [0.1]}}], "jsonl")
    assert json.loads(next(tmp_path.glob("part-*")).read_text(encoding="utf-8"))["values"] == {"y": [0.1]}
