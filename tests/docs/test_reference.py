"""The hook reference is complete, every hook is replaced once in a test, and no link of the documentation is dead."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from adaptrt import hookspecs
from adaptrt.specs.decoders import decoder_names, find_decoder, is_own
from adaptrt.specs.image import Interpolation, Library, Resize
from adaptrt.specs.tasks import TASKS
from adaptrt.specs.tensors import Unit

ROOT = Path(__file__).parents[2]
HOOKS = [node for node in ast.parse(inspect.getsource(hookspecs)).body if isinstance(node, ast.FunctionDef)]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "adapters").glob("*/*.md"),
    *(ROOT / "tests").rglob("*.md"),
]


def sections(page: Path) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_specification_has_hooks() -> None:
    specified = [name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), "adaptrt_spec")]
    assert [hook.name for hook in HOOKS] == specified


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_hook_has_a_section_with_its_exact_signature(hook: ast.FunctionDef) -> None:
    section = sections(ROOT / "docs" / "reference" / "hooks.md")[hook.name]
    documented = section.partition("```python\n")[2].partition("\n```")[0]
    found = ast.parse(f"{documented}: ...").body[0]
    assert isinstance(found, ast.FunctionDef)
    assert (found.name, ast.unparse(found.args)) == (hook.name, ast.unparse(hook.args))
    assert ast.unparse(found.returns or ast.Constant(None)) == ast.unparse(hook.returns or ast.Constant(None))


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_hook_has_a_test_that_replaces_it(hook: ast.FunctionDef) -> None:
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "hooks").glob("test_*.py")]
    assert any(f"def test_hook_{hook.name}(" in text for text in tests), f"no test_hook_{hook.name} in tests/hooks"


def test_values_are_spelled_out() -> None:
    api, report = (sections(ROOT / "docs" / "reference" / f"{name}.md") for name in ("api", "report"))
    for section, name, values in (
        (api["ImageTransform"], "Resize", get_args(Resize)),
        (api["ImageTransform"], "Interpolation", get_args(Interpolation)),
        (api["ImageTransform"], "Library", get_args(Library)),
        (api["OutputGroup"], "Unit", get_args(Unit)),
        (report["Link"], "Status", ("passed", "failed", "not run")),
    ):
        spelled = ", ".join(f'`"{value}"`' for value in values)
        assert f"- `{name}`: {spelled}\n" in section
    tasks = sections(ROOT / "docs" / "reference" / "tasks.md")
    assert set(tasks) == set(TASKS.core_names())


def test_every_parameter_of_a_decoder_is_described() -> None:
    """Those of its bases too, which its docstring does not repeat."""
    page = sections(ROOT / "docs" / "reference" / "decoders.md")
    names = list(filter(is_own, decoder_names()))
    assert "dynamic_masks" in names
    for name in names:
        described = page[name].partition("| parameter |")[0]
        missing = [
            one.name for one in dataclasses.fields(find_decoder(name).params) if f"`{one.name}`" not in described
        ]
        assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.relative_to(ROOT)}: {target} does not exist"
        if anchor:
            assert anchor in anchors(found), f"{page.relative_to(ROOT)}: {target} has no such heading"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
