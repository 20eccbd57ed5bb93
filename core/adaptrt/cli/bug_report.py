"""``adaptrt doctor --report``: what a bug report needs, in Markdown, without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptrt.errors import OutputError
from adaptrt.specs.variables import without_options
from adaptrt.store.workspace import written_aside

# of the environment, only these variables are reported, and only if they are set; no other value is read
VARIABLES = (
    "ADAPTRT_CACHE_SIZE", "CUDA_VISIBLE_DEVICES", "LANG", "LC_ALL", "NO_COLOR", "OMP_NUM_THREADS", "ORT_DISABLE_TELEMETRY",
    "YOLO_OFFLINE",
)  # fmt: skip
# set or not is enough: these can contain paths, addresses and credentials
PRESENCE = ("ADAPTRT_CACHE_DIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "HTTP_PROXY", "HTTPS_PROXY")

_URL_SECRET = re.compile(r"(?<=://)[^/\s@]+@")
_ASSIGNED_SECRET = re.compile(r"(?i)\b(\w*(?:token|secret|password|passwd|api_?key)\w*\s*[=:]\s*)\S+")


def write_bug_report(path: str, health: Mapping[str, Any]) -> None:
    """Write the report of this installation; an ``OutputError`` if that is not possible."""
    try:
        with written_aside(Path(path), parents=True) as aside:
            aside.write_text(bug_report(health), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"--report {path} cannot be written: {error.strerror}.", hint="Choose another file with --report."
        ) from error


def bug_report(health: Mapping[str, Any]) -> str:
    """The state of an installation, from what ``examine`` returns."""
    lines = ["## Environment", "", "| package | version |", "|---|---|"]
    lines += [f"| {name} | {version} |" for name, version in health["versions"].items() if version]
    gpus = [f"{gpu['name']}, driver {gpu['driver']}, {gpu['memory']}, sm {gpu['compute']}" for gpu in health["gpus"]]
    lines += ["", f"GPU: {'; '.join(gpus) or health['no_gpu']}", "", "## Plugins", ""]
    lines += [f"- {one['name']} ({one['distribution']} {one['version']})" for one in health["adapters"]] or ["- none"]
    lines += ["", "## Problems", ""]
    problems = [*health["broken"], *health["notes"]]
    problems += [f"{one['name']}: {problem}" for one in health["purposes"] for problem in one["missing"]]
    lines += [f"- {problem}" for problem in problems] or ["- none"]
    lines += ["", "## Variables", ""]
    lines += [f"- {name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    lines += [f"- {name}: {'set' if os.environ.get(name) else 'not set'}" for name in PRESENCE]
    lines += [f"- {name}: set" for name in sorted(os.environ.keys() - without_options(os.environ).keys())]
    lines += [
        "",
        "## What happened",
        "",
        "<!-- the command, and its output with --debug; for a conversion also the .report.json -->",
    ]
    return without_secrets("\n".join(lines) + "\n")


def without_secrets(text: str) -> str:
    """The text without home folders, user names in URLs, and values of anything called a token, secret or password."""
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~")
    return _ASSIGNED_SECRET.sub(r"\1***", _URL_SECRET.sub("***@", text))
