"""Help that can be read: sections, examples that parse, and the script ``convert``."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click
import pytest
from command_tree import command_of, leaves

from adaptrt import __version__
from adaptrt.cli.boundary import run
from adaptrt.cli.convert import convert
from adaptrt.cli.framework import Command
from adaptrt.specs.commands import COMMANDS


def test_version(adaptrt: Any) -> None:
    assert adaptrt("--version").out == f"adaptrt {__version__}\n"


def test_the_list_of_commands_is_grouped(adaptrt: Any) -> None:
    text = adaptrt("--help").out
    assert text.index("Models:") < text.index("  convert ") < text.index("This installation:") < text.index("  doctor ")
    assert all(f"  {name} " in text for name in COMMANDS.core_names())


def test_only_packages_with_a_warm_up_sample_take_an_image_for_it(adaptrt: Any) -> None:
    assert "--image" not in adaptrt("package", "deepstream", "--help").out
    assert "--image" not in adaptrt("package", "runtime", "--help").out
    refused = adaptrt("package", "runtime", "best.onnx", "-o", "out", "--image", "a.jpg")
    assert "No such option '--image'" in refused.err


@pytest.mark.parametrize("name", leaves())
def test_every_command_says_what_it_does(adaptrt: Any, name: str) -> None:
    result = adaptrt(*name.split(), "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: adaptrt {name} ")
    assert "General:" in result.out
    for word in ("--json", "--debug", "-v", "-q", "-h"):
        assert word in result.out
    assert adaptrt(*name.split(), "-h").out == result.out


@pytest.mark.parametrize("name", leaves())
def test_examples_are_commands_that_parse(name: str) -> None:
    command = command_of(name)
    assert isinstance(command, Command)
    assert command.examples, "every help shows an example"
    for line, meaning in command.examples:
        words = shlex.split(re.split(r"[|>]", line)[0])
        if words[0] == "curl":  # a client of adaptrt serve
            continue
        count = len(name.split()) + 1
        assert words[:count] == ["adaptrt", *name.split()]
        command.make_context(name, words[count:])
        assert meaning


GROUPS = [name for name in COMMANDS.core_names() if isinstance(command_of(name), click.Group)]


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_alone_names_its_commands_and_an_example(adaptrt: Any, name: str) -> None:
    inside = [leaf.removeprefix(f"{name} ") for leaf in leaves() if leaf.startswith(f"{name} ")]
    result = adaptrt(name)
    assert (result.code, result.out) == (2, "")
    usage, example, see = result.err.splitlines()
    assert usage.startswith("Error: Missing ")
    assert usage.endswith(f"Usage: adaptrt {name} {'|'.join(inside)} ...")
    assert example.startswith(f"For example: adaptrt {name} {inside[0]}")
    assert see == f"See: adaptrt {name} --help"
    assert adaptrt(name, "--json").json["error"]["exit_code"] == 2


@pytest.mark.parametrize("name", GROUPS)
def test_the_help_of_a_group_has_an_example_of_each_command(adaptrt: Any, name: str) -> None:
    examples = adaptrt(name, "--help").out.partition("Examples:\n")[2]
    for leaf in leaves():
        if leaf.startswith(f"{name} "):
            assert f"  adaptrt {leaf}" in examples


def test_convert_has_its_sections_in_order(adaptrt: Any) -> None:
    text = adaptrt("convert", "--help").out
    titles = re.findall(r"^(\w[\w ]+):$", text, re.MULTILINE)
    assert titles == [
        "Model and files", "Shapes and names", "Export", "NMS in the graph", "Quantization", "Engine", "Verification", "Plugins", "General", "Examples",
    ]  # fmt: skip


def test_every_word_of_the_design_is_an_option() -> None:
    known = {word for parameter in convert.params for word in [*parameter.opts, *parameter.secondary_opts]}
    wanted = (
        "--adapter --weights --checkpoint -o --output --imgsz --img-size --batch --batch-size --dynamic --shape "
        "--min-shape --opt-shape --max-shape --input-names --output-names --opset --exporter --no-simplify --verify "
        "--target --precision --fp16 --half --bf16 --int8 --image --test-image -s --set --trust-checkpoint "
        "--ort-custom-ops --plugins --trace-plugins --dry-run -v -q --json --debug "
        "--keep-fp32 --workspace --opt-level --tf32 --no-tf32 --no-timing-cache --version-compatible "
        "--hardware-compatible --strip-weights --refittable --plugin-lib --tactic-sources --build-timeout --device "
        "--no-cache --to --compute-capability --nms --nms-rounds --nms-schema"
    )
    assert set(re.findall(r"\S+", wanted)) <= known


def test_the_script_convert_is_the_same_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(convert, ["--help"], "convert") == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: convert [OPTIONS] SOURCE")
    assert "The same as: adaptrt convert" in text


def test_adaptrt_convert_does_not_say_so_of_itself(adaptrt: Any) -> None:
    assert "The same as" not in adaptrt("convert", "--help").out


def test_an_option_of_another_command_is_named_as_one(adaptrt: Any) -> None:
    result = adaptrt("build", "best.onnx", "--opset", "17")
    assert result.code == 2
    assert "No such option '--opset'. It is an option of: adaptrt convert" in result.err
    assert "--verbose" not in result.err
    assert "'--precision'" in adaptrt("build", "best.onnx", "--precison", "fp16").err


def test_an_option_that_is_shorter_here_is_named(adaptrt: Any) -> None:
    """Images of labels are --data-images where other images have --images or --calib."""
    result = adaptrt("evaluate", "best.onnx", "--data", "val.json", "--data-images", "val/")
    assert "No such option '--data-images'. Did you mean '--images'?" in result.err
