"""The source model of a converted file: named by the caller, never by the report next to the file."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import ModelError, UsageError, printable
from adaptrt.options import takes_option
from adaptrt.pipeline.adapter_session import AdapterSession
from adaptrt.pipeline.beside import SUFFIX, report_of
from adaptrt.pipeline.embedding import network_spec
from adaptrt.pipeline.load import Model
from adaptrt.pipeline.sessions import open_session
from adaptrt.pipeline.verification.selected import is_selected
from adaptrt.process_wide import process_wide
from adaptrt.request import Request, ShapeRequest
from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Origin:
    """How to load the source model of a converted file: the arguments of ``adaptrt convert``.

    A source can name code (``module:attribute``, a ``.py`` file), and so can weights and options. They
    come from the caller only, since a report may have been written by anyone.
    """

    adapter: str
    source: str
    weights: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    trust_checkpoint: bool = False

    @classmethod
    def named(
        cls,
        adapter: str | None,
        source: str | None,
        weights: Path | None,
        options: Mapping[str, Any],
        trust_checkpoint: bool,
    ) -> Origin | None:
        """``None`` unless both the adapter and the source are given."""
        if adapter is None or source is None:
            return None
        return cls(adapter, source, weights, options, trust_checkpoint)


def split_params(
    adapter: str, params: Mapping[str, Any], plugins_file: Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the adapter, and the remaining ones for the decoder, as ``adaptrt convert`` splits ``--set``."""
    taken = open_session(adapter, plugins_file)[0].hooks.adapter_options()
    own = {key: value for key, value in params.items() if taken is not None and takes_option(taken, key)}
    return own, {key: value for key, value in params.items() if key not in own}


def load_reference(
    path: Path, origin: Origin, *, plugins_file: Path | None = None, compiled: bool = False, device: str = "cpu"
) -> Model:
    """The unpatched model, eager, with the pre- and postprocessing of the converted file.

    ``compiled``: with ``torch.compile``, which compiles at the first call of each shape. ``device``: of torch.
    Only the spec is taken from the report: shapes, preprocessing, decoder, labels.
    """
    report = report_of(path)
    if report is None or report.spec is None:
        raise ModelError(
            f"The pre- and postprocessing of {path.name} are unknown: its report is missing.",
            hint=f"Copy the report (<name>{SUFFIX}) next to the file.",
        )
    from adaptrt.export.eager import EagerRunner

    spec = network_spec(report.spec)
    model = load_network(path, spec, origin, plugins_file=plugins_file)
    runner = EagerRunner(model, tuple(output.name for output in spec.outputs), device)
    if compiled:
        runner.compile()
    return Model(runner, spec, path, plugins_file=plugins_file)


def load_network(path: Path, spec: ModelSpec, origin: Origin, *, plugins_file: Path | None = None) -> nn.Module:
    """The unpatched model at the shapes of ``spec``, that of the converted file ``path``."""
    with tempfile.TemporaryDirectory(prefix="adaptrt-reference-") as folder, process_wide():
        request = Request(
            origin.source,
            origin.adapter,
            weights=origin.weights,
            shapes=ShapeRequest(shapes={tensor.name: tensor.profiles for tensor in spec.inputs}),
            options=origin.options,
            trust_checkpoint=origin.trust_checkpoint,
            plugins_file=plugins_file,
        )
        session = AdapterSession(request, Path(folder))
        if is_selected(spec) and not is_selected(session.spec):  # a two-stage network contains NMS
            raise ModelError(
                f"{path.name} ends in NMS, but the source model does not.",
                hint="Convert without --nms to compare with backend eager.",
            )
        return session.model.eval()


def origin_missing(path: Path, command: Sequence[str] = ()) -> UsageError:
    """The error for backend eager without a model; nothing that the report names is loaded.

    ``command`` is the command line so far; the hint completes it with values from the report, quoted.
    """
    report = report_of(path)
    message = "Backend eager needs --adapter and --source; they are never taken from the report."
    if report is None:
        return UsageError(message, hint="Use the values that were passed to adaptrt convert.")
    program, given = list(command[:2]) or ["adaptrt", "evaluate"], list(command[2:])
    flags = {word.partition("=")[0] for word in given}
    words: list[str] = []
    for flag, value in (("--adapter", report.adapter), ("--source", report.source), ("--weights", report.weights)):
        if value and flag not in flags:
            words += [flag, value]
    decoder = report.spec.decoder.params if report.spec and report.spec.decoder else {}
    for key, value in report.options.items():
        if key not in decoder:
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    full = shlex.join([*program, *map(printable, words), *given])
    return UsageError(
        message,
        hint=f"According to the report of {path.name}, the command is as follows. Check it before you run it: {full}",
    )
