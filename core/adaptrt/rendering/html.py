"""A report as one self-contained page: no scripts, fonts or links to load; images are embedded."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import quantities
from adaptrt.errors import OutputError
from adaptrt.rendering import charts, formatting
from adaptrt.rendering.figures import image_figures
from adaptrt.rendering.tuning import pareto_plot
from adaptrt.specs.backends import backend_title
from adaptrt.store.workspace import written_aside

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from adaptrt.report import Report

_TEMPLATES = Path(__file__).parent / "templates"


def render_html(report: Report) -> str:
    """The page as text. Images that still exist are drawn and embedded."""
    return render_template(
        "report.html.j2",
        report=report,
        verdict=formatting.verdict(report),
        word=formatting.verdict_word(report),
        missing=formatting.missing_of(report),
        name=Path(report.source).name or report.source,
        cards=charts.link_cards(report),
        figures=image_figures(report),
        operators=charts.operator_rows(report),
        stages=charts.stage_rows(report),
        tuning=report.tuning,
        pareto=pareto_plot(report.tuning) if report.tuning is not None else None,
    )


def render_template(name: str, /, **values: object) -> str:
    """A template of this package with these values; text in them is escaped."""
    return _environment().get_template(name).render(**values)


def write_html(report: Report, path: Path) -> Path:
    return write_document(path, render_html(report))


def write_document(path: Path, text: str) -> Path:
    """Write to a temporary file, then rename; missing folders are created. Raises an ``OutputError`` if that fails."""
    try:
        with written_aside(path, parents=True) as aside:
            aside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Choose another location."
        ) from error
    return path


def breakable(name: str) -> Markup:
    """A dotted name that may be broken after its dots and colons, escaped."""
    from markupsafe import Markup, escape

    text = str(escape(name))
    return Markup(re.sub(r"([.:/])(?=\w)", r"\1<wbr>", text))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        formatting.number, quantities.duration, quantities.file_size, formatting.value_text, formatting.limit_text, formatting.allows_text, formatting.stage_title,
        formatting.describe_transform, formatting.describe_decoder, formatting.output_shape, formatting.input_shape, formatting.display_path,
        breakable, backend_title,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    return environment
