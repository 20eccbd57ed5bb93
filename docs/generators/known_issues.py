"""The page of known issues: a table of the data that ``adaptrt doctor`` uses."""

from __future__ import annotations

from adaptrt.graph.known_issues import Issue, known_issues

SOURCE = "core/adaptrt/graph/known_issues/known_issues.toml"
_INTRODUCTION = """
`adaptrt doctor FILE.onnx` names the issues that the operators of a file match, and every build names them before it starts.
The issues come from public threads. *Where* is what the thread reports: a range of versions without an upper bound means that
no fix is known. Other versions, GPUs and precisions may be affected too.

| operators | where | what happens, and what to do |
|---|---|---|
"""


def table() -> str:
    return _INTRODUCTION + "".join(f"{_row(issue)}\n" for issue in known_issues())


def _row(issue: Issue) -> str:
    conditions = [f"{key} {value}" for key, value in issue.attributes.items()]
    conditions += [f"input {position} {value}" for position, value in issue.constants.items()]
    conditions += [f"reads {issue.reads}"] if issue.reads else []
    conditions += [f"opset {issue.opset}"] if issue.opset else []
    conditions += [f"{issue.count} times"] if issue.count > 1 else []
    pattern = ", ".join([" → ".join(f"`{one}`" for one in issue.chain), *conditions])
    where = [issue.where, *([", ".join(issue.precision)] if issue.precision else [])]
    where += [f"sm {', '.join(issue.capability)}"] if issue.capability else []
    cells = (
        pattern,
        ", ".join([*where, issue.fixed]),
        f"{issue.symptom} {issue.advice} [{issue.name}]({issue.source})",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
