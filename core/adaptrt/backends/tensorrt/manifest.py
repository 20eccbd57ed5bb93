"""The manifest beside an engine, ``best.engine.json``: its contents, how it was built, and whether it runs on this machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from adaptrt.backends.tensorrt.build.log import LogNote
from adaptrt.backends.tensorrt.build.precision_report import PrecisionReport
from adaptrt.backends.tensorrt.generations import ProductName, product_named
from adaptrt.errors import AdaptrtError, EngineError, printable
from adaptrt.json_text import formatted_json
from adaptrt.report import Link, PassRecord, PatchRecord
from adaptrt.report_versions import upgrade_links
from adaptrt.specs import BuildOptions, ModelSpec
from adaptrt.specs.versions import entries, rename, upgrade_spec
from adaptrt.store.hashing import file_sha256

FORMAT = "adaptrt engine 2"
_EARLIER = ("adaptrt engine 1",)


@dataclass
class LibraryRecord:
    """A plugin library the engine needs."""

    path: str
    sha256: str


@dataclass
class Manifest:
    """The record of one engine. ``rebuild`` is the command that rebuilds it from its ONNX file.

    ``product`` and ``tensorrt``: the library that built it, and its version. ``gpu`` and ``capability``: the GPU that it
    was built on and for; empty if it is for any of ``compute_capabilities``. ``host_code``: the plan contains host code
    (version-compatible engines do), which runs when it is loaded.
    """

    plan_sha256: str
    plan_bytes: int
    onnx: str
    onnx_sha256: str
    tensorrt: str
    cuda: str
    driver: str | None
    gpu: str
    capability: str
    precision: str
    spec: ModelSpec
    precision_report: PrecisionReport
    options: BuildOptions = field(default_factory=BuildOptions)
    keep_fp32: tuple[str, ...] = ()
    host_code: bool = False
    device_memory: int = 0
    plugin_libs: list[LibraryRecord] = field(default_factory=list)
    patches: list[PatchRecord] = field(default_factory=list)
    passes: list[PassRecord] = field(default_factory=list)
    checks: list[Link] = field(default_factory=list)
    messages: list[LogNote] = field(default_factory=list)
    adapter: str = ""
    source: str = ""
    plugins: dict[str, str] = field(default_factory=dict)
    command: str = ""
    rebuild: str = ""
    adaptrt: str = ""
    created: str = ""
    build_seconds: float = 0.0
    product: ProductName = "tensorrt"
    compute_capabilities: tuple[str, ...] = ()
    format: str = FORMAT

    @property
    def builder(self) -> str:
        """``TensorRT 10.16.1``."""
        return f"{product_named(self.product).title} {self.tensorrt}"

    @property
    def made_for(self) -> str:
        """``sm_90 (NVIDIA H100)``, or the compute capabilities."""
        if self.compute_capabilities:
            return f"compute capability {', '.join(self.compute_capabilities)}"
        return f"{_sm(self.capability)} ({self.gpu})"

    def to_json(self) -> str:
        return formatted_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read a manifest; raises an ``EngineError`` if it is invalid."""
        try:
            kind = msgspec.json.decode(text, type=_Kind).format
            if kind == FORMAT or kind in _EARLIER:
                return msgspec.convert(_upgrade(msgspec.json.decode(text)), cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError, AdaptrtError) as error:
            raise EngineError(
                f"The manifest cannot be read: {error}.", hint="Build the engine again, or restore its .json file."
            ) from error
        if kind.startswith("adaptrt engine "):
            raise EngineError(
                f"The manifest has format {kind!r}; this version of adaptrt reads {FORMAT!r}.",
                hint="Update: pip install -U adaptrt",
            )
        raise EngineError("The .json file beside this engine is not an adaptrt manifest.", hint="Move or rename it.")


def _upgrade(raw: dict[str, Any]) -> dict[str, Any]:
    """A manifest as data, under today's keys; format 1 called the precision report a receipt."""
    upgrade_links(entries(raw, "checks"))
    rename(raw, "receipt", "precision_report")
    if "spec" in raw:
        raw["spec"] = upgrade_spec(raw["spec"])
    return {**raw, "format": FORMAT}


@dataclass
class _Kind:
    format: str = ""


@dataclass(frozen=True)
class RuntimeEnvironment:
    """The environment that an engine is to run in: the product's version and flavor (full, lean, dispatch), and the GPU."""

    tensorrt: str
    capability: str
    gpu: str = ""
    flavor: str = "full"
    product: ProductName = "tensorrt"


def manifest_path(plan: Path) -> Path:
    """``best.engine.json`` for ``best.engine``."""
    return plan.with_name(plan.name + ".json")


def find_manifest(plan: Path) -> Manifest | None:
    """The manifest beside a plan, which may describe another; ``None`` if there is none, for a plan not built by adaptrt."""
    path = manifest_path(plan)
    return Manifest.from_json(path.read_bytes()) if path.is_file() else None


def matching_manifest(plan: Path) -> Manifest | None:
    """The manifest of a plan, as ``check_plan`` accepts it; ``None`` if there is none."""
    manifest = find_manifest(plan)
    if manifest is not None:
        check_plan(manifest, plan)
    return manifest


def check_manifest(
    manifest: Manifest,
    plan: Path,
    here: RuntimeEnvironment,
    *,
    allow_host_code: bool = False,
    plugin_libs: Sequence[str] = (),
) -> list[str]:
    """Raise an ``EngineError`` if the engine cannot run on this machine, before TensorRT fails; returns warnings otherwise.

    ``check_plan`` checks that the plan belongs to the manifest. ``plugin_libs`` are the libraries that the caller allows:
    loading one runs its code, so the paths in a manifest are never opened, only compared by file name and hash.
    """
    warnings = []
    built = f"{plan.name} was built with {manifest.builder} for {manifest.made_for}"
    title = product_named(here.product).title
    at_hand = (
        f"this machine has {title} {here.tensorrt} on {_sm(here.capability)}{f' ({here.gpu})' if here.gpu else ''}"
    )
    hint = f"Rebuild it here with: {rebuild_line(manifest)}" if manifest.rebuild else "Build it again on this machine."
    problem = _version_problem(manifest, here) or _gpu_problem(manifest, here)
    if problem:
        raise EngineError(f"{built}; {at_hand}: {problem}.", hint=hint)
    if manifest.options.strip_weights:
        raise EngineError(
            f"{plan.name} contains no weights (--strip-weights): it must be refitted before it runs.",
            hint=f"Refit it with TensorRT's Refitter, or build it with its weights: {rebuild_line(manifest)}",
        )
    if manifest.host_code and not allow_host_code:
        raise EngineError(
            f"{plan.name} is version-compatible: it contains host code, which runs when the engine is loaded.",
            hint="If you trust its source, allow it: --allow-host-code (in Python: allow_host_code=True).",
        )
    given = {Path(path).name: path for path in plugin_libs}
    for library in manifest.plugin_libs:
        path = given.get(Path(library.path).name)
        if path is None:
            recorded = printable(library.path)
            raise EngineError(
                f"{plan.name} requires the plugin library {recorded}, which is code and is loaded only if you specify it.",
                hint=f"If you trust it, specify its path: --plugin-lib {shlex.quote(recorded)} (in Python: plugin_libs=).",
            )
        if not Path(path).is_file():
            raise EngineError(
                f"{plan.name} requires the plugin library {path}, which does not exist.",
                hint="Check the path given to --plugin-lib (in Python: plugin_libs=).",
            )
        if file_sha256(Path(path)) != library.sha256:
            warnings.append(f"{path} is not the plugin library that {plan.name} was built with.")
    if here.gpu and manifest.gpu and here.gpu != manifest.gpu:
        warnings.append(f"{plan.name} was built on {manifest.gpu}; on {here.gpu} it may be slower.")
    return warnings


def check_plan(manifest: Manifest, plan: Path) -> None:
    """Whether the plan is the one that the manifest describes."""
    if not plan.is_file():
        raise EngineError(f"Engine not found: {plan}.", hint="Its manifest exists; build the engine again.")
    size = plan.stat().st_size
    if size < manifest.plan_bytes:
        raise EngineError(
            f"{plan.name} is truncated: {size} of {manifest.plan_bytes} bytes.",
            hint="Copy it again, or build it again.",
        )
    if size != manifest.plan_bytes or file_sha256(plan) != manifest.plan_sha256:
        raise EngineError(
            f"{plan.name} is not the engine that {manifest_path(plan).name} describes: one of them was changed or replaced.",
            hint="Use a matching engine and manifest, or build the engine again.",
        )


def rebuild_line(manifest: Manifest) -> str:
    """The rebuild command, quoted again: a manifest is untrusted data, and users paste the command into a shell."""
    try:
        words = shlex.split(printable(manifest.rebuild))
    except ValueError:
        words = []
    return shlex.join(words) if words[:2] == ["adaptrt", "build"] else "adaptrt build MODEL.onnx"


def _version_problem(manifest: Manifest, here: RuntimeEnvironment) -> str | None:
    if manifest.product != here.product:
        return f"only {product_named(manifest.product).title} can load it"
    built, found = _numbers(manifest.tensorrt), _numbers(here.tensorrt)
    if manifest.options.version_compatible:
        if found[:2] < built[:2]:
            return "version-compatible engines run on the same or a later version, not on an earlier one"
        if built[:1] == (8,) and found[:1] >= (11,):
            return "TensorRT 11 rejects engines older than 10"
        return None
    if here.flavor != "full":
        return f"the {here.flavor} runtime runs version-compatible engines only (--version-compatible)"
    if built[:3] != found[:3]:
        return "an engine runs on the version that built it, unless built with --version-compatible"
    return None


def _gpu_problem(manifest: Manifest, here: RuntimeEnvironment) -> str | None:
    if manifest.compute_capabilities:
        return capability_problem(manifest.compute_capabilities, here.capability)
    if manifest.capability == here.capability:
        return None
    if manifest.options.hardware_compatible == "ampere+":
        return None if float(here.capability) >= 8.0 else "hardware-compatible engines need sm_80 or later"
    return "an engine runs on the compute capability it was built for, unless built with --hardware-compatible ampere+"


def capability_problem(capabilities: Sequence[str], here: str) -> str | None:
    """Why an engine for these compute capabilities does not run on this one."""
    if here in capabilities:
        return None
    return f"the engine runs on compute capability {', '.join(capabilities)}, not on {here}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if re.fullmatch("[0-9]{1,9}", part))


def _sm(capability: str) -> str:
    return f"sm_{capability.replace('.', '')}"
