"""Commands and executors of installed distributions: found, listed, called; core is not edited for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptrt.specs import registry

COMMAND = """
from adaptrt import Command
COUNT = Command(name="count", target="counting:count", summary="Count images.", section="Counting")
"""
CLICK = """
import click

@click.command("count")
@click.argument("images", nargs=-1)
def count(images):
    click.echo(f"{len(images)} images")
"""
EXECUTOR = """
from dataclasses import dataclass
from adaptrt.specs.executors import ImageResult

@dataclass(frozen=True)
class Options:
    workers: int = 1
    most: int = 9

class Reversed:
    name = "reversed"
    summary = "the last image first"
    options = Options

    def run(self, model, sources, options):
        import adaptrt
        print(f"{options.own.workers} workers")
        options.warn("slow")
        with adaptrt.load(model) as opened:
            for path in reversed(sources[: options.own.most]):
                (found,), timing = opened.timed([path], **options.params)
                yield ImageResult(path=path, task=opened.spec.task, size=(96, 128), prediction=found, timing=timing)

REVERSED = Reversed()
"""


@pytest.fixture
def counting(fake_distribution: Callable[..., Path]) -> None:
    fake_distribution(
        "adaptrt-counting",
        {
            "adaptrt.commands": {"count": "counting_declared:COUNT"},
            "adaptrt.executors": {"reversed": "reversed_executor:REVERSED"},
        },
        modules={"counting_declared": COMMAND, "counting": CLICK, "reversed_executor": EXECUTOR},
    )


def test_a_command_is_listed_and_called(adaptrt: Any, counting: None) -> None:
    result = adaptrt("--help")
    assert "\nCounting:\n  count  Count images.\n" in result.out
    assert result.err == ""
    assert "counting" not in sys.modules
    assert adaptrt("count", "a.png", "b.png").out == "2 images\n"
    assert "count" in adaptrt("--help").out
    assert "Did you mean 'count'?" in adaptrt("cuont").err


def test_cores_commands_do_not_look_at_other_distributions(
    adaptrt: Any, counting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptrt.specs import registry

    def scanned() -> Any:
        raise AssertionError("every distribution was read")

    with monkeypatch.context() as patched:
        patched.setattr(registry, "declaring_distributions", scanned)
        assert adaptrt("cache", "ls", "--help").code == 0
        assert adaptrt("--version").code == 0


def test_cores_names_cannot_be_taken(adaptrt: Any, fake_distribution: Callable[..., Path]) -> None:
    fake_distribution(
        "adaptrt-thief",
        {"adaptrt.commands": {"convert": "thief:COUNT"}},
        modules={"thief": COMMAND.replace('"count"', '"convert"')},
    )
    result = adaptrt("--help")
    assert "Skipping the command convert of adaptrt-thief: it is one of adaptrt's own." in result.err
    assert "Convert a model and verify the result." in result.out
    assert "thief" not in sys.modules


def test_a_broken_declaration_is_skipped_with_its_reason(adaptrt: Any, fake_distribution: Callable[..., Path]) -> None:
    fake_distribution(
        "adaptrt-broken", {"adaptrt.commands": {"broken": "broken_command:X"}}, modules={"broken_command": "1 / 0"}
    )
    result = adaptrt("--help")
    assert result.code == 0
    assert "Skipping the command broken: " in result.err
    assert "ZeroDivisionError" in result.err
    assert "  convert " in result.out
    assert adaptrt("broken").code == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [("raise OSError('lost')", "cannot be imported: OSError: lost"), ("count = 1", "is not a click")],
)
def test_a_command_that_cannot_be_imported_is_named(
    adaptrt: Any, fake_distribution: Callable[..., Path], source: str, message: str
) -> None:
    fake_distribution(
        "adaptrt-counting",
        {"adaptrt.commands": {"count": "counting_declared:COUNT"}},
        modules={"counting_declared": COMMAND, "counting": source},
        version="2.0",
    )
    result = adaptrt("count")
    assert result.code == 3
    assert "'count' (adaptrt-counting 2.0)" in result.err
    assert message in result.err


def test_help_lists_executors_and_imports_only_the_one_that_is_named(adaptrt: Any, counting: None) -> None:
    text = adaptrt("predict", "--help").out
    assert "  local      adaptrt\n  processes  adaptrt\n" in text
    assert "  reversed   adaptrt-counting\n" in text
    assert "reversed_executor" not in sys.modules
    for words in (("--executor", "reversed"), ("--executor=reversed",)):
        text = adaptrt("predict", *words, "--help").out
        assert "Executor reversed:\n  reversed        the last image first\n  --executor-set  workers, most\n" in text
    assert "not available: Unknown executor 'revesed'" in adaptrt("predict", "--executor", "revesed", "--help").out


def test_an_executor_is_chosen(
    adaptrt: Any, counting: None, converted: Callable[[str], Path], image: Path, tmp_path: Path
) -> None:
    import shutil

    second = Path(shutil.copy(image, tmp_path / "second.png"))
    words = ("predict", converted("detector"), image, second)
    found = adaptrt(*words, "--json", "--executor", "reversed", "--executor-set", "workers=3")
    assert found.code == 0, found.err
    assert "3 workers\n" in found.err  # what it prints does not get into the JSON
    assert "Warning: slow" in found.err
    assert [one["path"] for one in found.json["images"]] == [str(second), str(image)]
    local = adaptrt(*words, "--json").json["images"]
    assert [one["detections"] for one in local] == [one["detections"] for one in reversed(found.json["images"])]
    drawn = adaptrt(*words, "--executor", "reversed", "-o", tmp_path / "drawn")
    assert drawn.code == 0, drawn.err
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["image.png", "second.png"]


def test_images_without_a_result_are_noticed(
    adaptrt: Any, counting: None, converted: Callable[[str], Path], image: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second.png"
    second.write_bytes(image.read_bytes())
    words = ("predict", converted("detector"), image, second, "--executor", "reversed", "--executor-set", "most=1")
    found = adaptrt(*words, "-o", tmp_path / "drawn")
    assert found.code == 3
    assert "'reversed' returned no result for 1 images." in found.err
    assert "adaptrt predict --help" in found.err
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["image.png"]


def test_unknown_executors_and_options_are_named(adaptrt: Any, counting: None, image: Path, tmp_path: Path) -> None:
    model = tmp_path / "best.onnx"
    model.touch()
    wrong = adaptrt("predict", model, image, "--executor", "revesed")
    assert wrong.code == 2
    assert "Unknown executor 'revesed'." in wrong.err
    assert "Did you mean 'reversed'?" in wrong.err
    assert "has no option 'workers'" in adaptrt("predict", model, image, "--executor-set", "workers=2").err
    wrong = adaptrt("predict", model, image, "--executor", "reversed", "--executor-set", "workrs=2")
    assert "Did you mean 'workers'?" in wrong.err


def test_a_format_is_rejected_before_the_model_is_loaded(
    adaptrt: Any, converted: Callable[[str], Path], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptrt.specs.backends import BACKENDS

    def opened(path: Path, options: Any) -> None:
        raise AssertionError("the model was loaded")

    model = converted("detector")
    monkeypatch.setattr(BACKENDS.find("onnxruntime"), "open", opened)
    wrong = adaptrt("predict", model, image, "--save", "png")
    assert (wrong.code, wrong.out) == (2, "")
    assert "--save png: task 'detect' does not support this format." in wrong.err
    assert "Available: coco, crop, csv, json, txt, video." in wrong.err
    monkeypatch.setattr(BACKENDS.find("onnxruntime"), "read_spec", lambda path: None)  # an unknown task
    wrong = adaptrt("predict", model, image, "--save", "cocoa")
    assert "--save cocoa: no task supports this format.\nDid you mean 'coco'?" in wrong.err


@pytest.fixture
def only_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No other distribution is installed, and adaptrt is from an index."""
    monkeypatch.setattr(registry, "declaring_distributions", lambda: ())
    monkeypatch.setattr("adaptrt.specs.installed._clone", lambda: None)
    registry.forget_declared()
    yield
    monkeypatch.undo()
    registry.forget_declared()


@pytest.mark.usefixtures("only_core")
def test_an_extension_that_is_not_installed_is_named(
    adaptrt: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of this project's own."""
    monkeypatch.chdir(tmp_path)
    Path("sweep.toml").write_text('[[models]]\nsource = "best.pt"\n')
    Path("best.onnx").touch()
    for words, hint in {
        ("package", "triton", "best.onnx"): "Unknown format 'triton'. Install it: pip install adaptrt-triton",
        ("sweep", "sweep.toml", "--executor", "ray"): "Unknown executor 'ray'.\nInstall it: pip install adaptrt-ray",
        ("build", "best.onnx", "--to", "openvino"): "Install it: pip install adaptrt-openvino",
    }.items():
        assert hint in adaptrt(*words).err
