"""One configuration of every family folder of mmdet's wheel: classified, and converted at a small size.

::

    python -m benchmarks.detectors.families                        classify every folder that has no entry yet
    python -m benchmarks.detectors.families --again tood vfnet     classify these folders again
    python -m benchmarks.detectors.families --convert              convert what has not been converted, the most different parts first
    python -m benchmarks.detectors.families --convert tood         convert this one, again

Results are added to results/mmdet_families.json after each folder, so that a run can be stopped and resumed.

Classification builds the network on the meta device and wraps it as a conversion does. A folder that an adapter accepts is
described by the classes of its layers; if all of them occur in converted networks, it has the same parts as these. Losses and the
preprocessor are not parts: they are not exported. Conversions use random weights, batches 1 and 2, and no image: they compare
the exported graph with the network (links 1 and 2). The networks of results/detr_family.json and the two-stage fixtures, which were also
compared with mmdet's own predict, count as converted; their parts are kept beside the folders.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common.results import FOLDER, machine

RESULT = FOLDER / "mmdet_families.json"
BUILD_SECONDS, CONVERT_SECONDS = 120, 900
SIZE = (128, 256)
SIZES = {"ssd": (300, 300), "dino": (320, 416), "ddq": (320, 416)}
FEW_PROPOSALS = {"cfg.model.test_cfg.rpn.nms_pre": "60", "cfg.model.test_cfg.rpn.max_per_img": "20"}
"""Enough to compare, and quick on a CPU."""
UNSURE = {"cfg.model.test_cfg.rcnn.score_thr": "0.0", "conf": "0.0"}
"""Random weights give each class a score near 1 / classes."""
PREFERRED = ("r18", "tiny", "_s_", "r50")
SIMPLE = ("retinanet", "faster-rcnn", "mask-rcnn", "fcos", "cascade")
TRIED = 5
"""Configurations of a folder, until an adapter accepts one."""
NOT_EXPORTED = ("GHMC", "GHMR", "BatchFixedSizePad", "BatchSyncRandomResize")
WITHOUT_COMPILED_OPS = ("merge_cells", "multi_scale_deform_attn", "roi_align", "deform_conv", "modulated_deform_conv")
"""Modules of mmcv.ops in plain torch, or computed by torchvision."""


def folders() -> list[Path]:
    import mmdet

    root = Path(mmdet.__file__).parent / ".mim" / "configs"
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name != "_base_")


def candidates(folder: Path) -> list[Path]:
    """The configurations of a folder: those with its name in theirs, simple detectors and small networks first."""

    def rank(path: Path) -> tuple[bool, int, int, int, str]:
        own = folder.name.replace("_", "") in path.name.replace("_", "").replace("-", "")
        simple, size = (_first(path.name, names) for names in (SIMPLE, PREFERRED))
        return not own, simple, size, len(path.name), path.name

    return sorted(folder.glob("*.py"), key=rank)


def _first(name: str, parts: tuple[str, ...]) -> int:
    return next((index for index, part in enumerate(parts) if part in name), len(parts))


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Of CPU time, so that a busy machine decides nothing."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"longer than {seconds} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def classify(folder: Path) -> dict[str, Any]:
    """The first configuration that an adapter accepts, else the first of all with the reason for its refusal."""
    tried: list[dict[str, Any]] = []
    for path in candidates(folder):
        found = classified(path)
        if found is not None:
            tried.append(found)
        if len(tried) == TRIED or (found is not None and found["verdict"] == "accepted"):
            break
    if not tried:
        return {"verdict": "no model", "reason": "its files define no network: settings and data sets for others"}
    accepted = [one for one in tried if one["verdict"] == "accepted"]
    chosen = (accepted or tried)[0]
    others = {one["config"]: one["reason"] for one in tried if one is not chosen}
    return {**chosen, **({"others": others} if others else {})}


def classified(path: Path) -> dict[str, Any] | None:
    """Its detector, the adapter that takes it, and the classes of its layers, or the reason why none does.

    ``None`` if it defines no network.
    """
    from adaptrt import AdaptrtError
    from adaptrt_mmdet.configs import load_config

    entry: dict[str, Any] = {"config": path.stem}
    try:
        with at_most(BUILD_SECONDS):
            config = load_config(str(path), {})
            if not isinstance(config.model.type, str):
                config.model.type = config.model.type.__name__
            entry["detector"] = config.model.type
            return {**entry, **wrapped(config, built(config))}
    except AdaptrtError as error:
        if "does not define a model" in error.message:
            return None
        return {**entry, "verdict": "refused", "reason": error.message}
    except TimeoutError as error:
        return {**entry, "verdict": "refused", "reason": f"not built: {error}"}
    except Exception as error:  # an adapter should refuse by name; the table shows where it does not
        return {**entry, "verdict": "error", "reason": f"{type(error).__name__}: {error}"}


def built(config: Any) -> Any:
    """On the meta device, without weights; on the CPU if a constructor reads numbers."""
    import torch

    from adaptrt import ModelError
    from adaptrt_mmdet.build import quiet, without_remote_weights
    from adaptrt_mmdet.configs import without_downloads
    from adaptrt_mmdet.stand_in import ensure_ops

    ensure_ops()
    import mmdet.models  # noqa: F401  # registers them
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    reasons = []
    for device in ("meta", "cpu"):
        try:
            with (
                quiet(),
                without_remote_weights(),
                DefaultScope.overwrite_default_scope("mmdet"),
                torch.device(device),
            ):
                return MODELS.build(without_downloads(config.model))
        except ModelError:
            raise
        except Exception as error:  # constructors of mmdet may raise anything
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
    raise ModelError(f"mmdet cannot build it: {reasons[-1][:200]}")


def wrapped(config: Any, detector: Any) -> dict[str, Any]:
    from adaptrt_mmdet.dense_family import wrap_dense
    from adaptrt_mmdet.options import DetrOptions, OneAndTwoStageOptions
    from adaptrt_mmdet.query_family import FAMILY, wrap
    from adaptrt_mmdet.sources import Source
    from adaptrt_mmdet.two_stage_family import is_two_stage, wrap_two_stage

    source = Source(config, None, detector)
    adapter, shape = "mmdet", "one stage"
    if type(detector).__name__ in FAMILY:
        adapter, shape = "detr", "queries"
        wrap(source, DetrOptions())
    elif is_two_stage(detector):
        shape = "two stages"
        wrap_two_stage(source, OneAndTwoStageOptions())
    else:
        wrap_dense(source)
    missing = compiled_only(detector)
    if missing:
        return {"verdict": "refused", "reason": f"operator {', '.join(missing)}: mmcv's compiled op"}
    parts = sorted({type(module).__name__ for module in detector.modules()})
    return {"verdict": "accepted", "adapter": adapter, "kind": shape, "parts": parts}


def compiled_only(detector: Any) -> list[str]:
    """Layers of mmcv whose operators torchvision does not have."""
    found = set()
    for module in detector.modules():
        for kind in type(module).__mro__:
            if kind.__module__.startswith("mmcv.ops.") and kind.__module__.split(".")[2] not in WITHOUT_COMPILED_OPS:
                found.add(kind.__name__)
    return sorted(found)


def settings(folder: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the conversion."""
    options = {**FEW_PROPOSALS, **UNSURE, "nms_rounds": "60"} if entry["kind"] == "two stages" else {}
    if entry["detector"] == "RPN":
        del options["cfg.model.test_cfg.rcnn.score_thr"]
    given: dict[str, Any] = {"imgsz": SIZES.get(folder, SIZE), "options": options}
    if any("DeformConv2d" in part for part in entry["parts"]):
        given |= {"opset": 19, "target": "10"}
    return given


def convert(folder: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    import adaptrt

    given = settings(folder, entry)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as text:
        os.environ["ADAPTRT_CACHE_DIR"] = text
        try:
            report = adaptrt.convert(
                entry["config"],
                adapter=entry["adapter"],
                output=Path(text) / "out.onnx",
                batch="1:2:2",
                verify="quick",
                html=False,
                **given,
            )
        except adaptrt.AdaptrtError as error:
            stage = error.report.failure.stage if error.report is not None and error.report.failure else ""
            return {"passed": False, "reason": " ".join(error.message.split())[:300], "stage": stage}
    links = {str(number): report.link(number).status for number in (1, 2)}
    return {
        "passed": links["2"] == "passed" and links["1"] != "failed",
        "links": links,
        "compared": report.link(2).reason,
        "size": list(given["imgsz"]),
        "opset": given.get("opset"),
        "nodes": sum(report.operators["final"].values()),
        "differences": {check.name: check.value for check in report.link(2).checks if check.kind != "metric"},
        "seconds": round(time.perf_counter() - started, 1),
    }


def converted(folder: str) -> dict[str, Any]:
    """In a separate process, with a time limit."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.detectors.families", "--one", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CONVERT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"passed": False, "reason": f"longer than {CONVERT_SECONDS // 60} minutes"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"passed": False, "reason": done.stderr.strip()[-300:] or f"exit code {done.returncode}"}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def exported(parts: Iterable[str]) -> set[str]:
    """Without the classes of losses and of what prepares images."""
    return {part for part in parts if not part.endswith(("Loss", "DataPreprocessor")) and part not in NOT_EXPORTED}


def passed_networks(kept: Mapping[str, Any]) -> dict[str, set[str]]:
    """The parts of all networks whose conversion passed, by the folder; a folder's network wins over a compared one."""
    found = {one["folder"]: exported(one["parts"]) for one in kept.get("compared", {}).values()}
    for name, one in kept["folders"].items():
        if one.get("converted", {}).get("passed"):
            found[name] = exported(one["parts"]) | found.get(name, set())
    return found


def covered(kept: Mapping[str, Any]) -> set[str]:
    """The parts of all networks whose conversion passed."""
    return {part for parts in passed_networks(kept).values() for part in parts}


def compared_networks() -> dict[str, dict[str, Any]]:
    """The configurations of results/detr_family.json that passed: their folder, and their parts."""
    measured = json.loads((FOLDER / "detr_family.json").read_text(encoding="utf-8"))["models"]
    found: dict[str, dict[str, Any]] = {}
    for entry in measured.values():
        result = entry.get("torchscript", {})
        if not result.get("passed"):
            continue
        (path,) = (path for folder in folders() for path in folder.glob(f"{result['config']}.py"))
        classes = classified(path)
        assert classes is not None
        found[path.stem] = {"folder": path.parent.name, "parts": classes["parts"]}
    return found | compared_fixtures()


def compared_fixtures() -> dict[str, dict[str, Any]]:
    """The trained Mask R-CNN of tests/fixtures, and the same without masks, if results/gpu_detectors.json has them."""
    from benchmarks.common.fixture_scores import FIXTURES
    from benchmarks.detectors.gpu import RESULT as GPU_RESULT

    measured = json.loads((FOLDER / f"{GPU_RESULT}.json").read_text(encoding="utf-8"))
    classes = classified(FIXTURES / "mask_rcnn_shapes.py")
    assert classes is not None
    parts = set(classes["parts"])
    boxes_only = parts - {"MaskRCNN", "FCNMaskHead", "ConvTranspose2d"} | {"FasterRCNN"}
    found = {}
    for folder, own in (("mask_rcnn", parts), ("faster_rcnn", boxes_only)):
        links = measured.get(f"convert_{folder}_fp32", {}).get("links", [])
        if {link["number"] for link in links if link["status"] == "passed"} >= {0, 2, 5}:
            found[f"{folder}_shapes"] = {"folder": folder, "parts": sorted(own)}
    return found


def cover(wanted: set[str], networks: Mapping[str, set[str]]) -> list[str]:
    """Few networks that have all the wanted parts between them, the one with most of them first."""
    chosen: list[str] = []
    left = set(wanted)
    while left:
        best = max(sorted(networks), key=lambda name: len(left & networks[name]))
        if not left & networks[best]:
            break
        chosen.append(best)
        left -= networks[best]
    return chosen


def next_folder(kept: Mapping[str, Any]) -> str | None:
    """The accepted folder, not converted yet, with the most parts that no converted one has."""
    known = covered(kept)
    left = {
        name: len(exported(one["parts"]) - known)
        for name, one in kept["folders"].items()
        if one["verdict"] == "accepted" and "converted" not in one
    }
    return max(left, key=lambda name: left[name]) if left else None


def verdict(name: str, kept: Mapping[str, Any]) -> tuple[str, str]:
    """A word and its reason, for the table."""
    one = kept["folders"][name]
    if one["verdict"] != "accepted":
        return one["verdict"], one["reason"]
    done = one.get("converted")
    if done is not None and done["passed"]:
        size = " x ".join(map(str, done["size"]))
        return "converted", f"{done['nodes']} nodes at {size}" + (f", opset {done['opset']}" if done["opset"] else "")
    if done is not None:
        return "fails", done["reason"] if "reason" in done else f"link 2: {done['links']['2']}"
    own = exported(one["parts"])
    networks = passed_networks(kept)
    compared = next((config for config, entry in kept.get("compared", {}).items() if entry["folder"] == name), None)
    if compared is not None:
        return "compared", f"{compared}: finds what mmdet's own predict finds (links 0, 2 and 5)"
    same = [other for other, parts in networks.items() if own <= parts]
    if same:
        return "same parts", f"as {min(same, key=lambda other: len(networks[other] - own))}"
    new = sorted(own - covered(kept))
    if not new:
        return "same parts", f"as {', '.join(cover(own, networks))} together"
    rest = cover(own - set(new), networks)
    return "accepted", f"parts that no converted network has: {', '.join(new)}; the others as {', '.join(rest)}"


def save(kept: dict[str, Any]) -> None:
    kept["machine"] = machine("adaptrt", "adaptrt-mmdet", "mmdet", "torch", "torchvision", "onnxruntime")
    aside = RESULT.with_suffix(".part")
    aside.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    aside.replace(RESULT)


def load() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"folders": {}}
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="FOLDER")
    parser.add_argument("--again", action="store_true", help="classify the named folders again")
    parser.add_argument("--convert", action="store_true", help="convert the named folders, or all that were not")
    parser.add_argument("--minutes", type=float, default=180.0, help="start no conversion after this time")
    parser.add_argument(
        "--compared", action="store_true", help="only take the compared networks from the other results"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(convert(options.one, load()["folders"][options.one])))
        return
    if not options.convert:
        for folder in [] if options.compared else folders():
            kept = load()
            if folder.name in kept["folders"] and folder.name not in options.names:
                continue
            kept["folders"][folder.name] = found = classify(folder)
            save(kept)
            print(folder.name, found["verdict"], found.get("reason", ""), flush=True)
        kept = load()
        kept["compared"] = compared_networks()
        save(kept)
        return
    until = time.monotonic() + 60 * options.minutes
    names = list(options.names)
    while time.monotonic() < until:
        name = names.pop(0) if options.names and names else None if options.names else next_folder(load())
        if name is None:
            break
        result = converted(name)
        kept = load()
        kept["folders"][name]["converted"] = result
        save(kept)
        print(name, "passed" if result["passed"] else result, flush=True)


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    main()
