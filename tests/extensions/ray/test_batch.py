"""``adaptrt batch --executor ray``: the rows of the local executor, from actors on two CPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adaptrt.errors import ImageError, ModelError, PluginError, UsageError
from adaptrt.specs.executors import EXECUTORS, ExecutorOptions, ImageResult
from adaptrt_ray import RayOptions

pytestmark = pytest.mark.full


def run(*words: object, folder: Path | None = None) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "adaptrt", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stdout, done.stderr


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for part in sorted(folder.glob("part-*")) for line in part.read_text().splitlines()]


def test_rows_equal_those_of_the_local_executor(model: Path, images: Path, tmp_path: Path) -> None:
    """The command starts Ray, ends it, and continues a job of another executor."""
    words = ["batch", model, images.name, "--part-size", 8, "--set", "top_k=2", "--json"]
    code, out, err = run(
        *words, "-o", tmp_path / "ray", "--executor", "ray", "--executor-set", "images=4", folder=images.parent
    )
    assert (code, json.loads(out)["processed"], json.loads(out)["failed"]) == (4, 24, 1), err
    assert run(*words, "-o", tmp_path / "local", "--executor", "local", folder=images.parent)[0] == 4
    assert rows_in(tmp_path / "ray") == rows_in(tmp_path / "local")
    names = [sorted(path.name for path in (tmp_path / name).glob("part-*")) for name in ("ray", "local")]
    assert names[0] == names[1]

    next((tmp_path / "ray").glob("part-000001*")).unlink()
    code, out, err = run(*words, "-o", tmp_path / "ray", "--executor", "local", folder=images.parent)
    assert (code, json.loads(out)["processed"]) == (4, 8)
    assert rows_in(tmp_path / "ray") == rows_in(tmp_path / "local")


def test_every_source_has_a_row(
    cluster: Any, model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a file that is named in two ways, or whose name is not UTF-8."""
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))
    strange.write_bytes((images / "000001.jpg").read_bytes())
    monkeypatch.chdir(images)
    paths = [images / "000000.jpg", Path("000000.jpg"), strange]
    found = EXECUTORS.find("ray").run(model, paths, ExecutorOptions(own=RayOptions(actors=1)))
    assert cluster.is_initialized()
    assert {one.path: one.error for one in found} == dict.fromkeys(paths)


def test_warnings_and_errors_of_actors_are_passed_on(cluster: Any, model: Path, images: Path, tmp_path: Path) -> None:
    executor = EXECUTORS.find("ray")
    paths = sorted(images.iterdir())[:5]
    own = RayOptions(actors=2, images=2)
    found = {one.path: one for one in executor.run(model, paths, ExecutorOptions(own=own))}
    assert set(found) == set(paths)
    assert cluster.is_initialized(), "a Ray that was running keeps running"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="broken"):
        list(executor.run(broken, paths, ExecutorOptions(own=own)))


def test_closing_early_ends_the_job(cluster: Any, model: Path, images: Path) -> None:
    found = EXECUTORS.find("ray").run(
        model, sorted(images.iterdir()), ExecutorOptions(own=RayOptions(actors=1, images=1))
    )
    next(iter(found))
    found.close()  # type: ignore[attr-defined]
    assert cluster.is_initialized()


CRASHES = """
import os, signal
from pathlib import Path
from adaptrt import hookimpl
@hookimpl
def preprocess(image, spec):
    if image.shape[0] == 40:
        with open({log!r}, "a") as log:
            log.write("crash\\n")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_image_that_ends_its_actor_ends_the_job(cluster: Any, model: Path, images: Path, tmp_path: Path) -> None:
    """It is tried once more; by default, Ray Data would repeat it without end."""
    log = tmp_path / "log.txt"
    (tmp_path / "crashes.py").write_text(CRASHES.format(log=str(log)))
    plugins = tmp_path / "plugins.toml"
    plugins.write_text("[plugins]\nmodules = ['crashes.py']\n")
    options = ExecutorOptions(plugins_file=plugins, own=RayOptions(actors=1, images=4))
    with pytest.raises(PluginError, match="another one with the same images") as caught:
        list(EXECUTORS.find("ray").run(model, sorted(images.iterdir()), options))
    assert log.read_text().split() == ["crash", "crash"]
    assert "--executor processes" in str(caught.value.hint)


def test_results_have_the_paths_that_were_given() -> None:
    """Actors see absolute paths."""
    from adaptrt_ray.job import as_named

    absolute = Path("images/a.jpg").absolute()
    broken = ImageResult(path=absolute, error=ImageError(f"{absolute} is empty.", hint="Copy it."))
    found = as_named(broken, Path("images/a.jpg"))
    assert found.path == Path("images/a.jpg")
    assert found.error is not None
    assert (found.error.message, found.error.hint) == ("images/a.jpg is empty.", "Copy it.")


def test_invalid_options_are_named() -> None:
    with pytest.raises(UsageError, match="gpus=2 and actors=3 conflict"):
        RayOptions(gpus=2, actors=3)
    with pytest.raises(UsageError, match="images must be at least 1"):
        RayOptions(images=0)


def test_an_unreachable_cluster_is_named(model: Path, images: Path, tmp_path: Path) -> None:
    code, _, err = run("batch", model, images, "-o", tmp_path / "out", "--executor", "ray", "--address", "127.0.0.1:1")
    assert code == 3
    assert "Ray at 127.0.0.1:1 cannot be used" in err
