from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from adaptrt.rendering.terminal import checks_table, next_commands, print_summary
from adaptrt.report import ArtifactRecord, FileRecord, Report, Verdict
from adaptrt.specs import Dim, InputSpec


def shown(report: Report, *, width: int = 120, verbose: bool = False, color: bool = False) -> str:
    text = io.StringIO()
    console = Console(
        file=text, width=width, force_terminal=color, highlight=False, color_system="standard" if color else None
    )
    print_summary(console, report, verbose=verbose, image=Path("an image.jpg"))
    return text.getvalue()


def test_a_row_for_each_link_with_its_worst_check(report: Report) -> None:
    lines = shown(report).splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("2 ONNX Runtime vs. reference"))
    assert lines[at].split()[5:] == ["passed"]
    assert lines[at + 1].split() == ["output0:", "scores", "(of", "2)", "9.0e-05", "≤", "0.0001"]
    at = next(index for index, line in enumerate(lines) if line.startswith("4 engine"))
    assert lines[at].split()[4:] == ["not", "run"]
    assert lines[at + 1].strip() == "no engine was built"


def test_the_summary_says_what_images_the_file_takes(report: Report) -> None:
    assert "images: batches of 1 to 16; 64 high, 96 wide\n" in shown(report)
    assert report.spec is not None
    fixed = replace(report.spec, inputs=(InputSpec.image(64, 96, batch=Dim.fixed(4)),))
    assert "images: always 4 at a time; 64 high, 96 wide\n" in shown(replace(report, spec=fixed))
    assert " high, " not in shown(replace(report, spec=replace(report.spec, image=None)))


def test_a_link_that_did_not_run_is_never_green(report: Report) -> None:
    green = [line for line in shown(report, color=True).splitlines() if "\x1b[32m" in line]
    assert any("passed" in line for line in green)
    assert not any("not run" in line for line in green)


def test_every_check_when_asked(report: Report) -> None:
    text = shown(report, verbose=True)
    assert text.count("output0: boxes") == 2
    assert "tinyvision.nets:cells" in text
    assert "30 → 22" in text


def test_a_failed_check_is_the_one_that_is_shown(failed: Report) -> None:
    text = io.StringIO()
    Console(file=text, width=100).print(checks_table(failed))
    lines = text.getvalue().splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("2 "))
    assert "failed" in lines[at]
    assert "0.31" in lines[at + 1]


def test_it_fits_eighty_columns(report: Report) -> None:
    lines = shown(report, width=80).splitlines()
    assert max(map(len, lines[: lines.index("Next")])) <= 80
    assert lines[-1].endswith("best.onnx"), "a command is never broken: it is to be pasted"


def test_a_name_is_in_one_piece_and_a_long_path_is_whole(report: Report) -> None:
    long = f"{'folder/' * 12}best.onnx"
    report.files = {
        "onnx": FileRecord(
            "swin_base_patch4_window12_384.fp16.onnx", 119_000_000, "ab" * 32, Verdict("partly verified")
        ),
        "json": FileRecord("best.onnx.json", 1, "ab" * 32),
    }
    lines = shown(report, width=80).splitlines()
    (line,) = [line for line in lines if line.startswith("swin_base_patch4_window12_384.fp16.onnx ")]
    assert "partly verified  sha256 a" in line
    assert max(map(len, lines[: lines.index("Next")])) <= 80
    report.files["onnx"].path = long
    lines = shown(report, width=80).splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("folder/"))
    assert "".join(line.split()[0] for line in lines[at : at + 3]).startswith(long[:60])


def test_files_and_what_to_do_next(report: Report) -> None:
    page = Path(report.files["onnx"].path).with_name("best.report.html")
    page.write_text("page")
    report.reports = [str(page)]
    text = shown(report, width=200)
    assert "1.2 MB" in text
    assert "sha256 abababababab" in text
    assert "best.report.html" in text
    assert next_commands(report, None)[0].endswith("best.onnx image.jpg")
    assert "'an image.jpg'" in text


def test_without_images_no_predict(report: Report) -> None:
    from dataclasses import replace

    assert report.spec is not None
    report.spec = replace(report.spec, image=None)
    (command,) = next_commands(report, None)
    assert command.startswith("adaptrt inspect ")


def test_names_are_not_markup(report: Report) -> None:
    report.link(2).checks[1].name = "[red]output0[/red]: [bold]"
    assert "[red]output0[/red]: [bold]" in shown(report)


def test_what_onnx_runtime_cannot_run_is_only_looked_into(report: Report) -> None:
    report.files = {"reduced": FileRecord("best.bf16.onnx", 1, "", runs=False)}
    assert next_commands(report, None) == ["adaptrt inspect best.bf16.onnx"]


def test_a_verified_file_of_any_backend_comes_first(report: Report) -> None:
    report.files["copy.bin"] = FileRecord("best.copy.bin", 1, "")
    report.artifacts = [ArtifactRecord("copy.bin", "copying", "fp32", status="passed")]
    assert next_commands(report, None)[0].startswith("adaptrt predict best.copy.bin ")
    report.artifacts[0].status = "not run"
    assert next_commands(report, None)[0].endswith("best.onnx image.jpg")
