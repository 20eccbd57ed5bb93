"""One configuration of every family folder of mmdet's wheel: classified, and converted at a small size.

::

    python -m benchmarks.detectors.families                        classify every folder that has no entry yet
    python -m benchmarks.detectors.families --again tood vfnet     classify these folders again
    python -m benchmarks.detectors.families --prepare DIR          weights, images and DIR/sweep.toml, of what has not been converted
    python -m benchmarks.detectors.families --prepare DIR tood     of this folder; --all: of every folder
    adaptrt sweep DIR/sweep.toml -o DIR/sweep --jobs 2             the conversions
    python -m benchmarks.detectors.families --take DIR             add their rows
    python -m benchmarks.detectors.families --take DIR --into FILE, then --take FILE: the same, from another machine

Results are added to results/mmdet_families.json (or FILE). Every step can be stopped and resumed.

Classification builds the network on the meta device and wraps it as a conversion does. A folder that an adapter accepts is
described by the classes of its layers; if all of them occur in converted networks, it has the same parts as these. Losses and the
preprocessor are not parts: they are not exported. ``adaptrt sweep`` runs the conversions, with random weights with which the detector
finds something (lively.py), and batches 1 and 2; they compare mmdet's own predict with the network (link 0), and the exported graph
with the network (links 1, 2 and 5). A folder that the adapters refuse is converted too, to see the refusal. The networks of
results/detr_family.json and the two-stage fixtures count as converted; their parts are kept beside the folders.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common.results import FOLDER
from benchmarks.detectors.family_sweep import prepare, prepare_all, take_sweep
from benchmarks.detectors.family_table import RESULT, load, not_converted, place, save, take, without_paths

BUILD_SECONDS = 120
PREFERRED = ("r18", "tiny", "_s_", "r50")
SIMPLE = ("retinanet", "faster-rcnn", "mask-rcnn", "fcos", "cascade")
TRIED = 5
"""Configurations of a folder, until an adapter accepts one."""
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
        return {**entry, "verdict": "refused", "reason": without_paths(error.message)}
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
    from adaptrt_mmdet.mask_queries import is_mask_query, wrap_mask_queries
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
    elif is_mask_query(detector):
        shape = "masks of queries"
        wrap_mask_queries(source)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="FOLDER")
    parser.add_argument(
        "--again", action="store_true", help="classify the named folders again; with --prepare, also those that failed"
    )
    parser.add_argument(
        "--prepare",
        type=Path,
        metavar="DIR",
        help="write the sweep of the named folders, or of all that were not converted",
    )
    parser.add_argument("--all", action="store_true", help="with --prepare: of every folder that defines a model")
    parser.add_argument("--jobs", type=int, default=1, help="with --prepare: so many at a time")
    parser.add_argument("--into", type=Path, default=RESULT, metavar="FILE", help="where results are kept")
    parser.add_argument(
        "--take", type=Path, metavar="DIR|FILE", help="add the conversions of a sweep, or those in this file"
    )
    parser.add_argument(
        "--compared", action="store_true", help="only take the compared networks from the other results"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(prepare(options.one, options.into, options.root)))
    elif options.take and options.take.is_dir():
        take_sweep(options.take, options.into)
    elif options.take:
        take(options.take)
    elif options.prepare:
        kept = load(options.into)
        every = [name for name, one in kept["folders"].items() if one["verdict"] != "no model"]
        names = options.names or (every if options.all else not_converted(kept, again=options.again))
        prepare_all(names, options.into, options.prepare, options.jobs)
    else:
        classify_all([] if options.compared else folders(), options.names)


def classify_all(chosen: list[Path], again: list[str]) -> None:
    for folder in chosen:
        kept = load()
        if folder.name in kept["folders"] and folder.name not in again:
            continue
        kept["folders"][folder.name] = found = classify(folder)
        kept["machine"] = place()
        save(kept)
        print(folder.name, found["verdict"], found.get("reason", ""), flush=True)
    kept = load()
    kept["compared"] = compared_networks()
    save(kept)


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    main()
