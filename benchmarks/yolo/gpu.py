"""YOLOv5, both families, on TensorRT: accuracy of twelve engines compared with eager torch, and their latency.

::

    python -m benchmarks.yolo.gpu all --work build/gpu            everything, on a machine with a GPU, TensorRT and torch
    python -m benchmarks.yolo.gpu STAGE ... --work build/gpu

Each stage stores its results in the work folder and resumes from there. Stages can run in different environments on one
machine: ``export``, ``reference``, ``latency-torch``, ``latency-compiled`` and ``report`` need torch, ``build`` and
``build-fast`` the full TensorRT, ``accuracy``, ``latency`` and ``latency-torch`` any TensorRT. ``--classic`` names a
checkpoint of the classic family; without it, only the new family is measured.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adaptrt.predictions import Detections, ImageMeta
from adaptrt.specs import Dim, ModelSpec
from benchmarks.common.results import use_fixtures
from benchmarks.gpu.work import (
    build_one,
    build_options,
    build_side_by_side,
    facts_of,
    manifest_of,
    places,
    precision_report_of,
    run_stages,
    say,
    stage_parser,
    torch_facts,
)
from benchmarks.yolo import latency
from benchmarks.yolo.work import FIXTURE, IMAGES, SEED, SHAPES, Case, Work, eager_network

MAP_CONF, MAP_BOXES = 0.001, 100
SURE = {"new": 0.25, "classic": 0.01}
"""From this score on a position counts as a confident detection. The classic checkpoint looks for helmets and vests, which the photographs
hardly show: at 0.25 nothing would be compared."""
MATCH = {"fp32": (0.99, 1e-3), "fp16": (0.9, 0.03)}
"""IoU and score difference of boxes that count as the same."""


def export(work: Work) -> None:
    """The graphs, float32, made for TensorRT 8: TorchScript, opset 17. And the photographs that come with ultralytics."""
    from ultralytics.utils import ASSETS

    import adaptrt

    for name in ("bus.jpg", "zidane.jpg"):
        shutil.copy(ASSETS / name, work.folder / "photos" / name)
    sources = {"new": FIXTURE} | ({"classic": Path(work.options.classic)} if work.options.classic else {})
    for family, source in sources.items():
        for name, shapes in SHAPES.items():
            path = work.onnx(f"{family}_{name}")
            if not path.exists():
                form: dict[str, Any] = {"target": 8, "exporter": "torchscript", "opset": 17, "verify": "quick"}
                adaptrt.convert(source, adapter="yolov5", output=path, html=False, **form, **shapes)
                say(f"exported {path.name}")


def build(work: Work) -> None:
    """All engines, several at a time, with a low optimization level; then the one whose speed is measured, alone, twice."""
    jobs = {
        str(case): partial(
            build_one, work, str(case), case.graph, case.precision, build_options(work, case.precision, gigabytes=4)
        )
        for case in work.cases
    }
    portable = build_options(work, "fp16", gigabytes=4, portable=True)
    jobs["new_batch_fp16_portable"] = partial(build_one, work, "new_batch_fp16_portable", "new_batch", "fp16", portable)
    build_side_by_side(work, jobs)


def build_fast(work: Work) -> None:
    """The engine whose speed is measured: the default optimization level, alone; and again from the timing cache."""
    if work.kept("timing_cache"):
        return
    level = work.options.timed_level
    options = build_options(work, "fp16", gigabytes=8, level=level, portable=True)
    shutil.rmtree(work.folder / "timing" / "fast", ignore_errors=True)
    first = build_one(work, "new_batch_fp16_fast", "new_batch", "fp16", options, timing="timing/fast")
    say(f"built new_batch_fp16_fast in {first:.0f} s")
    second = build_one(work, "again", "new_batch", "fp16", options, timing="timing/fast")
    say(f"built it again from the timing cache in {second:.1f} s")
    facts = facts_of(work.engine("again"))
    seconds = {"level": level, "first_seconds": first, "second_seconds": second, "ratio": second / first}
    work.keep("timing_cache", {**facts, **seconds})


def roles(spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shapes to look at: min, opt and max, or the only one."""
    dims = spec.inputs[0].dims
    if not any(dim.dynamic for dim in dims):
        yield "opt", tuple(dim.opt for dim in dims)
        return
    for role in ("min", "opt", "max"):
        yield role, tuple(getattr(dim, role) for dim in dims)


def at_shape(spec: ModelSpec, shape: tuple[int, ...]) -> ModelSpec:
    """The spec for one shape: images are brought to it."""
    return replace(spec, inputs=(replace(spec.inputs[0], profiles=(tuple(map(Dim.fixed, shape)),)),))


def images(work: Work, family: str, count: int) -> list[np.ndarray]:
    """Photographs, parts of them, and for the new family, which was trained on shapes, drawn images too."""
    from adaptrt.vision.images import read_image

    photos = [read_image(path) for path in sorted((work.folder / "photos").glob("*.jpg"))]
    rng = np.random.default_rng(0)
    drawn = sorted((drawn_images(work).parent / "images").iterdir()) if family == "new" else []
    found: list[np.ndarray] = list(photos)
    while len(found) < count:
        if family == "new" and len(found) % 4:
            found.append(read_image(drawn[len(found)]))
            continue
        photo = photos[len(found) % len(photos)]
        top, left = (int(rng.integers(0, size // 3)) for size in photo.shape[:2])
        part = photo[top : top + photo.shape[0] * 2 // 3, left : left + photo.shape[1] * 2 // 3]
        found.append(part[:, ::-1] if rng.random() < 0.5 else part)
    return found[:count] if count > 1 else [read_image(drawn[0])] if drawn else photos[:1]


def drawn_images(work: Work) -> Path:
    """The held-out set of the shapes fixture; its instances.json."""
    target = work.folder / "shapes"
    if not (target / "instances.json").exists():
        use_fixtures()
        from draw_shapes import write_detection_set

        write_detection_set(target, IMAGES, SEED, suffix=".png", workers=8)
    return target / "instances.json"


def prepare(images: list[np.ndarray], spec: ModelSpec) -> tuple[np.ndarray, list[ImageMeta]]:
    from adaptrt.vision.transforms import transform_batch

    batch, metas = transform_batch(images, spec)
    return batch["images"], metas


def reference(work: Work) -> None:
    """What eager torch gives, float32 without TF32, on the GPU: outputs at each shape, boxes for mAP."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for family in work.families:
        network = eager_network(work, family)
        for shapes in SHAPES:
            graph = f"{family}_{shapes}"
            spec = work.spec(graph)
            for role, shape in roles(spec):
                path = work.reference(f"{graph}_{role}")
                if path.exists():
                    continue
                batch, _ = prepare(images(work, family, shape[0]), at_shape(spec, shape))
                with torch.inference_mode():
                    output = network(torch.from_numpy(batch).cuda()).float().cpu().numpy()
                np.savez(path, images=batch, output0=output)
                say(f"eager {graph} {role} {shape}")
    if "new" in work.families and not (work.folder / "reference" / "map_eager.npz").exists():
        network = eager_network(work, "new")

        def run(batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return network(torch.from_numpy(batch).cuda()).cpu().numpy()

        keep_boxes(work, "eager", run)
    work.keep("reference", torch_facts())


def keep_boxes(work: Work, name: str, run: Callable[[np.ndarray], np.ndarray]) -> None:
    """The best boxes of every drawn image, as rows: image, label, score, x1 y1 x2 y2."""
    from adaptrt.vision.decoders.decode import decode
    from adaptrt.vision.images import read_image

    spec = work.spec("new_static").with_decoder_params(conf=MAP_CONF, max_det=MAP_BOXES)
    records = json.loads(drawn_images(work).read_text())["images"]
    rows = []
    for start in range(0, len(records), 8):
        some = records[start : start + 8]
        batch, metas = prepare([read_image(work.folder / "shapes" / "images" / one["file_name"]) for one in some], spec)
        for record, found in zip(some, decode({"output0": run(batch)}, metas, spec), strict=True):
            assert isinstance(found, Detections)
            rows += [
                (record["id"], label, score, *box)
                for label, score, box in zip(found.labels, found.scores, found.boxes, strict=True)
            ]
    np.savez_compressed(work.folder / "reference" / f"map_{name}.npz", rows=np.array(rows, np.float32))


def accuracy(work: Work) -> None:
    """Each engine against eager: boxes in pixels, scores, detections, and the boxes that mAP is counted from."""
    for case in work.cases:
        if not work.kept(f"accuracy_{case}") and work.engine(case).exists():
            work.keep(f"accuracy_{case}", _accuracy_of(work, case))
            say(f"compared {case}")


def _accuracy_of(work: Work, case: Case) -> dict[str, Any]:
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    spec = work.spec(case.graph)
    result: dict[str, Any] = {
        "receipt": precision_report_of(work.engine(case)),
        "build_seconds": manifest_of(work.engine(case))["build_seconds"],
    }
    with TensorRTRunner(work.engine(case)) as runner:
        result["backend"] = runner.backend
        for role, shape in roles(spec):
            kept = np.load(work.reference(f"{case.graph}_{role}"))
            result[role] = {"shape": shape} | _difference(
                runner.run({"images": kept["images"]})["output0"],
                kept["output0"],
                at_shape(spec, shape),
                case,
            )
        if case.family == "new":
            keep_boxes(work, str(case), lambda batch: runner.run({"images": batch})["output0"])
        result["warnings"] = list(runner.warnings)
    return result


def _difference(found: np.ndarray, expected: np.ndarray, spec: ModelSpec, case: Case) -> dict[str, Any]:
    """Boxes where eager is sure and everywhere, scores everywhere, and boxes after NMS."""
    from adaptrt.tasks.detect.agreement import match_boxes
    from adaptrt.vision.decoders.decode import decode

    classic = spec.decoder is not None and spec.decoder.name == "yolo_anchor"
    rows = [output if classic else output.transpose(0, 2, 1) for output in (found, expected)]  # [B, N, 4 + ...]
    boxes, wanted = (output[..., :4] for output in rows)
    scores, sure = (
        (output[..., 4:5] * output[..., 5:] if classic else output[..., 4:]).astype(np.float32) for output in rows
    )
    certain = sure.max(-1) >= SURE[case.family]
    spec = spec.with_decoder_params(conf=SURE[case.family])
    distance = np.abs(boxes.astype(np.float64) - wanted).max(-1)
    metas = [ImageMeta(spec.image_size, spec.image_size)] * len(found)
    pairs = matched = boxes_found = 0
    box_distance = score_distance = 0.0
    iou, score = MATCH[case.precision]
    for one, other in zip(
        decode({"output0": expected}, metas, spec), decode({"output0": found}, metas, spec), strict=True
    ):
        assert isinstance(one, Detections)
        assert isinstance(other, Detections)
        boxes_found += max(len(one), len(other))
        for a, b in match_boxes(one, other, iou):
            pairs += 1
            apart = abs(float(one.scores[a]) - float(other.scores[b]))
            matched += apart <= score
            score_distance = max(score_distance, apart)
            box_distance = max(box_distance, float(np.abs(one.boxes[a] - other.boxes[b]).max()))
    return {
        "sure_from": SURE[case.family],
        "sure_positions": int(certain.sum()),
        "box_px_sure": float(distance[certain].max(initial=0)),
        "box_px_everywhere": float(distance.max()),
        "score_everywhere": float(np.abs(scores - sure).max()),
        "detections": boxes_found,
        "paired": pairs,
        "matched": matched,
        "box_px_detections": box_distance,
        "score_detections": score_distance,
        "finite": bool(np.isfinite(found).all()),
    }


def report(work: Work) -> None:
    """Everything in one file, with mAP by faster-coco-eval."""
    result = {**places(work), "engines": {}, "receipts": {}, "map": {}}
    for path in sorted((work.folder / "results").glob("*.json")):
        kept = json.loads(path.read_text())
        kind, _, name = path.stem.partition("_")
        if kind == "accuracy":
            result["engines"][name] = kept
        elif kind != "build":
            result[path.stem] = kept
    for engine in work.manifests():
        if (receipt := precision_report_of(engine))["evidence"]:
            result["receipts"][engine.stem] = {"gpu": facts_of(engine)["gpu"], **receipt}
    for path in sorted((work.folder / "reference").glob("map_*.npz")):
        result["map"][path.stem.removeprefix("map_")] = _map(work, np.load(path)["rows"])
    work.write("gpu_yolov5", result)
    for name, engine in result["engines"].items():
        for role in ("min", "opt", "max"):
            if role in engine:
                one = engine[role]
                say(
                    f"{name:24} {role} {'x'.join(map(str, one['shape'])):14} box {one['box_px_sure']:.4f} px, "
                    f"score {one['score_everywhere']:.5f}, {one['matched']}/{one['detections']} boxes"
                )
    say(f"mAP: {result['map']}")


def _map(work: Work, rows: np.ndarray) -> Mapping[str, float]:
    use_fixtures()
    from evaluate_yolov5n import coco_scores

    found = [
        {
            "image_id": int(image),
            "category_id": int(label) + 1,
            "score": float(score),
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
        }
        for image, label, score, x1, y1, x2, y2 in rows.tolist()
    ]
    return coco_scores(drawn_images(work), found)


def main() -> None:
    stages: dict[str, Callable[[Work], None]] = {
        "export": export,
        "build": build,
        "reference": reference,
        "accuracy": accuracy,
        "build-fast": build_fast,
        "latency": latency.latency,
        "latency-torch": latency.latency_torch,
        "latency-compiled": latency.latency_compiled,
        "report": report,
    }
    parser = stage_parser(__doc__, list(stages), "gpu")
    parser.set_defaults(jobs=7, timed_level=3)
    parser.add_argument("--classic", help="a checkpoint of the classic family")
    run_stages(stages, Work(parser.parse_args()))


if __name__ == "__main__":
    main()
