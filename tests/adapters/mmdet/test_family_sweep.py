"""The table of mmdet's families: ``adaptrt sweep`` runs the conversions, and its reports become the rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adaptrt.cli.config_file import options_by_name
from adaptrt.cli.convert import convert
from adaptrt.conversion_file import read_conversion
from adaptrt.sweep.plan import cells_of

pytest.importorskip("onnxruntime", reason="a conversion needs onnxruntime")
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the package ``benchmarks`` importable."""
    monkeypatch.syspath_prepend(str(ROOT))


def test_every_folder_is_a_conversion_of_the_sweep(tmp_path: Path) -> None:
    from benchmarks.common.sweeps import sweep_text
    from benchmarks.detectors.family_sweep import OPTIONS, settings
    from benchmarks.detectors.family_table import load

    entries = {name: entry for name, entry in load()["folders"].items() if entry["verdict"] != "no model"}
    models = [
        {"name": name, "source": entry["config"], "adapter": "mmdet", **settings(name, entry)}
        for name, entry in entries.items()
    ]
    file = tmp_path / "sweep.toml"
    file.write_text(sweep_text(OPTIONS, models, {"exporter": ["torchscript", "dynamo"]}))
    cells = cells_of(read_conversion(file), "sweep.toml")
    assert len(cells) == 2 * len(entries) > 200
    assert {key for cell in cells for key in cell.options} <= set(options_by_name(convert))
    by_name = {cell.name: cell.options for cell in cells}
    assert by_name["ssd-dynamo"]["imgsz"] == "300x300"
    assert by_name["ssd-dynamo"]["cache"] is False
    assert by_name["faster_rcnn-dynamo"]["set"]["cfg.model.test_cfg.rcnn.max_per_img"] == "40"
    assert by_name["dcn-torchscript"]["opset"] == 19


@pytest.mark.full
def test_the_table_is_made_from_a_sweep(tmp_path: Path) -> None:
    """A detector at its own size, and one that the adapter refuses: prepared, converted by the command, and taken into the result."""
    from benchmarks.detectors.family_table import RESULT, load, verdict

    (result := tmp_path / "result.json").write_text(json.dumps(load()))
    root = tmp_path / "sweep of families"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)

    done = run("benchmarks.detectors.families", "--prepare", str(root), "ssd", "solo", "--into", str(result))
    assert done.returncode == 0, done.stderr
    swept = run("adaptrt", "sweep", str(root / "sweep.toml"), "-o", str(root / "sweep"))
    assert swept.returncode == 9, swept.stderr  # one of the two is refused
    taken = run("benchmarks.detectors.families", "--take", str(root), "--into", str(result))
    assert taken.returncode == 0, taken.stderr
    kept, published = (json.loads(path.read_text()) for path in (result, RESULT))
    ssd, solo = (kept["folders"][name]["converted"] for name in ("ssd", "solo"))
    assert ssd["links"] == dict.fromkeys(("0", "1", "2", "5"), "passed"), ssd
    assert ssd["boxes"] >= 10
    assert ssd["size"] == [300, 300]
    assert ssd["nodes"] > 50
    assert ssd["machine"]["mmdet"]
    assert verdict("ssd", kept)[0] == "compared"
    assert solo["stage"] == "load"
    assert solo["reason"] == published["folders"]["solo"]["reason"]
    others = {name: entry for name, entry in kept["folders"].items() if name not in ("ssd", "solo")}
    assert all(published["folders"][name] == entry for name, entry in others.items())
