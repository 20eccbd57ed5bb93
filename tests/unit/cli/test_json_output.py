"""What commands print with ``--json`` follows the schemas of the package, and so do the TOML files.

The fixture ``adaptrt`` checks every output of every test here against its schema, which must name each key.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command_tree import leaves
from json_outputs import output_of, require_documented, schema, validator

from adaptrt.cli.json_output import OUTPUTS
from adaptrt.cli.output import echo_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

Converted = Callable[[str], Path]


@pytest.mark.parametrize("name", leaves())
def test_every_command_has_a_schema(name: str) -> None:
    assert validator(output_of([*name.split(), "--json"]).name, closed=True)


def test_an_undocumented_key_is_found() -> None:
    require_documented(["completion"], '{"version": 1, "shell": "bash", "script": ""}')
    for wrong in ('{"version": 1, "shell": "bash"}', '{"version": 1, "shell": "bash", "script": "", "more": 1}'):
        with pytest.raises(AssertionError, match="completion.json"):
            require_documented(["completion"], wrong)


def test_infinity_and_nan_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"a": [float("inf"), {"b": float("nan")}], "c": (1.5,)})
    assert json.loads(capsys.readouterr().out) == {"version": 1, "a": [None, {"b": None}], "c": [1.5]}


def test_commands_without_a_model(adaptrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text('[[models]]\nsource = "a.pt"\n[axes]\nimgsz = [320, 640]\n')
    for words in (
        ["adapters", "--all"],
        ["cache", "ls"],
        ["cache", "prune"],
        ["completion", "bash"],
        ["plugins"],
        ["new-adapter", "mynet"],
        ["sweep", "sweep.toml", "--dry-run"],
    ):
        result = adaptrt(*words, "--json")
        assert result.code == 0, result.err
        assert result.json["version"] == 1
    failed = adaptrt("inspect", "nothing.onnx", "--json")
    assert (failed.code, failed.json["error"]["kind"]) == (4, "ModelError")


@pytest.mark.full
def test_commands_on_a_model(adaptrt: Any, converted: Converted, image: Path) -> None:
    file = converted("detector")
    for words in (
        ["inspect", file],
        ["inspect", file, "--graph"],
        ["inspect", file, "--graph", "svg"],
        ["lint", file],
        ["predict", file, image],
        ["predict", file, image, "missing.png"],
        ["package", "runtime", file, "-o", "package"],
    ):
        result = adaptrt(*words, "--json")
        assert result.code in (0, 4), result.err
        assert '"version": 1' in result.out
    assert adaptrt("predict", file, image, "--stream").out.startswith('{"version": 1')


@pytest.mark.full
def test_further_commands_on_a_model(adaptrt: Any, converted: Converted, image: Path, tiny: str) -> None:
    file = converted("detector")
    for words in (
        ["doctor", file],
        ["run", file],
        ["clean", file, "-o", "clean.onnx", "--no-simplify"],
        ["compare", file, file],
        ["bench", file, "--seconds", "0.02", "--turns", "2"],
        ["batch", file, image, "-o", "job"],
        ["build", file, "--to", "onnx", "--fp16", "--verify", "none"],
        ["quantize", file, "--calib", image.parent / "*.png", "--quantize-also", "Conv"],
        ["convert", "detector", "-a", tiny, "--dry-run"],
        ["convert", "detector", "-a", tiny, "--dry-run", "-v"],
        ["convert", "detector", "-a", tiny, "--image", image, "--fp16", "--to", "onnx"],
        ["convert", "broken", "-a", tiny],
        ["new-extension", "watch"],
        ["new-backend", "clock"],
    ):
        result = adaptrt(*words, "--json")
        assert result.code in (0, 4, 9), result.err
        assert '"version": ' in result.out, result.err


def test_a_conversion_file_follows_its_schema(adaptrt: Any, converted: Converted, tiny: str) -> None:
    converted("detector")
    wrong, right = Path("wrong.toml"), Path("right.toml")
    right.write_text(
        'source = "detector"\nadapter = "tiny"\nbatch = 4\nsimplify = false\nkeep-fp32 = ["/head"]\nverify = "none"\n'
        '[set]\npatched = false\n[shape]\nimages = ["1..4x3x64x64"]\n[versions]\nadaptrt-tiny = "0.3"\n'
    )
    content = tomllib.loads(right.read_text())
    check = validator("conversion.toml", closed=False)
    check.validate(content)
    for key, value in (("presicion", "fp16"), ("trust-checkpoint", True), ("verify", "some"), ("simplify", "no")):
        wrong.write_text(f"{key} = {json.dumps(value)}\n")
        assert list(check.iter_errors({key: value})), key
        assert adaptrt("convert", "--config", wrong, "detector", "-a", tiny, "--dry-run").code == 2


@pytest.mark.full
def test_the_file_of_a_report_follows_it(adaptrt: Any, tiny: str, image: Path) -> None:
    words = ("--batch", "1:2:4", "--fp16", "--to", "onnx", "--keep-fp32", "/head.*", "--set", "patched=false")
    report = adaptrt("convert", "detector", "-a", tiny, "--image", image, *words, "--json").json
    validator("conversion.toml", closed=False).validate(tomllib.loads(report["conversion"]))


def test_a_sweep_file_follows_its_schema(adaptrt: Any, tmp_path: Path) -> None:
    check = validator("sweep.toml", closed=False)
    path = tmp_path / "sweep.toml"
    models = [{"source": "a.pt", "name": "a"}, {"source": "b.pt", "adapter": "yolov5"}]
    check.validate({"options": {"verify": "quick"}, "models": models, "axes": {"precision": ["fp32", "fp16"]}})
    for wrong in (
        {"models": []},
        {"models": [{"name": "a"}]},
        {"models": models, "options": {"presicion": "fp16"}},
        {"models": models, "axes": {"presicion": ["fp16"]}},
        {"models": models, "axes": {"precision": "fp16"}},
        {"models": models, "options": {"output": "x"}},
        {"models": models, "table": {}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check.validate(wrong)
        # JSON's values are TOML's, written inline
        path.write_text("\n".join(f"{key} = {_toml(value)}" for key, value in wrong.items()))
        result = adaptrt("sweep", path, "--dry-run")
        assert result.code == 2, result.out
        assert len(result.err.strip().splitlines()) <= 2


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


@pytest.mark.full
def test_serve_prints_its_address(converted: Converted) -> None:
    command = [sys.executable, "-m", "adaptrt", "serve", str(converted("detector")), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1].strip() != "}":
            lines.append(process.stdout.readline())
        process.terminate()
    require_documented(["serve"], "".join(lines))


@pytest.mark.full
def test_schemas_are_valid_and_versioned() -> None:
    for one in OUTPUTS:
        if one.name == "error":  # with a report: that of the report
            continue
        found = schema(one.name)
        jsonschema.Draft202012Validator.check_schema(found)
        assert found["properties"]["version"] == {"const": one.version}
        assert "version" in found["required"]
