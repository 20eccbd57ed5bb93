"""The page: whole, self-contained, safe with hostile names, and true to the report."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt.errors import OutputError
from adaptrt.rendering.html import render_html, write_html
from adaptrt.report import ImageRecord, PredictionRecord, Report, Verdict

VOID = {"br", "hr", "img", "input", "link", "meta", "path", "wbr"}
HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x>\"'&{{ 7919 * 7907 }}"


class Page(HTMLParser):
    """Text, tags and attributes of a page; complains of tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.pieces: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def images(self) -> list[bytes]:
        sources = [value for tag, name, value in self.attributes if (tag, name) == ("img", "src")]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [base64.b64decode(source.partition(",")[2], validate=True) for source in sources]


def test_everything_of_the_report_is_there(report: Report) -> None:
    page = Page(render_html(report))
    for piece in (
        "best.pt", "partly verified", "Partly verified: 3 of 6 links ran, all 4 checks passed. Missing checks are listed below.",
        "link 0 did not run: no --image", "30 → 22", "opset 17", "1.2 MB",
        "not run: no engine was built", "output0: scores", "9.0e-05", "≤ 0.0001", "90 %", "below any threshold",
        "red", "tinyvision. nets: cells", "shape reads", "torch>=2", "fold", "a note", "Export to ONNX", "2.0 s",
        "batch:1..16@8x3x64x96", "batch x 7 x 96", "yolo: conf 0.4", "ab" * 32, "2.11", "adaptrt-tiny 0.3",
        "adaptrt convert --adapter tiny nets/best.pt",
    ):  # fmt: skip
        assert piece in page.text, piece


def test_the_links_stand_in_order_with_their_state(report: Report) -> None:
    states = re.findall(r'<div class="knot (\w+)"', render_html(report))
    assert states == ["idle", "passed", "passed", "idle", "idle", "passed"]


def test_nothing_comes_from_elsewhere(report: Report) -> None:
    text = render_html(report)
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "action", "srcset", "poster", "data"):
            assert value.startswith("data:image/"), (tag, name, value)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in text


def test_it_follows_light_and_dark_and_small_screens(report: Report) -> None:
    text = render_html(report)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "max-width: 760px" in text


def test_images_are_inside_with_their_boxes(report: Report) -> None:
    import cv2

    page = Page(render_html(report))
    images = page.images()
    assert len(images) == 2
    for data in images:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        original = cv2.imread(report.images[0].path)
        assert decoded.shape == original.shape
        assert np.abs(decoded.astype(int) - original).max() > 60, "nothing was drawn"
    assert page.text.index("PyTorch, original") < page.text.index("ONNX Runtime 1 red")
    assert "2 of 2 boxes have a match, within 0.001 px and 1e-06 of its score" in page.text


def test_large_images_are_made_smaller_boxes_with_them(report: Report, tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.full((1500, 3000, 3), 128, np.uint8))
    data = {"scores": [0.9], "labels": [0], "names": ["red"], "boxes": [[1500.0, 0.0, 3000.0, 1500.0]]}
    report.images = [ImageRecord(str(path), {"eager": PredictionRecord("detect", "1 red", data)})]
    (data,) = Page(render_html(report)).images()
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[:2] == (550, 1100)
    changed = np.abs(drawn.astype(int) - 128).max(axis=2) > 40
    assert changed[:, 540:].any()
    assert not changed[:, :530].any()


def test_an_image_that_is_gone_is_named(report: Report) -> None:
    Path(report.images[0].path).unlink()
    page = Page(render_html(report))
    assert page.images() == []
    assert "File not found" in page.text
    assert "1 red, 1 blue" in page.text


def test_classes_become_bars(report: Report) -> None:
    names = ("ant", "bee", "cat")
    data = {"scores": [0.75, 0.2, 0.05], "labels": [2, 0, 1], "names": names}
    classes = PredictionRecord("classify", "cat 0.750", data)
    report.images[0].predictions = {"eager": classes, "tensorrt": classes}
    page = Page(render_html(report))
    assert len(page.images()) == 1
    assert page.text.count("75.00 %") == 2
    assert "TensorRT cat 75.00 % ant 20.00 %" in page.text


def test_class_maps_are_painted(report: Report) -> None:
    from adaptrt import SemanticMap
    from adaptrt.specs import task_named

    labels = np.zeros((96, 128), np.uint8)
    labels[:, 64:] = 1
    other = labels.copy()
    other[0, 0] = 1
    task = task_named("semantic")
    for name, found in {"eager": labels, "onnxruntime": other}.items():
        prediction = SemanticMap(found, ("background", "red"))
        record = PredictionRecord("semantic", task.describe(prediction), task.record(prediction))
        report.images[0].predictions[name] = record
    page = Page(render_html(report))
    assert len(page.images()) == 2
    assert "background 50.0%, red 50.0%" in page.text
    assert "99.992% of the pixels have the same class" in page.text


def test_a_record_that_cannot_be_read_or_whose_task_is_not_here(report: Report) -> None:
    report.images[0].predictions = {
        "eager": PredictionRecord("semantic", "sky 100.0%", {"height": 9}),
        "onnxruntime": PredictionRecord("tides", "high"),
    }
    page = Page(render_html(report))
    assert "sky 100.0% (A recorded class map must have height" in page.text
    assert "high (Unknown task 'tides'.)" in page.text


def test_raw_values_are_named(report: Report) -> None:
    report.images[0].predictions = {"eager": PredictionRecord("values", "logits (3,)")}
    assert "logits (3,)" in Page(render_html(report)).text


def test_hostile_names_are_text(report: Report) -> None:
    assert report.spec is not None
    report.spec = replace(
        report.spec,
        labels=(HOSTILE, "blue"),
        inputs=(replace(report.spec.inputs[0], name=HOSTILE),),
        image=replace(report.spec.image, input=HOSTILE),  # type: ignore[type-var]
    )
    report.source = report.adapter = report.command = HOSTILE
    report.warnings = report.notes = [HOSTILE]
    report.environment[HOSTILE] = report.plugins[HOSTILE] = HOSTILE
    report.operators["final"][HOSTILE] = 3
    report.patches[0].target = report.patches[0].reason = report.patches[0].requires = HOSTILE
    report.passes[0].name = report.passes[0].note = HOSTILE
    report.stages[0].name = report.stages[0].note = HOSTILE
    report.link(3).reason = report.link(2).checks[0].name = report.link(2).checks[0].reason = HOSTILE
    for prediction in report.images[0].predictions.values():
        prediction.names = (HOSTILE, "blue")
    text = render_html(report)
    page = Page(text)
    assert "script" not in page.tags
    assert len(page.images()) == 2
    assert not any(value.startswith("http") for _, _, value in page.attributes)
    assert str(7919 * 7907) not in page.text
    assert page.text.count("<script>alert('x')</script>") > 15


def test_a_failure_is_on_top(failed: Report) -> None:
    text = render_html(failed)
    page = Page(text)
    head = page.text.partition("Chain of proof")[0]
    for piece in ("failed", "Link 2 fails.", "VerificationError", "Try the other --exporter."):
        assert piece in head
    assert "verified" not in head
    assert re.findall(r'<div class="knot (\w+)"', text)[2] == "failed"
    assert "not run: an earlier stage failed" in page.text
    assert "3,100 times" in page.text


def test_what_is_not_finite_is_said(failed: Report) -> None:
    failed.link(2).checks[0] = replace(failed.link(2).checks[0], value=float("nan"), passed=False)
    assert "not finite" in Page(render_html(failed)).text


def test_the_emptiest_report_renders() -> None:
    page = Page(render_html(Report("tiny", "x", "adaptrt convert x", status="failed")))
    assert "failed" in page.text


def test_a_conversion_without_proof_is_not_called_verified(report: Report) -> None:
    for link in report.links:
        link.status, link.checks = "not run", []
    report.verdict = Verdict("not verified")
    head = Page(render_html(report)).text.partition("Chain of proof")[0]
    assert "not verified" in head


def test_a_report_read_from_json_renders_the_same(report: Report) -> None:
    assert render_html(Report.from_json(report.to_json())) == render_html(report)


def test_the_file_is_whole_or_absent(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.report.html"
    assert write_html(report, path) == path
    assert path.read_text(encoding="utf-8") == render_html(report)

    def full(self: Path, *_: Any, **__: Any) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="No space left"):
        write_html(report, tmp_path / "y.report.html")
    assert sorted(tmp_path.iterdir()) == before


def test_rendering_needs_neither_torch_nor_onnx(report: Report, tmp_path: Path) -> None:
    source, target = tmp_path / "r.json", tmp_path / "r.html"
    source.write_text(report.to_json())
    code = (
        "import sys\nfrom pathlib import Path\nfrom adaptrt import Report\nfrom adaptrt.rendering.html import write_html\n"
        "from adaptrt.rendering.terminal import print_summary, stdout_console\n"
        "report = Report.from_json(Path(sys.argv[1]).read_bytes())\n"
        "write_html(report, Path(sys.argv[2]))\nprint_summary(stdout_console(), report, verbose=True)\n"
        "sys.exit(str({'torch', 'onnx', 'onnx_ir', 'onnxruntime'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code, source, target], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert target.stat().st_size > 10_000
