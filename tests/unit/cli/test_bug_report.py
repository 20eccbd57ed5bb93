"""``doctor --report``: complete, and without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from adaptrt.cli.bug_report import bug_report, without_secrets
from adaptrt.errors import OutputError

HEALTH: dict[str, Any] = {
    "versions": {"python": f"3.11.7 ({Path.home()}/.venv/bin/python)", "torch": "2.11.0", "tensorrt": None},
    "gpus": [],
    "no_gpu": "nvidia-smi not found",
    "adapters": [{"name": "swin", "distribution": "adaptrt-timm", "version": "0.1.0"}],
    "broken": ["adapter x: https://user:s3cret@example.org/simple fails; API_TOKEN=abc"],
    "notes": [],
    "purposes": [{"name": "Convert", "missing": ["onnx>=1.16 is missing"], "install": "pip install adaptrt"}],
}


def test_what_it_contains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("ADAPTRT_CONVERT_OUTPUT", "s3cret.onnx")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cret@proxy")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    text = bug_report(HEALTH)
    assert "| torch | 2.11.0 |" in text
    assert "tensorrt" not in text
    assert "- swin (adaptrt-timm 0.1.0)" in text
    assert "- Convert: onnx>=1.16 is missing" in text
    assert "- CUDA_VISIBLE_DEVICES=1" in text
    assert "- HTTPS_PROXY: set" in text
    assert "- ADAPTRT_CONVERT_OUTPUT: set" in text
    for secret in ("s3cret", "abc", str(Path.home()), "AWS"):
        assert secret not in text, secret


def test_secrets() -> None:
    assert without_secrets("git+https://me:pw@host/x") == "git+https://***@host/x"
    assert without_secrets("password: hunter2 next") == "password: *** next"
    assert without_secrets("max tokens 5") == "max tokens 5"


def test_it_is_written(adaptrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptrt.cli.health.examine", lambda: {**HEALTH, "broken": []})
    done = adaptrt("doctor", "--report", str(tmp_path / "report.md"))
    assert done.code == 0, done.err
    assert "report.md" in done.out
    assert (tmp_path / "report.md").read_text().startswith("## Environment")
    assert adaptrt("doctor", "--report", str(tmp_path / "new" / "report.md")).code == done.code
    assert (tmp_path / "new" / "report.md").is_file()
    failed = adaptrt("doctor", "--report", str(tmp_path / "report.md" / "report.md"))
    assert failed.code == OutputError.exit_code
    assert "with --report" in failed.err


def test_issue_templates_ask_for_it() -> None:
    folder = Path(__file__).parents[3] / ".github" / "ISSUE_TEMPLATE"
    for name in ("bug.yml", "model.yml"):
        form = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        (asked,) = (part for part in form["body"] if part["id"] == "environment")
        assert "adaptrt doctor --report" in asked["attributes"]["description"]
        assert asked["validations"]["required"] is True
