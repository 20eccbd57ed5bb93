"""Which known issues a graph has on a platform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from adaptrt.graph.known_issues.issues import Issue, known_issues
from adaptrt.onnxfile.operators import operator_name


@dataclass(frozen=True)
class Platform:
    """Where a graph is built. Empty or ``None``: not known, so that issues with any value of it match."""

    product: str = "tensorrt"
    version: str = ""
    capability: str = ""
    precision: str = ""


def matching_issues(model: ir.Model, platform: Platform) -> list[tuple[Issue, list[str]]]:
    """The issues of the platform whose pattern is in the graph, each with the names of the nodes where it begins."""
    found = []
    for issue in known_issues():
        if not concerns(issue, platform) or not _opset_fits(issue, model):
            continue
        nodes = [node for node in model.graph.all_nodes() if _begins(issue, node)]
        if len(nodes) >= issue.count:
            found.append((issue, [node.name or node.op_type for node in nodes]))
    return found


def concerns(issue: Issue, platform: Platform) -> bool:
    """Whether an issue concerns a platform, as far as that is known."""
    return (
        issue.product == platform.product
        and (not platform.version or Version(platform.version) in issue.versions)
        and (not platform.capability or not issue.capability or platform.capability in issue.capability)
        and (not platform.precision or not issue.precision or platform.precision in issue.precision)
    )


def _opset_fits(issue: Issue, model: ir.Model) -> bool:
    opset = model.graph.opset_imports.get("", 0)
    return not issue.opset or Version(str(opset)) in SpecifierSet(issue.opset)


def _begins(issue: Issue, node: ir.Node) -> bool:
    return (
        _chain(node, issue.chain)
        and all(_attribute(node, name, wanted) for name, wanted in issue.attributes.items())
        and all(_constant(node, int(position), wanted) for position, wanted in issue.constants.items())
        and (not issue.reads or _reads(node, issue.reads))
    )


def _chain(node: ir.Node, chain: Sequence[str]) -> bool:
    if operator_name(node.domain, node.op_type) != chain[0]:
        return False
    readers = [user for value in node.outputs for user in value.consumers()]
    return len(chain) == 1 or any(_chain(reader, chain[1:]) for reader in readers)


def _reads(node: ir.Node, wanted: str) -> bool:
    operator, _, condition = wanted.partition(":")
    name, _, value = condition.partition("=")
    makers = [maker for one in node.inputs if one is not None and (maker := one.producer()) is not None]
    return any(
        operator_name(maker.domain, maker.op_type) == operator and (not name or _attribute(maker, name, value))
        for maker in makers
    )


def _attribute(node: ir.Node, name: str, wanted: str) -> bool:
    attribute = node.attributes.get(name)
    return attribute is not None and _fits(attribute.value, wanted)


def _constant(node: ir.Node, position: int, wanted: str) -> bool:
    value = node.inputs[position] if position < len(node.inputs) else None
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return tensor is not None and tensor.size == 1 and _fits(tensor.numpy().ravel()[0], wanted)


def _fits(value: object, wanted: str) -> bool:
    """``>1``: above it; ``!none``: anything else; otherwise equal."""
    if wanted.startswith(">"):
        return float(str(value)) > float(wanted[1:])
    if wanted.startswith("!"):
        return str(value) != wanted[1:]
    return str(value) == wanted
