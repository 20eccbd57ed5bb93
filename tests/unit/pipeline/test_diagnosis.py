"""A failed link is followed to the first tensor that differs: by the command that is printed, or at once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from copying_backend import BACKEND
from small_convnet import write_convnet

import adaptrt
from adaptrt import VerificationError
from adaptrt.cli.boundary import run
from adaptrt.cli.main import cli
from adaptrt.pipeline.diagnosis import with_options
from adaptrt.report import Report

Install = Callable[..., str]
SPOILS = """
    @hookimpl
    def {hook}:
        import onnx
        model = onnx.load(str(onnx_path))
        for weight in model.graph.initializer:
            if weight.name == "body.weight":
                array = onnx.numpy_helper.to_array(weight)
                weight.CopyFrom(onnx.numpy_helper.from_array(array * 30, weight.name))
        path = ctx.workdir / "spoiled.onnx"
        onnx.save(model, str(path))
        return path
"""
BUILD = ("build", "net.onnx", "--precision", "fp16", "--target", "10", "--to", "onnx")


@pytest.fixture
def spoiled(install_extension: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    install_extension("spoils", SPOILS.format(hook="reduce_precision(ctx, onnx_path, spec)"))
    return write_convnet(Path("net.onnx"))


def called(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = run(cli, words, "adaptrt")
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.full
def test_the_printed_command_finds_where_link_3_goes_wrong(
    spoiled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADAPTRT_BUILD_REQUIRE", "verified")
    code, text = called(list(BUILD), capsys)
    assert code == 9
    found = re.search(r"first tensor that differs:\n(adaptrt build .* && adaptrt compare .*)", text)
    assert found is not None, text
    first, second = (shlex.split(part)[1:] for part in found[1].split(" && "))
    assert called(first, capsys)[0] == 0
    code, text = called(second, capsys)
    assert code == 9
    assert re.search(r"tensor +body\b", text), text


def test_diagnose_compares_at_once_and_writes_nothing_else(spoiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name for path in Path().iterdir()}
    code, text = called([*BUILD, "--diagnose"], capsys)
    assert code == 9
    assert re.search(r"tensor +body\b", text), text
    assert "unverified" not in text
    assert not any(path.suffix == ".onnx" for path in Path().iterdir() if path.name not in before)
    with pytest.raises(VerificationError) as caught:
        adaptrt.build("net.onnx", precision="fp16", target="10", to="onnx", diagnose=True, html=False)
    assert caught.value.report is not None
    assert caught.value.report.failure is not None
    comparison = caught.value.report.failure.comparison
    assert comparison is not None
    assert comparison["pairs"][0]["rows"]


@pytest.mark.full
def test_in_python_the_argument_is_named(spoiled: Path) -> None:
    with pytest.raises(VerificationError, match="Link 3") as caught:
        adaptrt.build("net.onnx", precision="fp16", target="10", to="onnx", html=False)
    assert "diagnose=True" in str(caught.value.hint)


def as_typed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return words


def in_variables(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for flag, value in zip(words[::2], words[1::2], strict=True):
        monkeypatch.setenv(f"ADAPTRT_CONVERT_{flag.strip('-').upper()}", value)
    return []


def in_a_file(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Path("options.toml").write_text(toml(words))
    return ["--config", "options.toml"]


def in_a_report(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Path("earlier.report.json").write_text(Report("detector", "tiny", command="", conversion=toml(words)).to_json())
    return ["--config", "earlier.report.json"]


def toml(words: list[str]) -> str:
    return "\n".join(f"{flag.strip('-')} = {value!r}" for flag, value in zip(words[::2], words[1::2], strict=True))


@pytest.mark.full
@pytest.mark.parametrize("given", [as_typed, in_variables, in_a_file, in_a_report])
def test_link_2_is_compared_with_the_model_itself(
    given: Callable[..., list[str]],
    tiny: str,
    install_extension: Install,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A graph pass that computes something else; the command names the model as the user did."""
    install_extension(
        "spoils",
        """
        @hookimpl
        def graph_passes(ctx, spec):
            def spoil(model):
                node = next(one for one in model.graph if one.op_type == "Conv")
                weight = node.inputs[1].const_value.numpy()
                import onnx_ir
                node.inputs[1].const_value = onnx_ir.tensor(weight * 1.5, name=node.inputs[1].name)
            return [GraphPass(name="spoil", order=900, reason="to see it fail", run=spoil)]
        """,
    )
    options = ["--adapter", "tiny", "--verify", "quick", "--to", "onnx", "--require", "verified"]
    words = ["convert", *given(options, monkeypatch), "--no-cache", "--", "detector"]
    code, text = called(words, capsys)
    assert code == 9, text
    found = re.search(r"first tensor that differs:\n(adaptrt convert .* && adaptrt compare .*)", text)
    assert found is not None, text
    first, second = (shlex.split(part)[1:] for part in found[1].split(" && "))
    assert second[:3] == ["compare", "eager", "unverified/detector.onnx"]
    code, text = called(first, capsys)
    assert code == 0, text
    code, text = called(second, capsys)
    assert code == 9, text
    code, text = called(["convert", "--diagnose", *words[1:]], capsys)
    assert code == 9
    assert "compared with eager" in text


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("best.pt --data val --verify=quick --require verified -v", "best.pt -v --verify none"),
        ("-oout.onnx --output=a -o b best.pt", "best.pt --verify none"),
        ("--int8 --nms --data val best.pt", "--int8 --nms=cluster best.pt --verify none"),
        ("--nms --int8 -- best.pt", "--nms --int8 --verify none -- best.pt"),
        ("-- --data", "--verify none -- --data"),
    ],
)
def test_options_that_need_verification_are_left_out(words: str, kept: str) -> None:
    assert with_options(words.split(), ["--verify", "none"]) == kept.split()


@pytest.fixture
def shifted(fake_distribution: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A backend whose files give something else than the graphs that they are built from."""
    from adaptrt.specs.backends import BACKENDS
    from adaptrt.specs.registry import forget_declared

    fake_distribution("adaptrt-copying", {"adaptrt.backends": {"copying": "copying_backend:BACKEND"}})
    forget_declared()
    for name, value in (("requests", []), ("missing", None), ("shift", 5.0), ("opened", [])):
        monkeypatch.setattr(BACKEND, name, value)
    yield
    BACKENDS._found.pop("copying", None)
    monkeypatch.undo()
    forget_declared()


@pytest.mark.full
def test_link_4_is_compared_with_the_graph_it_was_built_from(
    shifted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command writes the file that failed, and compares it with the graph in ONNX Runtime."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(BACKEND, "build_options", ("plugin_libs",), raising=False)
    monkeypatch.setattr(BACKEND, "check_options", lambda options, target: None, raising=False)
    write_convnet(Path("net.onnx"))
    Path("layers.so").touch()
    words = ["build", "net.onnx", "--to", "copying", "--no-cache", "--plugin-lib", "layers.so"]
    code, text = called(words, capsys)
    assert code == 9, text
    assert "Link 4" in text
    found = re.search(r"first tensor that differs:\n(adaptrt build .* && adaptrt compare .*)", text)
    assert found is not None, text
    first, second = (shlex.split(part)[1:] for part in found[1].split(" && "))
    assert second[:3] == ["compare", "net.onnx", "unverified/net.copy.bin"]
    assert second[-2:] == ["--plugin-lib", "layers.so"]
    assert called(first, capsys)[0] == 0
    assert Path("unverified/net.copy.bin").is_file()
    code, text = called(second, capsys)
    assert code == 9, text
    assert re.search(r"tensor +stem\b", text), text  # every tensor of it is wrong
    code, text = called([*words, "--diagnose"], capsys)
    assert code == 9
    assert re.search(r"tensor +stem\b", text), text  # every tensor of it is wrong
