"""``adaptrt convert`` with a small adapter: what is written where, and what goes to which stream."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from adaptrt import Report
from adaptrt.cli.boundary import run
from adaptrt.cli.main import cli


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_a_conversion_writes_model_and_reports_and_tells_what_next(adaptrt: Any, tiny: str, image: Path) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--image", image, "--verify", "quick")
    assert result.code == 0
    assert files() == ["detector.onnx", "detector.report.html", "detector.report.json"]
    for words in ("framework vs. adaptrt", "passed", "not run", "detector.onnx", "detector.report.html", "sha256"):
        assert words in result.out
    assert f"adaptrt predict detector.onnx {image}" in result.out
    assert "adaptrt inspect detector.onnx" in result.out
    # a line a stage, since standard error is no terminal
    assert "Export to ONNX" in result.err
    assert "\x1b" not in result.out + result.err
    command = Report.from_json(Path("detector.report.json").read_bytes()).command
    assert command == f"adaptrt convert detector --adapter tiny --image {image} --verify quick"


def test_the_commands_printed_last_work(adaptrt: Any, tiny: str, image: Path) -> None:
    result = adaptrt("convert", "detector", "-a", tiny, "--image", image, "--verify", "none", "-o", "with space")
    lines = [line.strip() for line in result.out.splitlines() if line.startswith("  adaptrt ")]
    assert len(lines) == 2
    import shlex

    for line in lines:
        assert adaptrt(*shlex.split(line)[1:]).code == 0


def test_a_link_that_did_not_run_says_why(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--verify", "none")
    assert "Not verified: no output was compared with the model." in result.out
    assert result.out.count("--verify none") >= 4
    assert "passed" not in result.out


def test_quiet_says_nothing(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "classifier", "--adapter", tiny, "--verify", "none", "-q")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_warnings_are_printed_also_when_quiet(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--verify", "none", "-q", "--imgsz", "60")
    assert result.out == ""
    assert "Warning: height 60 is not a multiple of the stride 8: rounded up to 64." in result.err


def test_verbose_shows_every_check_patch_and_pass(adaptrt: Any, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    result = adaptrt("convert", "detector", "--adapter", tiny, "--verify", "quick", "-v")
    words = " ".join(result.out.split())
    assert "output0: boxes in a batch" in words
    assert "tinyvision.nets:cell_centers" in words
    assert "graph pass" in words


CHATTY = """
    import os
    import sys

    @hookimpl
    def graph_passes(ctx, spec):
        print("chatter of Python")
        os.system("echo chatter of a process")
        return []
"""


def test_json_is_alone_on_stdout(tiny: str, install_extension: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever frameworks print, at the level of the process too."""
    install_extension("chatty", CHATTY)
    assert run(cli, ["convert", "detector", "--adapter", tiny, "--verify", "none", "--json"], "adaptrt") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["status"] == "passed"
    assert "chatter of Python" in err
    assert "chatter of a process" in err


WRONG_PATCH = """
    @hookimpl
    def patches(ctx, model, spec):
        return [FunctionPatch(target="torch.nn.functional:silu", replacement=lambda original, x, inplace=False: x * 0.5,
                              reason="wrong on purpose", requires="torch>=2")]
"""


def test_a_failure_leaves_its_report_and_a_success_removes_it(
    adaptrt: Any, tiny: str, install_extension: Any, fake_distribution: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("convert", "detector", "--adapter", tiny, "--verify", "quick")
    with monkeypatch.context() as patched:
        patched.syspath_prepend("unused")
        install_extension("wrong", WRONG_PATCH)
        failed = adaptrt(*words)
        assert failed.code == 5
        assert "Link 1" in failed.err
        assert "failed" in failed.err
        assert "Details: detector.failed.report.html" in failed.err
        assert files() == ["detector.failed.report.html", "detector.failed.report.json"]
        report = Report.from_json(Path("detector.failed.report.json").read_bytes())
        assert report.failure is not None
        assert report.link(1).status == "failed"
        assert "failed" in Path("detector.failed.report.html").read_text()
        (sick,) = (path for path in map(Path, sys.path) if (path / "extension_wrong.py").exists())
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path) != sick])
    assert adaptrt(*words).code == 0
    assert files() == ["detector.onnx", "detector.report.html", "detector.report.json"]


def test_a_failure_as_json_is_its_report_with_the_error(adaptrt: Any, tiny: str, install_extension: Any) -> None:
    install_extension("wrong", WRONG_PATCH)
    found = adaptrt("convert", "detector", "--adapter", tiny, "--verify", "quick", "--json").json
    assert found["status"] == "failed"
    assert found["error"]["exit_code"] == 5
    assert found["links"][1]["status"] == "failed"


def test_what_fails_before_the_model_is_loaded_leaves_nothing(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "detectr", "--adapter", tiny)
    assert result.code == 4
    assert "Did you mean 'detector'?" in result.err
    assert files() == []


def test_a_wrong_option_leaves_nothing(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--set", "cnf=0.3")
    assert result.code == 2
    assert "Did you mean 'conf'?" in result.err
    assert files() == []


@pytest.mark.parametrize("dry", [(), ("--dry-run",), ("--dry-run", "-v")], ids=["convert", "dry-run", "dry-run -v"])
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--set", "cnf=0.3"), 2, "Did you mean 'conf'?"),
        (("--set", "pached=1"), 2, "Did you mean 'patched'?"),
        (("--set", "conf=high"), 2, "--set conf='high'"),
        (("--set", "conf=7"), 2, "conf must be between 0 and 1; got 7.0."),
        (("--set", "patched=perhaps"), 2, "--set patched='perhaps'"),
        (("--weights", "best.pth"), 4, "File not found: best.pth.\nDid you mean 'besst.pth'?"),
        (("--weights", "a.pth"), 4, "File not found: a.pth.\nCheck the path. Files are never downloaded."),
        (("--image", "street.jpg"), 4, "File not found: street.jpg."),
        (("--test-image", "street.jpg"), 4, "File not found: street.jpg."),
        (("--plugin-lib", "libops.so"), 2, "--plugin-lib: file not found: libops.so."),
        (("--ort-custom-ops", "libops.so"), 2, "--ort-custom-ops: file not found: libops.so."),
        (("--keep-fp32", "["), 2, "--keep-fp32 '[' is not a valid regular expression"),
        (("--int8", "--calib", ".", "--keep-fp16", "["), 2, "--keep-fp16 '[' is not a valid regular expression"),
        (
            ("--int8", "--calib", ".", "--quantize-also", "["),
            2,
            "--quantize-also '[' is not a valid regular expression",
        ),
        (("--opset", "99"), 2, "got 99."),
        (("--target", "8", "--bf16"), 2, "TensorRT 8 does not support precision bf16"),
        (("--target", "8", "--strip-weights"), 2, "TensorRT 8 does not support strip-weights"),
        (("--output", "besst.pth/x.onnx"), 2, "besst.pth is not a folder."),
    ],
)
def test_what_cannot_be_is_refused_before_the_model_is_loaded(
    adaptrt: Any, tiny: str, dry: tuple[str, ...], words: tuple[str, ...], code: int, said: str
) -> None:
    Path("besst.pth").touch()
    result = adaptrt("convert", "detector", "--adapter", tiny, *words, *dry)
    assert said in result.err
    assert result.code == code
    assert "Load the model" not in result.err
    assert result.out == ""
    assert files() == ["besst.pth"]


def test_a_source_that_is_a_file_has_to_be_there(adaptrt: Any, tiny: str) -> None:
    Path("best.pt").touch()
    for source, said in (
        ("bst.pt", "File not found: bst.pt.\nDid you mean 'best.pt'?"),
        ("", "SOURCE is empty."),
    ):
        result = adaptrt("convert", source, "--adapter", tiny)
        assert said in result.err
        assert result.code in (2, 4)


def test_a_verbose_plan_knows_the_names_asked_for(adaptrt: Any, tiny: str) -> None:
    words = ("convert", "detector", "--adapter", tiny, "--dry-run", "-v")
    model = adaptrt(*words, "--input-names", "pixels", "--output-names", "found", "--json").json["model"]
    assert (list(model["inputs"]), list(model["outputs"])) == (["pixels"], ["found"])
    for flag in ("--input-names", "--output-names"):
        result = adaptrt(*words, flag, "a,b")
        assert result.code == 2
        assert f"{flag} has 2 names" in result.err


@pytest.mark.parametrize("dry", [(), ("--dry-run", "-v")], ids=["convert", "dry-run -v"])
def test_a_class_that_the_model_lacks_is_no_default_of_its_file(adaptrt: Any, tiny: str, dry: tuple[str, ...]) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--set", "classes=gren", *dry)
    assert result.code == 2
    assert result.err.endswith("Error: Unknown class 'gren'.\nDid you mean 'green'?\n")
    assert files() == []
    assert adaptrt("convert", "detector", "-a", tiny, "--set", "classes=green,0", "--dry-run", "-v", "-q").code == 0


@pytest.mark.parametrize("dry", [(), ("--dry-run", "-v")], ids=["convert", "dry-run -v"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("classifier", "--nms"), "--nms: decoder 'classify' is not supported in a graph"),
        (
            ("two_inputs", "--embed-preprocess"),
            "--embed-preprocess: the model has no image input.\nOmit --embed-preprocess.",
        ),
        (("two_inputs", "--image"), "--image: the model has no image input.\nOmit --image."),
    ],
)
def test_what_this_model_does_not_support_is_refused_before_it_runs(
    adaptrt: Any, tiny: str, image: Path, words: tuple[str, ...], said: str, dry: tuple[str, ...]
) -> None:
    given = (*words, image) if words[1] == "--image" else words
    result = adaptrt("convert", given[0], "--adapter", tiny, *given[1:], *dry)
    assert result.code == 2
    assert said in result.err
    assert "Run the reference" not in result.err
    assert files() == []


def test_an_option_of_another_decoder_is_refused_by_the_verbose_plan(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--set", "top_k=3", "--dry-run", "-v")
    assert result.code == 2
    assert "Neither adapter 'tiny' nor decoder 'yolo' has an option 'top_k'." in result.err


def test_dry_run_is_a_plan_and_loads_nothing(adaptrt: Any, tiny: str, install_extension: Any) -> None:
    install_extension("refuses", "@hookimpl\ndef model_spec(ctx, model):\n    raise AssertionError('loaded')\n")
    install_extension("watches", "@hookimpl(wrapper=True)\ndef patches():\n    return (yield)\n")
    Path("detector.onnx").touch()
    result = adaptrt(
        "convert", "detector", "--adapter", tiny, "--set", "conf=0.3", "--set", "patched=false", "--imgsz", "64x96",
        "--batch", "1:4", "--fp16", "--target", "10", "--dry-run",
    )  # fmt: skip
    assert result.code == 0
    words = " ".join(result.out.split())
    for piece in (
        "adapter tiny, from adaptrt-tiny 0.3",
        "refuses (adaptrt-refuses 1.0)",
        "conf=0.3 (decoder)",
        "patched=false (adapter)",
        "height x width 64x96 (64 high, 96 wide)",
        "batch 1..4@4",
        "fp16",
        "refuses, tiny, core.conversion",
        "(around)",
        "not run: no --image",
        "detector.onnx (replaced)",
        "detector.fp16.onnx",
        "detector.engine (if TensorRT can build it here)",
        "detector.report.json",
    ):
        assert piece in words
    assert files() == ["detector.onnx"]


def test_dry_run_says_what_cannot_be_built(adaptrt: Any, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion itself is rejected then; the plan may be for another machine."""
    monkeypatch.setattr("adaptrt.backends.tensorrt.availability.can_build", lambda product: False)
    words = " ".join(adaptrt("convert", "detector", "--adapter", tiny, "--to", "onnx,engine", "--dry-run").out.split())
    assert "detector.engine (cannot be built here: TensorRT is not installed)" in words
    assert "detector.onnx detector.engine" in words


def test_dry_run_says_how_to_see_what_the_model_decides(adaptrt: Any, tiny: str) -> None:
    out = adaptrt("convert", "detector", "--adapter", tiny, "--dry-run").out
    assert "patches and graph passes unknown until the model is loaded; use -v to load it" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shape", "image=1x3x300..600@400x320"), "image 1x3x300..600@400x320 not checked: input names and sizes,"),
        (("--imgsz", "300"), "height x width 300x300 (300 high, 300 wide) not checked: sizes,"),
        (("--batch", "1:4"), "batch 1..4@4 export"),
    ],
)
def test_a_plan_says_which_shapes_it_did_not_check(adaptrt: Any, tiny: str, words: tuple[str, ...], said: str) -> None:
    out = adaptrt("convert", "detector", "--adapter", tiny, *words, "--dry-run").out
    assert said in " ".join(out.split())


def test_a_plan_says_whether_a_batch_is_fixed(adaptrt: Any, tiny: str) -> None:
    words = ("convert", "detector", "--adapter", tiny, "--dry-run", "--batch")
    assert "batch 4 (always 4 at a time)" in " ".join(adaptrt(*words, "4").out.split())


def test_a_verbose_plan_checks_shapes(adaptrt: Any, tiny: str) -> None:
    words = ("convert", "detector", "--adapter", tiny, "--dry-run", "-v")
    wrong = adaptrt(*words, "--shape", "image=1x3x64x64")
    assert wrong.code == 2
    assert "The model has no input 'image'." in wrong.err
    rounded = adaptrt(*words, "--imgsz", "60x64")
    assert "Warning: height 60 is not a multiple of the stride 8: rounded up to 64." in rounded.err
    ranges = adaptrt(*words, "--shape", "images=1x3x60..80@64x64")
    assert ranges.code == 0
    assert "Warning: Sizes of --shape images are not all multiples of the stride 8" in ranges.err
    assert "--shape images=1x3x64..80@64x64" in ranges.err
    assert "not checked" not in ranges.out


def test_a_verbose_dry_run_loads_the_model_and_shows_what_it_decides(
    adaptrt: Any, tiny: str, install_extension: Any
) -> None:
    source = "def run(model): pass\n@hookimpl\ndef graph_passes():\n"
    install_extension("more", source + "    return [GraphPass(name='mine', order=45, reason='because', run=run)]\n")
    result = adaptrt("convert", "detector", "--adapter", tiny, "--batch", "1:4", "--dry-run", "-v")
    assert result.code == 0
    words = " ".join(result.out.split())
    for piece in (
        "images batch:1..4@4x3x64x64",
        "output0 boxes, scores",
        "tinyvision.nets:cell_centers (tiny): the centers of a fixed size are constants",
        "40 gather (core.conversion)",
        "45 mine (more): because",
    ):
        assert piece in words
    assert words.index("40 gather") < words.index("45 mine") < words.index("80 shapes")
    assert files() == []


def test_a_verbose_plan_as_json(adaptrt: Any, tiny: str) -> None:
    plan = adaptrt("convert", "detector", "--adapter", tiny, "--dry-run", "-v", "--json").json
    assert plan["model"]["name"] == "Detector"
    assert [one["target"] for one in plan["model"]["patches"]] == [
        "tinyvision.nets:cell_centers",
        "tinyvision.nets:Flatten",
    ]
    assert plan["model"]["passes"][0]["name"] == "fold"
    assert "model" not in adaptrt("convert", "detector", "--adapter", tiny, "--dry-run", "--json").json


def test_dry_run_as_json(adaptrt: Any, tiny: str) -> None:
    plan = adaptrt("convert", "detector", "--adapter", tiny, "--dry-run", "--json").json
    assert plan["hooks"]["load_model"] == ["tiny"]
    assert [Path(file["path"]).name for file in plan["files"] if not file["condition"]] == [
        "detector.onnx", "detector.report.json", "detector.report.html",
    ]  # fmt: skip
    assert plan["adapter_options"] == {"patched": "True", "exporter": "torchscript"}


def test_an_unknown_adapter_is_an_error_also_of_the_plan(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "detector", "--adapter", "tinny", "--dry-run")
    assert result.code == 3
    assert "Did you mean 'tiny'?" in result.err


def test_trace_plugins_names_each_hook_and_ends_with_the_command(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "classifier", "--adapter", tiny, "--verify", "none", "--trace-plugins")
    assert "hook load_model" in result.err
    assert "ADAPTRT_TRACE_PLUGINS" not in os.environ


def test_dry_run_knows_that_an_old_target_takes_flags(adaptrt: Any, tiny: str) -> None:
    plan = adaptrt("convert", "detector", "--adapter", tiny, "--fp16", "--target", "8", "--dry-run", "--json").json
    assert plan["links"]["3"] == "not run: the graph stays float32: TensorRT 8 applies fp16 as a builder flag"
    assert not any("fp16" in file["path"] for file in plan["files"])


def test_a_failed_report_that_cannot_be_written_hides_nothing(
    adaptrt: Any, tiny: str, install_extension: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptrt import OutputError
    from adaptrt.rendering import documents

    def full(*_: Any) -> None:
        raise OutputError("The disk is full.")

    install_extension("wrong", WRONG_PATCH)
    monkeypatch.setattr(documents, "write_document", full)
    result = adaptrt("convert", "detector", "--adapter", tiny, "--verify", "quick")
    assert result.code == 5
    assert "Link 1" in result.err
    assert "Warning: The disk is full." in result.err
    assert files() == []


def test_a_quiet_plan_is_a_check(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--dry-run", "-q")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_a_size_that_no_memory_holds_is_the_users_to_fix(adaptrt: Any, tiny: str) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--imgsz", "99999999")
    assert result.code == 2
    assert "Not enough memory for example_inputs" in result.err
    assert "--imgsz" in result.err
    assert files() == []


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_int8_without_images_is_rejected_before_the_model_is_loaded(
    adaptrt: Any, tiny: str, more: tuple[str, ...]
) -> None:
    result = adaptrt("convert", "detector", "--adapter", tiny, "--int8", "--json", *more)
    assert result.code == 2
    assert "--precision int8 needs images" in result.err
    assert "--int8 --calib images/" in result.err
    assert "adaptrt build FILE.onnx --int8" in result.err
    assert more or result.json["stages"] == []
    assert not list(Path.cwd().glob("*.onnx"))
