"""What may be imported from where, and what ``import adaptrt`` costs. The layers are import-linter's (``make check``)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import adaptrt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
HEAVY = ("cv2", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "tensorrt", "torch", "ultralytics")
SUBMODULES = (
    "adaptrt.checkpoint",
    "adaptrt.export.cluster_nms",
    "adaptrt.labels",
    "adaptrt.patching.deformable",
    "adaptrt.testing",
    "adaptrt.vision",
)
FOR_EXTENSIONS = (
    "adaptrt.graph",
    "adaptrt.onnxfile",
    "adaptrt.quantization",
    "adaptrt.rendering",
    "adaptrt.specs",
    "adaptrt.store",
)
ADAPTERS = sorted((ROOT / "adapters").glob("*/adaptrt_*/**/*.py"))
EXTENSIONS = sorted((ROOT / "extensions").glob("*/adaptrt_*/**/*.py"))
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*/adaptrt_*/**/*.py"))


@pytest.mark.parametrize(
    "statement",
    [
        "import adaptrt",
        "sys.argv = ['adaptrt', '--version']; from adaptrt.cli.main import main; assert main() == 0",
        "sys.argv = ['adaptrt', 'convert', '--help']; from adaptrt.cli.main import main; assert main() == 0",
        "sys.argv = ['adaptrt', 'adapters']; from adaptrt.cli.main import main; assert main() == 0",
    ],
    ids=["import", "version", "help", "adapters"],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    program = f"""
import sys
{statement}
print("LOADED", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    allowed = {"msgspec"} if "adapters" in statement else set()  # plugins.toml is read with it
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.partition("LOADED")[2].split()) <= allowed


def test_the_list_of_commands_imports_none_of_them() -> None:
    """Neither the commands of core, nor its executors, nor those of extensions that are installed."""
    program = """
import sys
sys.argv = ["adaptrt", "--help"]
from adaptrt.cli.main import main
assert main() == 0
from adaptrt.specs.commands import COMMANDS
from importlib.metadata import entry_points
commands = [COMMANDS.find(name).target.partition(":")[0] for name in COMMANDS.names()]
executors = [point.module for point in entry_points(group="adaptrt.executors")]
assert "adaptrt.cli.convert" in commands and "adaptrt.batch.processes" in executors
print("LOADED", *(name for name in [*commands, *executors] if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("LOADED")[2].split() == []


class WithoutTypes(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def imports_of(path: Path, *, types: bool = True) -> list[tuple[str, str]]:
    """Each import as (module, name); the name is empty for ``import module``. ``types``: also those for type checkers alone."""
    found: list[tuple[str, str]] = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree if types else WithoutTypes().visit(tree)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports absolutely"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", [*ADAPTERS, *EXTENSIONS, *EXAMPLES], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_imports_public_names_only(path: Path) -> None:
    submodules = (*SUBMODULES, *FOR_EXTENSIONS) if path in EXTENSIONS else SUBMODULES
    own = next(part for part in path.parts if part.startswith("adaptrt_"))
    for module, name in imports_of(path):
        top = module.partition(".")[0]
        assert top != "tensorrt", f"{module}: TensorRT is core's matter"
        assert not top.startswith("adaptrt_") or top == own, f"{module}: another plugin"
        if module == "adaptrt":
            assert name in adaptrt.__all__ or f"adaptrt.{name}" in submodules, f"{name} is not public"
        elif top == "adaptrt":
            assert module.startswith(submodules), f"from {module} import {name}: import it from adaptrt"


def test_what_benchmarks_import_of_core_exists() -> None:
    """Most of them cannot run here, and no type checker reads them: a module that moves would break them unseen."""
    missing = []
    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != "adaptrt":
                continue
            for alias in node.names:
                try:
                    exec(f"from {node.module} import {alias.name}", {})
                except ImportError as error:
                    missing.append(f"{path.relative_to(ROOT)}: {error}")
    assert not missing


def test_no_module_imports_itself_through_others() -> None:
    """Imports inside functions count: two modules that need each other are one subject, or one of them does too much."""
    modules = {}
    for path in [*sorted((ROOT / "core" / "adaptrt").rglob("*.py")), *ADAPTERS, *EXTENSIONS]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        start = next(index for index, part in enumerate(parts) if re.fullmatch("adaptrt(_[a-z]+)?", part))
        modules[".".join(parts[start:]).removesuffix(".__init__")] = path
    imported = {
        name: {
            found
            for module, member in imports_of(path, types=False)
            if (found := f"{module}.{member}" if f"{module}.{member}" in modules else module) in modules
        }
        for name, path in modules.items()
    }
    left = {name: found - {name} for name, found in imported.items()}
    while free := {name for name, found in left.items() if not found}:
        left = {name: found - free for name, found in left.items() if name not in free}
    while unused := left.keys() - set().union(*left.values()):
        left = {name: found for name, found in left.items() if name not in unused}
    assert left == {}


def test_the_layers_of_the_page_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    checked = [re.findall(r"\w+", layer) for layer in contracts[0]["layers"]]
    page = (ROOT / "docs" / "explanation" / "design.md").read_text("utf-8")
    block = page.partition("## Layers\n\n```text\n")[2].partition("```")[0]
    shown = [match[0].split(" | ") for line in block.splitlines() if (match := re.match(r"\w+( \| \w+)*", line))]
    assert shown == [layer for layer in checked if layer != ["__main__"]]


def test_there_are_plugins_to_look_at() -> None:
    assert ADAPTERS
    assert EXTENSIONS
    assert EXAMPLES
