"""The verdict on each file: verified, partly verified with what is missing, or not verified."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from adaptrt.errors import VerificationError
from adaptrt.report import ArtifactRecord, Finding, Link, Report, Verdict, Word

# an output is exercised if it varies by more than this many times what is accepted as equal
EXERCISED = 100.0
# by its limit in reduced precision; a constant in the middle of what varies by twice its limit would pass
EXERCISED_REDUCED = 2.0
# of the integers of an output, the most that rounding may decide: what is not compared is not verified
MOST_IGNORED = 0.01

_ORDER: tuple[Word, ...] = ("verified", "partly verified", "not verified")
# findings after which the file may be wrong for other inputs
_OF_SAMPLES = ("samples", "held back", "file")  # kinds of checks whose limits are those of single samples
_UNDECIDED = ("traced-value", "traced-size", "state-written", "random-numbers")


def record_verdicts(report: Report, *, from_model: bool = True) -> None:
    """Give every file that holds the model its verdict, and the report that of the least verified one.

    ``from_model``: links to the model itself apply; a build has an ONNX file as its reference.
    """
    built = {record.name: record for record in report.artifacts}
    verdicts = []
    for kind, file in report.files.items():
        if kind not in ("onnx", "reduced") and kind not in built:
            continue
        file.verdict = _verdict_of(report, kind, built.get(kind), from_model=from_model)
        verdicts.append(file.verdict)
    report.verdict = max(verdicts, key=lambda verdict: _ORDER.index(verdict.word), default=Verdict("not verified"))


def require_verdict(report: Report, required: str) -> None:
    """Reject a verdict other than ``required``; ``""`` accepts any."""
    if not required or report.verdict is None or report.verdict.word == required:
        return
    raise VerificationError(
        f"The result is {report.verdict.word}, but --require {required} is set.",
        hint=f"Missing: {'; '.join(one.rstrip('.') for one in report.verdict.missing)}."
        if report.verdict.missing
        else "No model file was written.",
    )


def _verdict_of(report: Report, kind: str, built: ArtifactRecord | None, *, from_model: bool) -> Verdict:
    needed = _needed_links(report, kind, built, from_model=from_model)
    if all(link.status == "not run" for link in needed):
        graph = report.link(3)  # of what was built, if it was built in a reduced precision
        if built is None or graph.status != "passed":
            return Verdict("not verified", _not_run(needed))
        needed.append(graph)
    missing = _not_run([link for link in needed if link.status == "not run"])
    missing += [f"link {link.number}: {link.shortcoming}" for link in needed if link.shortcoming]
    missing += [
        f"{one.name} does not vary enough over the samples: a constant output would also pass"
        for one in report.exercise
        if one.ratio <= EXERCISED
    ]
    if kind != "onnx" and report.link(5).status != "passed":
        missing += [
            f"{one.name} varies by only {one.reduced:.2g} times its limit in the reduced precision: a constant output would also pass"
            for one in report.exercise
            if one.reduced is not None and one.reduced <= EXERCISED_REDUCED
        ]
    widened = _widened(report)
    missing += [
        f"{one.name} varies by only {one.ratio / widened[one.name]:.3g} times its limit, which was widened because rounding "
        "errors of the model itself exceed it"
        for one in report.exercise
        if one.ratio > EXERCISED >= one.ratio / widened.get(one.name, 1.0)
    ]
    missing += [
        f"{name}: {100 * share:.2g} % of its integers differ and do not count, since the model's own rounding errors change them"
        for name, share in _ignored([report.link(link.number) for link in needed], built).items()
        if share > MOST_IGNORED
    ]
    if report.link(0).status != "passed":
        missing += [finding.message for finding in report.findings if finding.rule == "rebuilt"]
    missing += [
        _undecided(finding) for finding in report.findings if finding.rule in _UNDECIDED and not finding.exercised
    ]
    return Verdict("partly verified" if missing else "verified", missing)


def _widened(report: Report) -> dict[str, float]:
    """For each output group, the largest factor by which its limit was multiplied."""
    found: dict[str, float] = {}
    for check in (check for link in report.links for check in link.checks if check.kind in _OF_SAMPLES):
        found[check.name] = max(check.widened, found.get(check.name, 1.0))
    return found


def _ignored(needed: Sequence[Link], built: ArtifactRecord | None) -> dict[str, float]:
    """For each output group, the largest fraction of integers that differ and do not count, in the links of this file."""
    found: dict[str, float] = {}
    for check in (check for link in needed for check in link.checks):
        if not check.artifact or (built is not None and check.artifact == built.name):
            found[check.name] = max(check.ignored, found.get(check.name, 0.0))
    return found


def _needed_links(report: Report, kind: str, built: ArtifactRecord | None, *, from_model: bool) -> list[Link]:
    numbers = []
    if from_model:
        image = report.spec is not None and report.spec.image is not None
        numbers = [*([0, 5] if image else []), *([1] if report.patches or report.link(1).checks else []), 2]
    if kind == "reduced":
        numbers.append(3)
    links = [report.link(number) for number in sorted(numbers)]
    if built is not None:
        links.append(Link(4, report.link(4).name, built.status, built.reason, shortcoming=built.shortcoming))
    return links or [report.link(2)]


def _not_run(links: Collection[Link]) -> list[str]:
    """One clause for all links that share a reason."""
    reasons: dict[str, list[int]] = {}
    for link in links:
        reasons.setdefault(link.reason, []).append(link.number)
    return [f"{_listed(numbers)} did not run: {reason or 'no reason given'}" for reason, numbers in reasons.items()]


def _listed(numbers: Sequence[int]) -> str:
    """``link 3``, ``links 0, 1 and 5``."""
    *first, last = map(str, numbers)
    return f"links {', '.join(first)} and {last}" if first else f"link {last}"


def _undecided(finding: Finding) -> str:
    lines = ", ".join(f"{place.file}:{place.line}" for place in finding.places[:3])
    return f"{finding.message}{f' ({lines})' if lines else ''}"
