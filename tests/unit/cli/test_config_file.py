"""``--config``: a conversion as a TOML file, and the one that a report contains."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt import BuildOptions, CalibrationRequest, LabeledData, Report
from adaptrt.cli.convert import convert
from adaptrt.cli.request import request_from_flags
from adaptrt.conversion_file import conversion_text
from adaptrt.errors import UsageError
from adaptrt.request import NmsRequest, Request, ShapeRequest
from adaptrt.specs import Dim, parse_shape


@pytest.fixture(autouse=True)
def separate_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def requested(path: Path, text: str, *words: str) -> Request:
    """The request of ``adaptrt convert --config FILE WORDS``."""
    path.write_text(text, encoding="utf-8")
    with convert.make_context("convert", ["--config", str(path), *words]) as ctx:
        flags = {name: value for name, value in ctx.params.items() if name not in ("dry_run", "trace_plugins")}
        return request_from_flags(flags, command="")


def test_options_come_from_the_file_and_the_command_line_comes_first(adaptrt: Any, tiny: str) -> None:
    Path("conversion.toml").write_text(
        f'source = "detector"\nadapter = "{tiny}"\nverify = "none"\noutput = "shop.onnx"\n'
    )
    result = adaptrt("convert", "--config", "conversion.toml", "--verify", "quick")
    assert result.code == 0, result.err
    report = Report.from_json(Path("shop.report.json").read_bytes())
    assert report.link(2).status == "passed"


def test_the_report_contains_a_file_that_repeats_the_conversion(adaptrt: Any, tiny: str) -> None:
    first = adaptrt("convert", "detector", "-a", tiny, "--batch", "1:2:4", "--set", "conf=0.4", "--verify", "quick")
    assert first.code == 0, first.err
    text = Report.from_json(Path("detector.report.json").read_bytes()).conversion
    assert 'batch = "1..4@2"' in text
    assert 'conf = "0.4"' in text
    assert 'imgsz = "64x64"' in text  # chosen by the adapter
    assert "[versions]" in text
    assert "torch" in text
    assert text in Path("detector.report.html").read_text().replace("&#34;", '"')
    before = Path("detector.onnx").read_bytes()
    Path("conversion.toml").write_text(text)
    Path("first.json").write_bytes(Path("detector.report.json").read_bytes())
    for file in ("conversion.toml", "first.json"):
        Path("detector.onnx").unlink()
        again = adaptrt("convert", "--config", file, "--no-cache")
        assert again.code == 0, again.err
        assert "Warning" not in again.err
        assert Path("detector.onnx").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("{", "cannot be read as a report"),
        (Report("a", "b", command="").to_json(), "not the report of a finished conversion"),
        (Report("a", "b", command="", conversion='source = "evil:build"').to_json(), "names code, 'evil:build'"),
        (Report("a", "b", command="", conversion="trust-checkpoint = true").to_json(), "only on the command line"),
    ],
)
def test_a_report_from_elsewhere_is_only_a_file_of_options(adaptrt: Any, text: str | None, message: str) -> None:
    if text is not None:
        Path("best.report.json").write_text(text)
    result = adaptrt("convert", "--config", "best.report.json")
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batches = 4", "unknown key 'batches'"),
        ("trust-checkpoint = true", "only on the command line"),
        ("batch = [1, 2]", "batch must be text or a number"),
        ("fp16 = 1", "fp16 must be true or false"),
        ('imgsz = true', "imgsz must be text or a number"),
        ('set = "conf=0.4"', "set must be a table"),
        ("versions = 3", "[versions] must map"),
        ("batch = ", "is not valid TOML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_its_key(adaptrt: Any, text: str, message: str) -> None:
    Path("conversion.toml").write_text(text)
    result = adaptrt("convert", "--config", "conversion.toml", "x.pt")
    assert result.code == 2
    assert message in result.err
    assert "conversion.toml" in result.err
    assert ("conversion.toml:1: " in result.err) == ("is not valid TOML" not in result.err)


@pytest.mark.parametrize("page", ["my models/best.report.html", "my models/best.report.HTM", "my models/best.report.1"])
def test_the_page_of_a_report_is_answered_with_the_report(adaptrt: Any, page: str) -> None:
    Path("my models").mkdir()
    Path(page).write_text("<!DOCTYPE html>")
    result = adaptrt("convert", "--config", page)
    assert result.code == 2
    assert "is the page of a report" in result.err
    assert "Use the JSON report: --config 'my models/best.report.json'\n" in result.err
    Path("my models", "best.report.json").write_text(Report("a", "b", command="").to_json())
    assert "next to it: --config 'my models/" in adaptrt("convert", "--config", page).err


def test_a_value_that_the_option_does_not_have_names_the_file(adaptrt: Any) -> None:
    Path("conversion.toml").write_text('source = "best.pt"\nverify = "fast"\nopset = "new"\n')
    result = adaptrt("convert", "--config", "conversion.toml", "--opset", "17")
    assert "Error: Invalid value for verify in conversion.toml:2: 'fast' is not one of" in result.err
    result = adaptrt("convert", "--config", "conversion.toml", "--verify", "quick")
    assert "Error: Invalid value for opset in conversion.toml:3: 'new' is not a valid integer" in result.err
    assert "for '--opset':" in adaptrt("convert", "--config", "conversion.toml", "--verify", "none", "--opset", "x").err


def test_a_missing_file_is_an_error(adaptrt: Any) -> None:
    result = adaptrt("convert", "--config", "missing.toml")
    assert result.code == 2
    assert "missing.toml does not exist" in result.err


def through_a_pipe(text: str) -> str:
    """A path like that of ``<(command)`` in a shell: it can be read once."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write(text)
    return f"/dev/fd/{reading}"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no path there")
@pytest.mark.parametrize(
    "text", ["batches = 4", Report("a", "b", command="", conversion="batches = 4").to_json()], ids=["toml", "report"]
)
def test_a_pipe_is_read_once(adaptrt: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = through_a_pipe(text)
    assert f"Error: {path}: unknown key 'batches'" in adaptrt("convert", "x.pt", "--config", path).err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert "Error: -: unknown key 'batches'" in adaptrt("convert", "x.pt", "--config", "-").err


def test_other_versions_are_a_warning(adaptrt: Any, tiny: str) -> None:
    Path("conversion.toml").write_text('[versions]\nnumpy = "0.1"\nnosuchpackage = "1"\n')
    result = adaptrt("convert", "--config", "conversion.toml", "detector", "-a", tiny, "--dry-run")
    assert result.code == 0, result.err
    assert "converted with numpy 0.1" in result.err
    assert "nosuchpackage 1; it is not installed" in result.err


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
plain = st.text("abcxyz./_", min_size=1, max_size=12).filter(lambda text: text.strip() == text)
requests = st.builds(
    Request,
    source=plain,
    adapter=st.just("tiny"),
    output=st.none() | plain.map(Path),
    shapes=st.builds(
        ShapeRequest,
        imgsz=st.none() | st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
        batch=st.none() | st.just(Dim(1, 2, 4, "batch")) | st.just(Dim(3, 3, 3, "batch")),
        shapes=st.dictionaries(plain, st.just((parse_shape("1..16@8x3x64x64"), parse_shape("1x3x32x32"))), max_size=1),
    ),
    opset=st.none() | st.integers(11, 20),
    exporter=st.sampled_from(["auto", "dynamo", "torchscript"]),
    simplify=st.booleans(),
    verify=st.sampled_from(["full", "quick", "none"]),
    require=st.sampled_from(["", "verified"]),
    precision=st.sampled_from(["fp32", "fp16", "int8"]),
    to=st.sampled_from([(), ("onnx",), ("onnx", "engine")]),
    keep_fp32=st.lists(plain, max_size=2).map(tuple),
    options=st.dictionaries(
        plain.map(lambda key: key.replace("=", "")), texts.map(str.strip).filter(lambda text: text.strip("./")), max_size=3
    ),
    nms=st.none() | st.builds(NmsRequest, rounds=st.integers(1, 99), multi_label=st.booleans()),
    build=st.builds(
        BuildOptions,
        workspace=st.none() | st.integers(1, 1 << 36),
        optimization_level=st.none() | st.integers(0, 5),
        tf32=st.none() | st.booleans(),
        timing_cache=st.booleans(),
        hardware_compatible=st.sampled_from(["none", "ampere+"]),
        refittable=st.booleans(),
        plugin_libs=st.lists(plain, max_size=2).map(tuple),
        device=st.integers(0, 3),
    ),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(requests)
def test_what_is_written_is_what_was_requested(tmp_path_factory: pytest.TempPathFactory, request_: Request) -> None:
    path = tmp_path_factory.mktemp("config") / "conversion.toml"
    libraries = [word for library in request_.build.plugin_libs for word in ("--plugin-lib", library)]
    assert requested(path, conversion_text(request_, {}, 0, ""), *libraries) == request_


@pytest.mark.parametrize(
    ("line", "words", "precision"),
    [
        ('precision = "fp16"', ["--bf16"], "bf16"),
        ("fp16 = true", ["--bf16"], "bf16"),
        ("fp16 = true", ["--precision", "bf16"], "bf16"),
        ("fp16 = true", [], "fp16"),
    ],
)
def test_a_precision_on_the_command_line_replaces_that_of_the_file(
    line: str, words: list[str], precision: str, tmp_path: Path
) -> None:
    found = requested(tmp_path / "conversion.toml", f'source = "best.pt"\nadapter = "tiny"\n{line}\n', *words)
    assert found.precision == precision


INT8 = 'precision = "int8"\ncalib = "train"\ncalib-images = 64\nquantize-also = "MatMul"\n'
LABELED = 'data = "val.json"\ndata-images = "val"\ndata-limit = 100\nmax-loss = 0.5\n'


@pytest.mark.parametrize(
    ("file", "words", "left"),
    [
        (f'{INT8}{LABELED}require = "verified"', ["--verify", "none"], {"calibration", "quantize_also", "precision"}),
        (f"{INT8}{LABELED}", ["--fp16"], {"precision"}),
        (f"{INT8}{LABELED}", ["--precision", "fp16"], {"precision"}),
        (f"{INT8}{LABELED}", ["--int8"], {"precision", "calibration", "quantize_also", "data"}),
        ('nms = "cluster"\nnms-rounds = 5', ["--nms", "onnx"], {"nms"}),
        ('nms = "cluster"\nnms-rounds = 5', ["--nms", "cluster"], {"nms"}),
    ],
)
@pytest.mark.parametrize("level", ["command line", "variable"])
def test_what_does_not_fit_a_stronger_option_is_ignored(
    file: str, words: list[str], left: set[str], level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if level == "variable":
        option, value = words if len(words) == 2 else (words[0], "1")
        monkeypatch.setenv(f"ADAPTRT_CONVERT_{option.strip('-').upper()}", value)
        words = []
    found = requested(tmp_path / "conversion.toml", f'source = "best.pt"\nadapter = "tiny"\n{file}\n', *words)
    default = Request("best.pt", "tiny")
    assert {name for name in vars(default) if getattr(found, name) != getattr(default, name)} - {"verify"} == left


def test_options_of_one_level_conflict(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--calib is for int8"):
        requested(tmp_path / "conversion.toml", "adapter = 'tiny'\n", "best.pt", "--fp16", "--calib", "train")
    with pytest.raises(UsageError, match="--calib is for int8"):
        requested(tmp_path / "conversion.toml", "adapter = 'tiny'\nfp16 = true\ncalib = 'train'\n", "best.pt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('source = "shop.models:build"', ["shop.models:build"]),
        ('source = "config.py"', ["config.py"]),
        ('plugins = "plugins.toml"', ["--plugins", "plugins.toml"]),
        ('plugin-lib = ["a.so", "b.so"]', ["--plugin-lib=a.so", "--plugin-lib", "b.so"]),
        ('ort-custom-ops = ["ops.so"]', ["--ort-custom-ops", "ops.so"]),
        ('[set]\nrepo = "checkout"', ["--set", "repo=checkout"]),
    ],
)
def test_code_that_only_the_file_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkout").mkdir()
    path = tmp_path / "conversion.toml"
    source = [] if text.startswith("source") else ["best.pt"]
    with pytest.raises(UsageError, match="names code") as caught:
        requested(path, text, *source)
    assert words[-1] in str(caught.value.hint) or words[0].partition("=")[2] in str(caught.value.hint)
    assert requested(path, text, *source, *words).source


@pytest.mark.parametrize(
    "source",
    ["evil:build", " evil:build ", "evil:1", "evil:a\u00b7b", "a:b/evil.py:build", "x::/evil.py:build", "evil.py "],
)
def test_no_spelling_of_code_gets_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A file of that name, which may come with the conversion file, changes nothing."""
    monkeypatch.chdir(tmp_path)
    Path("evil:build").touch()
    with pytest.raises(UsageError, match="names code"):
        requested(tmp_path / "conversion.toml", f'source = "{source}"\nadapter = "torch"\n')


@pytest.mark.parametrize(
    "source", ["mmdet::detr_r50_8xb2-150e_coco", "https://host:8080/best.pt", "s3://models/best.pt"]
)
def test_a_source_with_a_colon_that_is_not_code(tmp_path: Path, source: str) -> None:
    assert requested(tmp_path / "conversion.toml", f'source = "{source}"\nadapter = "detr"\n').source == source


def test_a_folder_of_code_with_spaces_around_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--set`` strips its values."""
    monkeypatch.chdir(tmp_path)
    Path("checkout").mkdir()
    path = tmp_path / "conversion.toml"
    with pytest.raises(UsageError, match=r"conversion\.toml:2: set\.repo names code"):
        requested(path, '[set]\nrepo = " checkout "\n', "best.pt")
    with pytest.raises(UsageError, match="names code"):  # the same word elsewhere on the command line does not allow it
        requested(path, '[set]\nrepo = "checkout"\n', "best.pt", "-o", "checkout")
    for words in (["-s", "repo=checkout"], ["-srepo=checkout"], ["--set=repo=checkout"]):
        assert requested(path, '[set]\nrepo = "checkout"\n', "best.pt", *words).options == {"repo": "checkout"}


def test_a_switch_can_be_turned_off_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "conversion.toml"
    assert requested(path, 'source = "x"\nadapter = "tiny"\nsimplify = false\n', "--simplify").simplify
    with pytest.raises(click.UsageError):
        requested(path, 'adapter = "tiny"\n')


def test_calibration_and_labeled_images_are_part_of_it(tmp_path: Path) -> None:
    request = Request(
        source="best.pt",
        adapter="tiny",
        precision="int8",
        calibration=CalibrationRequest(Path("calib"), images=100, method="entropy", cache=Path("ranges.json")),
        data=LabeledData(Path("val.json"), images=Path("val"), max_loss=0.3),
    )
    again = requested(tmp_path / "conversion.toml", conversion_text(request, {}, 0, ""))
    assert (again.calibration, again.data) == (request.calibration, request.data)
