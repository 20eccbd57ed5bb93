"""What a conversion leaves outside of its own folders: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptrt.pipeline.environment import describe_environment, inductor_cache

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def test_torchs_compiler_caches_in_the_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with inductor_cache(tmp_path):
        assert Path(os.environ[VARIABLE]).parent == tmp_path
    assert VARIABLE not in os.environ


def test_or_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/mine")
    with inductor_cache(tmp_path):
        assert os.environ[VARIABLE] == "/mine"
    assert os.environ[VARIABLE] == "/mine"


def test_onnxruntime_leaves_no_session_file(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", "import adaptrt, onnxruntime"], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_framework_of_any_installed_plugin_is_described(fake_distribution: Callable[..., Path]) -> None:
    fake_distribution("Their.Framework", version="4.2")
    fake_distribution("not-needed", version="1.0")
    fake_distribution(
        "adaptrt-theirs",
        {"adaptrt.adapters": {"theirs": "theirs"}},
        version="0.7",
        requires=["adaptrt", "their-framework>=4", "missing>=1", "not-needed; sys_platform == 'plan9'"],
    )
    found = describe_environment()
    assert (found["their-framework"], found["adaptrt-theirs"]) == ("4.2", "0.7")
    assert not {"missing", "not-needed"} & set(found)
    assert {"python", "platform", "adaptrt", "numpy"} <= set(found)


def test_so_is_what_an_extra_of_a_backend_brings(fake_distribution: Callable[..., Path]) -> None:
    fake_distribution("their-runtime", version="5.1")
    fake_distribution("not-here", version="1.0")
    fake_distribution(
        "adaptrt-runs",
        {"adaptrt.backends": {"runs": "runs:BACKEND"}},
        requires=[
            "adaptrt",
            "their-runtime>=5; extra == 'runtime'",
            "not-here; sys_platform == 'plan9' and extra == 'runtime'",
        ],
    )
    found = describe_environment()
    assert (found["their-runtime"], found["adaptrt-runs"]) == ("5.1", "1.0")
    assert "not-here" not in found
