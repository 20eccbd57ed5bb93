"""What to do about a failed link 2, 3 or 4: the command that finds the first tensor that differs, or its result."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import AdaptrtError, OutputError
from adaptrt.pipeline.layers.request import EAGER, InputRequest
from adaptrt.request import NmsRequest

if TYPE_CHECKING:
    from adaptrt.pipeline.job import Job
    from adaptrt.pipeline.layers.records import LayerComparison
    from adaptrt.pipeline.layers.request import CompareRequest
    from adaptrt.request import Request

FOLDER = "unverified"
_WITHOUT = {
    "--diagnose": 0,
    **dict.fromkeys(
        ("--verify", "--require", "--data", "--data-images", "--data-limit", "--max-loss", "-o", "--output"), 1
    ),
}
"""Options of the failed job, with the number of their values, that do not fit a job without verification in another folder."""


@dataclass(frozen=True)
class Compared:
    """The files that a link compares; ``reference`` is ``None`` for the model itself. ``onnx``: what ``subject`` was built
    from, if it is not an ONNX file."""

    link: int
    reference: Path | None
    subject: Path
    onnx: Path | None = None


def diagnosis_command(job: Job) -> str:
    """Two commands: one writes the files of the failed job without verification, the other compares them."""
    words = _again(job)
    compared = job.compared
    if not words or compared is None:
        return ""
    folder = Path(FOLDER)

    def name(path: Path) -> str:
        """The path of a file once it is written; a file that is read stays where it is."""
        if path.parent != job.workdir:
            return str(path)
        final = next((name for name, staged in job.files.items() if staged == path), None)
        if final is None:  # staged after the last check
            reduced = job.report.files.get("reduced") is None and path.name.endswith(f".{job.precision.name}.onnx")
            final = job.destination.path(f".{job.precision.name}.onnx" if reduced else _suffix(path))
        return str(folder / final.name)

    files = [EAGER if compared.reference is None else name(compared.reference), name(compared.subject)]
    origin = _origin_flags(job.request) if compared.reference is None else []
    onnx = ["--onnx", name(compared.onnx)] if compared.onnx is not None else []
    image = ["--image", str(job.request.image)] if job.request.image is not None else []
    code = _code_flags(job.request)
    return f"{shlex.join(words)} && {shlex.join(['adaptrt', 'compare', *files, *onnx, *origin, *image, *code])}"


def diagnose(job: Job) -> LayerComparison:
    """Compare the tensors inside the files of a failed link, which are not written. Raises what ``compare`` raises."""
    from adaptrt.pipeline.layers.compare import compare

    return compare(_request(job), lambda text, done, total: job.observer.stage_progress(done, total, text))


def _request(job: Job) -> CompareRequest:
    from adaptrt.pipeline.layers.request import CompareRequest
    from adaptrt.pipeline.reference import Origin
    from adaptrt.specs.backends import OpenOptions

    compared, request = job.compared, job.request
    assert compared is not None
    origin = None
    if compared.reference is None:
        origin = Origin(request.adapter, request.source, request.weights, request.options, request.trust_checkpoint)
    return CompareRequest(
        files=(EAGER if compared.reference is None else str(compared.reference), str(compared.subject)),
        inputs=InputRequest(image=request.image, samples=max(1, len(job.samples)), seed=request.seed),
        origin=origin,
        onnx=compared.onnx,
        precision=job.precision.name if compared.onnx is not None else None,
        options=OpenOptions(
            custom_ops=request.ort_custom_ops,
            plugin_libs=tuple(map(Path, request.build.plugin_libs)),
            allow_host_code=True,
        ),
        plugins_file=request.plugins_file,
    )


def record_diagnosis(job: Job, error: AdaptrtError) -> None:
    """Add to a failure of link 2, 3 or 4 how to find where the difference starts, or what was found."""
    failure, compared = job.report.failure, job.compared
    if failure is None or compared is None or job.report.link(compared.link).status != "failed":
        return
    if not job.request.diagnose:
        command = diagnosis_command(job)
        if command:
            failure.command = command
            # on a separate line, so that it can be copied; more may be added to the hint
            error.hint = f"{error.hint or ''}\nTo find the first tensor that differs:\n{command}\n".lstrip()
        else:
            error.hint = f"{error.hint or ''} To find the first tensor that differs: diagnose=True".strip()
        failure.hint = error.hint
        return
    try:
        with job.timed("diagnosis"):
            failure.comparison = json.loads(diagnose(job).to_json())
    except (AdaptrtError, OSError) as found:
        reason = found.message if isinstance(found, AdaptrtError) else str(OutputError(str(found)))
        job.warn(f"The diagnosis failed: {reason}")


def _suffix(path: Path) -> str:
    from adaptrt.specs.backends import suffix_of

    found = suffix_of(path)
    return found[1] if found is not None else path.suffix


def _again(job: Job) -> list[str]:
    """The command line of the job, so that it writes its files without verifying them; empty for a call in Python."""
    try:
        words = shlex.split(job.report.command)
    except ValueError:
        return []
    if not words or words[0].startswith("adaptrt."):
        return []
    output = job.request.output
    name = output.name if output is not None and output != job.destination.folder else ""
    to = [] if job.writes_onnx else ["--to", ",".join(("onnx", *job.request.to))]
    return with_options(words, ["--verify", "none", "-o", f"{FOLDER}/{name}", *to])


def with_options(words: Sequence[str], added: Sequence[str]) -> list[str]:
    """A command line without the options that do not fit a job without verification, and with others.

    Of variables and a ``--config`` file, such options are ignored because of ``--verify none``.
    """
    kept: list[str] = []
    rest = list(words)
    while rest and rest[0] != "--":
        word = rest.pop(0)
        flag = word.partition("=")[0]
        if flag in _WITHOUT:
            del rest[: _WITHOUT[flag] if "=" not in word else 0]
            if kept[-1:] == ["--nms"]:  # the next word would be its value
                kept[-1] = f"--nms={NmsRequest().kind}"
        elif not (word.startswith("-o") and len(word) > 2):  # -oFILE
            kept.append(word)
    return [*kept, *added, *rest]


def _origin_flags(request: Request) -> list[str]:
    words = ["--adapter", request.adapter, "--source", request.source]
    words += ["--weights", str(request.weights)] if request.weights is not None else []
    for key, value in request.options.items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    words += ["--trust-checkpoint"] if request.trust_checkpoint else []
    return words + (["--plugins", str(request.plugins_file)] if request.plugins_file is not None else [])


def _code_flags(request: Request) -> list[str]:
    """The code that the files need: libraries, and that inside of an engine."""
    words: list[str] = []
    for flag, libraries in (("--ort-custom-ops", request.ort_custom_ops), ("--plugin-lib", request.build.plugin_libs)):
        words += [word for library in libraries for word in (flag, str(library))]
    return words + (["--allow-host-code"] if request.build.version_compatible else [])
