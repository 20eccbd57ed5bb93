"""Detectors of every task on TensorRT: converted, verified, scored and timed, a row for each model and precision.

::

    python -m benchmarks.detectors.gpu all --work build/detectors     on a machine with a GPU, TensorRT, torch and Ultralytics
    python -m benchmarks.detectors.gpu convert|evaluate|time|report

Each stage takes the next rows that are missing in the work folder and in benchmarks/results, and keeps what it has done. One
engine with a dynamic batch for each row. ``convert`` compares it with eager torch (links 0 to 5), ``evaluate`` scores eager
and engine on held-out images, ``time`` runs engine and eager in turns on device memory, and ``report`` adds the rows to the
published ones. A conversion that fails is a row too, and is tried again with ``--again``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.fixture_scores import FIXTURES
from benchmarks.common.results import FOLDER, use_fixtures
from benchmarks.gpu.evaluate import adaptrt, words_of
from benchmarks.gpu.timing import in_turns
from benchmarks.gpu.work import (
    Work,
    collected,
    compared_level,
    facts_of,
    manifest_of,
    precision_report_of,
    run_stages,
    say,
    stage_parser,
)

PRECISIONS = ("fp32", "fp16")
BATCHES = (1, 8, 32)
IMAGES, SEED = 64, 1003
RESULT = "gpu_detectors"


@dataclass(frozen=True)
class Case:
    """A network; ``task`` and ``end2end`` choose its head, ``words`` are further options.

    Weights are trained, except with ``config``: one of mmdet's wheel, with the perturbed weights of benchmarks/detr/family.py.
    """

    name: str
    task: str
    end2end: bool = False
    words: tuple[str, ...] = ()
    adapter: str = "yolo"
    fixture: str = ""  # a source of tests/fixtures, with its weights
    weights: str = ""
    config: str = ""
    overrides: tuple[tuple[str, str], ...] = ()  # of the config
    scored: bool = True  # evaluating needs the untouched outputs for eager, and one class for each box
    compared: bool = True  # timed beside eager torch


CASES = (
    Case("segment", "segment"),
    Case("pose", "pose"),
    Case("obb", "obb"),
    Case("end2end", "detect", end2end=True),
    Case("detect", "detect", adapter="yolov5", fixture="yolov5n_shapes.pt"),
    Case(
        "detect_nms", "detect", words=("--nms", "cluster"), adapter="yolov5", fixture="yolov5n_shapes.pt", scored=False
    ),
    Case(
        "detect_nms_efficient",
        "detect",
        words=("--nms", "efficient"),
        adapter="yolov5",
        fixture="yolov5n_shapes.pt",
        scored=False,
        compared=False,
    ),
    Case(
        "mask_rcnn",
        "segment",
        adapter="mmdet",
        fixture="mask_rcnn_shapes.py",
        weights="mask_rcnn_shapes.pth",
        compared=False,
    ),
    Case("faster_rcnn", "detect", adapter="mmdet", compared=False),
    Case("retinanet", "detect", adapter="mmdet", config="retinanet_r18_fpn_1x_coco", scored=False, compared=False),
    Case(
        "deformable_detr",
        "detect",
        adapter="detr",
        config="deformable-detr_r50_16xb2-50e_coco",
        overrides=(("model.encoder.num_layers", "2"), ("model.decoder.num_layers", "2")),
        scored=False,
        compared=False,
    ),
)


def rows(work: Work, done: str) -> list[tuple[str, Case, str]]:
    """The rows that a stage has not done yet: name, case, precision; those with ``--only`` in their name."""
    known = set(results(work))
    if work.options.again:
        known = {path.stem for path in (work.folder / "results").glob("*.json") if not path.stem.startswith("failed_")}
    return [
        (f"{case.name}_{precision}", case, precision)
        for precision in PRECISIONS
        for case in CASES
        if not known & {f"{done}_{case.name}_{precision}", f"failed_{case.name}_{precision}"}
        and work.options.only in f"{case.name}_{precision}"
    ]


def results(work: Work) -> dict[str, Any]:
    """The published rows and those of the work folder, which win; without failures that were followed by a success."""
    path = FOLDER / f"{RESULT}.json"
    found: dict[str, Any] = {**json.loads(path.read_text()), **collected(work)} if path.exists() else collected(work)
    done = {name.removeprefix("convert_") for name in found} | {name for name in found if name.startswith("evaluate_")}
    return {
        name: value for name, value in found.items() if name.removeprefix("failed_") == name or name[7:] not in done
    }


def source_of(work: Work, case: Case) -> Path | str:
    if case.config:
        return case.config
    if case.fixture:
        return FIXTURES / case.fixture
    if case.name == "faster_rcnn":
        return _faster_rcnn(work)[0]
    use_fixtures()
    from shapes_models import write_checkpoint

    path = work.folder / "onnx" / f"{case.name}.pt"
    return path if path.exists() else write_checkpoint(case.task, path, end2end=case.end2end)


def weights_of(work: Work, case: Case) -> Path | None:
    if case.config:
        return _lively(work, case)[0]
    if case.name == "faster_rcnn":
        return _faster_rcnn(work)[1]
    return FIXTURES / case.weights if case.weights else None


def _faster_rcnn(work: Work) -> tuple[Path, Path]:
    """The trained Mask R-CNN without its masks: config and weights."""
    import torch

    config, weights = (work.folder / "onnx" / f"faster_rcnn{suffix}" for suffix in (".py", ".pth"))
    if not weights.exists():
        given = torch.load(FIXTURES / "mask_rcnn_shapes.pth", map_location="cpu", weights_only=True)
        kept = given.get("state_dict", given)
        torch.save({"state_dict": {name: value for name, value in kept.items() if "mask_head" not in name}}, weights)
        text = (FIXTURES / "mask_rcnn_shapes.py").read_text(encoding="utf-8")
        removed = "".join(f'del model["roi_head"]["{part}"]\n' for part in ("mask_head", "mask_roi_extractor"))
        config.write_text(f'{text}\nmodel["type"] = "FasterRCNN"\n{removed}', encoding="utf-8")
    return config, weights


def _lively(work: Work, case: Case) -> tuple[Path, Path, float]:
    """Perturbed weights, an image in which they find something, and a confidence that no box is near."""
    from benchmarks.detr.family import lively, threshold

    folder = work.folder / "onnx" / case.name
    kept = folder / "conf.json"
    if not kept.exists():
        folder.mkdir(exist_ok=True)
        weights, image = lively(case.config, folder, dict(case.overrides))
        kept.write_text(json.dumps(threshold(case.adapter, case.config, weights, image, dict(case.overrides))))
    return folder / "weights.pth", folder / "image.png", float(json.loads(kept.read_text()))


def _model(work: Work, case: Case, *flag: str) -> list[object]:
    """The options that name the model; ``flag`` stands before the source."""
    weights = weights_of(work, case)
    words: list[object] = [*flag, source_of(work, case), "--adapter", case.adapter]
    words += ["--weights", weights] if weights else []
    for key, value in case.overrides:
        words += ["--set", f"cfg.{key}={value}"]
    return words


def data_of(work: Work, task: str) -> Path:
    """Held-out images of the drawn shapes, with what the task is scored on."""
    use_fixtures()
    import draw_shapes

    folder = work.folder / "data" / ("rotated" if task == "obb" else "instances")
    target = folder / ("labelTxt" if task == "obb" else "instances.json")
    if not target.exists():
        if task == "obb":
            draw_shapes.write_rotated_set(folder, IMAGES, SEED, suffix=".png")
        else:
            draw_shapes.write_detection_set(folder, IMAGES, SEED, suffix=".png", workers=8)
    return folder if task == "obb" else target


def convert(work: Work) -> None:
    """The engines, with the report of their conversion; several at a time. Scores and times that are missing need the engine
    again, which is then only built."""
    missing = {row[0]: row for row in rows(work, "convert")}
    again = {
        row[0]: row
        for done in ("evaluate", "time")
        for row in rows(work, done)
        if row[0] not in missing and (row[1].scored or done == "time") and not work.engine(row[0]).exists()
    }
    waiting = [*missing.values(), *again.values()]
    for _, case, _ in waiting:  # before the threads: written once
        weights_of(work, case)
        source_of(work, case)
        data_of(work, case.task)
    with ThreadPoolExecutor(work.options.jobs) as threads:
        list(threads.map(lambda row: _convert(work, *row, verified=row[0] in missing), waiting))


def _convert(work: Work, name: str, case: Case, precision: str, *, verified: bool) -> None:
    data = data_of(work, case.task)
    image = sorted(((data if data.is_dir() else data.parent) / "images").glob("*.png"))[0]
    words: list[object] = ["convert", *_model(work, case)]
    if case.config:
        from benchmarks.detr.family import SIZE

        _, image, conf = _lively(work, case)
        words += ["--imgsz", "x".join(map(str, SIZE)), "--set", f"conf={conf}"]
    words += ["-o", work.engine(name), "--to", "onnx,engine", "--precision", precision, "--batch", "1:8:32"]
    words += ["--exporter", "torchscript", "--opset", "17", "--target", "8", "--image", image]
    words += ["--opt-level", compared_level(work, precision), "--tactic-sources", work.options.tactics]
    words += ["--workspace", "8", *case.words, *([] if verified else ["--verify", "none"]), "--json"]
    started = time.perf_counter()
    try:
        report = json.loads(adaptrt(work, name, words))
    except SystemExit as error:  # a row that fails is a result, and the others go on
        say(f"FAILED {name}: {str(error)[-600:]}")
        return
    if not verified:  # the report of its conversion is there
        say(f"built {name} again in {time.perf_counter() - started:.0f} s")
        return
    work.keep(
        f"convert_{name}",
        {
            "command": words_of(words),
            "seconds": round(time.perf_counter() - started, 1),
            "verdict": report["verdict"],
            "links": [_link(link) for link in report["links"]],
            "stages": {stage["name"]: round(stage["seconds"], 1) for stage in report["stages"]},
            "precision_report": precision_report_of(work.engine(name)),
            "build_seconds": manifest_of(work.engine(name))["build_seconds"],
            "level": compared_level(work, precision),
            "tactic_sources": work.options.tactics,
            **facts_of(work.engine(name)),
        },
    )
    say(f"converted {name}: {report['verdict'] and report['verdict']['word']}")


def _link(link: dict[str, Any]) -> dict[str, Any]:
    """A link with its checks: name, worst value and limit."""
    checks = [{key: check[key] for key in ("name", "unit", "value", "limit", "kind")} for check in link["checks"]]
    return {"number": link["number"], "status": link["status"], "reason": link["reason"], "checks": checks}


def evaluate(work: Work) -> None:
    """Scores of eager and engine on the same images."""
    for name, case, _ in rows(work, "evaluate"):
        if not case.scored or not work.engine(name).exists():
            continue
        words: list[object] = ["evaluate", work.engine(name), "--backend", "eager,tensorrt"]
        words += _model(work, case, "--source")
        words += ["--data", data_of(work, case.task), "--batch", 8, "--json"]
        try:
            found = json.loads(adaptrt(work, f"evaluate_{name}", words))
        except SystemExit as error:
            say(f"FAILED evaluate {name}: {str(error)[-600:]}")
            continue
        results = [{key: one[key] for key in ("backend", "scores")} for one in found["results"]]
        work.keep(f"evaluate_{name}", {"command": words_of(words), "images": found["images"], "results": results})
        say(f"{name}: { {one['backend']: one['scores'] for one in results} }")


def time_rows(work: Work) -> None:
    """Microseconds of one call on images in device memory, to the end of its work on the GPU."""
    for name, case, precision in rows(work, "time"):
        if work.engine(name).exists():
            work.keep(f"time_{name}", _time(work, name, case, precision))


def _time(work: Work, name: str, case: Case, precision: str) -> dict[str, Any]:
    import torch

    from adaptrt.backends.tensorrt.runtime import TensorRTRunner
    from benchmarks.gpu.work import finished, torch_facts

    use_fixtures()
    from shapes_models import trained_model

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    result: dict[str, Any] = {**torch_facts()}
    network = trained_model(case.task, end2end=case.end2end).cuda().eval() if case.compared else None
    if network is not None and precision == "fp16":
        network = network.half()
    with TensorRTRunner(work.engine(name)) as runner, torch.inference_mode():
        result["backend"] = runner.backend
        assert runner.spec is not None
        sizes = [dim.opt for dim in runner.spec.inputs[0].dims[1:]]  # channels, height, width
        for batch in BATCHES:
            images = torch.rand(batch, *sizes, device="cuda")
            given = images.half() if precision == "fp16" else images

            def engine(images: Any = images) -> None:
                for value in runner({"images": images}, outputs="borrowed").values():
                    value.synchronize()

            sides = {"engine": engine}
            if network is not None:
                sides["eager"] = finished(lambda given=given: network(given))  # type: ignore[misc]
            one: dict[str, Any] = in_turns(sides)
            if "eager" in one:
                one["times eager"] = round(one["eager"]["p50"] / one["engine"]["p50"], 2)
            result[f"batch {batch}"] = one
            say(f"{name} batch {batch}: { {side: one[side]['p50'] for side in sides} }")
    return result


def report(work: Work) -> None:
    """Everything in one file."""
    say(f"written: {work.write(RESULT, results(work))}")


def main() -> None:
    stages: dict[str, Callable[[Work], None]] = {
        "convert": convert,
        "evaluate": evaluate,
        "time": time_rows,
        "report": report,
    }
    parser = stage_parser(__doc__, list(stages), "detectors")
    parser.set_defaults(jobs=4)
    parser.add_argument("--only", default="", help="rows with this in their name")
    parser.add_argument("--again", action="store_true", help="also rows that are published or failed")
    run_stages(stages, Work(parser.parse_args()))


if __name__ == "__main__":
    main()
