"""DETR on TensorRT: accuracy of engines of DETR-R50 and of the trained fixture compared with eager torch, and their latency.

::

    python -m benchmarks.detr.gpu all --work build/detr         everything, on a machine with a GPU, TensorRT and torch
    python -m benchmarks.detr.gpu export|build|reference|accuracy|build-timed|latency|latency-torch|report

Each stage stores its results in the work folder and resumes from there. Stages can run in different environments on one
machine: ``export``, ``reference``, ``latency-torch`` and ``report`` need torch and mmdet, ``build`` and ``build-timed`` the
full TensorRT, ``accuracy`` and ``latency`` any TensorRT. DETR-R50 has random weights with scores and statistics in the range
of trained networks (detr/family.py); the fixture is trained (tests/fixtures/detr_shapes.pth).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adaptrt.specs import ModelSpec
from benchmarks.common.results import use_fixtures
from benchmarks.gpu.timing import Memory, in_turns
from benchmarks.gpu.work import (
    ROOT,
    build_one,
    build_options,
    build_side_by_side,
    collected,
    compiled,
    finished,
    precision_report_of,
    run_stages,
    say,
    stage_parser,
    torch_facts,
)
from benchmarks.gpu.work import Work as Folder

FIXTURE = ROOT / "tests" / "fixtures" / "detr_shapes.pth"
CONFIG = "detr_r50_8xb2-150e_coco"
SIZES = {"r50": (800, 1216), "shapes": (256, 256)}
BATCHES = (1, 8)
LARGEST = 8
HELD_OUT, HELD_OUT_SEED = 200, 2002
KEPT: dict[str, tuple[str, ...]] = {
    "": (),
    "_norm32": ("LayerNormalization",),
    "_soft32": ("Softmax",),
    "_norm_soft32": ("LayerNormalization", "Softmax"),
}
"""Parts of a half-precision engine that stay float32, by the suffix of its name; the box decoding always does."""
SURE = {"r50": 0.0, "shapes": 0.25}


class Work(Folder):
    """DETR-R50 and the fixture."""

    folders = (*Folder.folders, "weights", "found")

    @property
    def models(self) -> list[str]:
        return [model for model in SIZES if model in self.options.models.split(",")]

    def source(self, model: str) -> tuple[str, Path]:
        """Config and weights."""
        if model == "shapes":
            return str(FIXTURE.with_suffix(".py")), FIXTURE
        weights = self.folder / "weights" / "weights.pth"
        if not weights.exists():
            from benchmarks.detr.family import lively

            lively(CONFIG, weights.parent)
        return CONFIG, weights


def drawn(work: Work) -> Path:
    """The held-out set of the fixture; its instances.json."""
    target = work.folder / "shapes"
    if not (target / "instances.json").exists():
        use_fixtures()
        from draw_shapes import Look, write_detection_set

        look = Look(size=256, objects=(1, 5), radius=(0.09, 0.3))  # what train_detr.py draws
        write_detection_set(target, HELD_OUT, HELD_OUT_SEED, look, suffix=".png", workers=8)
    return target / "instances.json"


def image_batch(work: Work, spec: ModelSpec, count: int) -> np.ndarray:
    """Drawn images, brought to the model's input."""
    from adaptrt.vision.images import read_image
    from adaptrt.vision.transforms import transform_batch

    paths = sorted((drawn(work).parent / "images").iterdir())[:count]
    return transform_batch([read_image(path) for path in paths], spec)[0]["images"]


def export(work: Work) -> None:
    """Graphs for TensorRT 8: TorchScript, opset 17, batch 1 to 8, verified by ONNX Runtime."""
    import adaptrt

    for model in work.models:
        if work.onnx(model).exists():
            continue
        os.environ["ADAPTRT_CACHE_DIR"] = str(work.folder / "cache")
        config, weights = work.source(model)
        report = adaptrt.convert(
            config,
            adapter="detr",
            weights=weights,
            output=work.onnx(model),
            imgsz=SIZES[model],
            batch=f"1:4:{LARGEST}",
            exporter="torchscript",
            opset=17,
            target=8,
            verify="quick",
            html=False,
        )
        checks = {check.title: check.value for check in report.link(2).checks}
        nodes = sum(report.operators["final"].values())
        work.keep(f"export_{model}", {"nodes": nodes, "link 2": checks})
        say(f"exported {model}, {nodes} nodes")


def build(work: Work) -> None:
    """Engines whose exactness is measured, several at a time, with a low optimization level."""
    jobs = {}
    for model in work.models:
        for precision, suffix, kept in [("fp32", "", ()), *(("fp16", *part) for part in KEPT.items())]:
            name = f"{model}_{precision}{suffix}"
            options = build_options(work, precision, gigabytes=8)
            jobs[name] = partial(build_one, work, name, model, precision, options, keep_fp32=kept)
    build_side_by_side(work, jobs)


def build_timed(work: Work) -> None:
    """The engines whose speed is measured: half precision with what accuracy asked to keep (--timed-kept), alone."""
    for model in work.models:
        name = f"timed_{model}"
        if not work.engine(name).exists():
            kept, level = KEPT[work.options.timed_kept], work.options.timed_level
            options = build_options(work, "fp16", gigabytes=8, level=level, portable=True)
            seconds = build_one(work, name, model, "fp16", options, keep_fp32=kept)
            work.keep(f"build_{name}", {"seconds": seconds, "level": level, "kept": kept})
            say(f"built {name} in {seconds:.0f} s")


def reference(work: Work) -> None:
    """What the untouched model gives on the GPU in float32, without TF32; and in half precision, for scale."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for model in work.models:
        if work.reference(model).exists():
            continue
        network = eager_network(work, model)
        images = image_batch(work, work.spec(model), LARGEST if model == "r50" else HELD_OUT)
        with torch.inference_mode():
            parts = [run_eager(network, images[at : at + LARGEST]) for at in range(0, len(images), LARGEST)]
            with torch.autocast("cuda", torch.float16):
                half = [run_eager(network, images[at : at + LARGEST]) for at in range(0, len(images), LARGEST)]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        arrays |= {f"half_{name}": np.concatenate([part[name] for part in half]) for name in parts[0]}
        np.savez(work.reference(model), images=images, **arrays)
        say(f"eager {model}: {len(images)} images")
    work.keep("reference", torch_facts())


def eager_network(work: Work, model: str) -> Any:
    """The unpatched detector with decoding, on the GPU."""
    from adaptrt import Conversion, Request
    from adaptrt_mmdet.options import DetrOptions
    from adaptrt_mmdet.query_family import wrap
    from adaptrt_mmdet.sources import open_source

    config, weights = work.source(model)
    ctx = Conversion(Request(config, "detr", weights=weights), DetrOptions(), work.folder)
    network = wrap(open_source(ctx), ctx.options).eval().cuda()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def in_half_precision(network: Any) -> Any:
    """All of it: mmdet's positional encoding is float32 whatever the weights are, and its attention then refuses both."""
    network.detector.positional_encoding.register_forward_hook(lambda _module, _inputs, encoding: encoding.half())
    return network.half()


def run_eager(network: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """The decoding is the wrapper's, on the GPU's outputs of the heads."""
    import torch

    from adaptrt_mmdet.query_family import decode_queries, image_size

    batch = torch.from_numpy(images).cuda()
    logits, boxes = network.heads(batch)
    size = image_size(batch, None).to(boxes.device)
    scores, labels, corners = decode_queries(logits.float(), boxes.float(), size, sigmoid=False)
    return {"scores": scores.cpu().numpy(), "labels": labels.cpu().numpy(), "boxes": corners.cpu().numpy()}


def accuracy(work: Work) -> None:
    """Each engine against eager float32: scores, boxes, classes; alone and in a batch; mAP of the fixture."""
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    for path in sorted((work.folder / "engines").glob("*.engine")):
        name, model = path.stem, path.stem.removeprefix("timed_").partition("_")[0]
        if work.kept(f"accuracy_{name}") or not work.reference(model).exists():
            continue
        kept = dict(np.load(work.reference(model)))
        images = kept["images"]
        with TensorRTRunner(path, allow_host_code=True) as runner:
            result: dict[str, Any] = {"backend": runner.backend, "receipt": precision_report_of(path)}
            found = run_engine(runner, images)
            alone = run_engine(runner, images[:LARGEST], size=1)
            odd = run_engine(runner, images[:3], size=3)
        side = max(work.spec(model).image_size)
        result["against eager"] = difference(found, kept, SURE[model], side)
        result["eager half precision against eager"] = difference(
            {part: kept[f"half_{part}"] for part in found}, kept, SURE[model], side
        )
        result["alone and in a batch"] = {
            part: max(
                float(np.abs(alone[part] - found[part][:LARGEST]).max()),
                float(np.abs(odd[part] - found[part][:3]).max()),
            )
            for part in found
        }
        if model == "shapes":
            np.savez_compressed(work.folder / "found" / f"{name}.npz", **found)
        work.keep(f"accuracy_{name}", result)
        say(f"{name}: {result['against eager']}")


def run_engine(runner: Any, images: np.ndarray, size: int = LARGEST) -> dict[str, np.ndarray]:
    parts = [runner.run({"images": images[at : at + size]}) for at in range(0, len(images), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in ("scores", "labels", "boxes")}


def difference(found: Any, expected: Any, sure: float, side: int) -> dict[str, Any]:
    """Over every query, and over those of which eager is sure; boxes as parts of the longer side."""
    certain = expected["scores"] > sure
    boxes = np.abs(found["boxes"].astype(np.float64) - expected["boxes"]).max(-1) / side
    scores = np.abs(found["scores"].astype(np.float64) - expected["scores"])
    return {
        "finite": bool(all(np.isfinite(found[name]).all() for name in ("scores", "boxes"))),
        "not all zero": bool(np.abs(found["boxes"]).max() > 0 and np.abs(found["scores"]).max() > 0),
        "scores": float(scores.max()),
        "boxes": float(boxes.max()),
        "boxes, mean": float(boxes.mean()),
        "sure queries": int(certain.sum()),
        "boxes of sure queries": float(boxes[certain].max(initial=0)),
        "same class, sure queries": float((found["labels"] == expected["labels"])[certain].mean())
        if certain.any()
        else None,
    }


def map_of(work: Work, outputs: Any) -> dict[str, float]:
    """Of the fixture's outputs on its held-out images, as ``adaptrt evaluate`` counts it."""
    from adaptrt.tasks.detect.coco import read_coco
    from adaptrt.tasks.detect.scoring import BoxScores
    from adaptrt.vision.decoders.decode import decode
    from adaptrt.vision.images import read_image
    from adaptrt.vision.transforms import transform_image

    spec = work.spec("shapes").with_decoder_params(conf=0.001)
    dataset = read_coco(drawn(work), spec, None)
    scorer = BoxScores(dataset.context)
    assert spec.image is not None
    for row, example in enumerate(dataset.examples):
        _, meta = transform_image(read_image(example.path), spec.image, spec.image_size)
        one = {name: outputs[name][row : row + 1] for name in ("scores", "labels", "boxes")}
        scorer.add(example.truth, decode(one, [meta], spec)[0])
    return scorer.scores()


def latency(work: Work) -> None:
    """Microseconds of our call on device arrays, with a CUDA graph."""
    from adaptrt.backends.tensorrt.device import describe_device, import_cudart
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    cudart = import_cudart()
    device = describe_device(0)
    result: dict[str, Any] = {"gpu": device.name, "driver": device.driver}
    for model in work.models:
        with TensorRTRunner(work.engine(f"timed_{model}"), allow_host_code=True) as runner:
            for batch in BATCHES:
                memory = Memory(cudart, np.load(work.reference(model))["images"][:batch])

                def call(given: Any = memory, runner: Any = runner) -> None:
                    runner({"images": given}, outputs="borrowed")["boxes"].synchronize()

                result[f"{model} batch {batch}"] = in_turns({"engine fp16": call})["engine fp16"]
                say(f"{model} batch {batch}: {result[f'{model} batch {batch}']}")
    work.keep("latency", result)


def latency_torch(work: Work) -> None:
    """The engines on torch's tensors, next to torch eager and torch.compile in half precision."""
    import torch

    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    result = torch_facts()
    for model in work.models:
        network = in_half_precision(eager_network(work, model))
        runner = TensorRTRunner(work.engine(f"timed_{model}"), allow_host_code=True)
        with torch.inference_mode():
            for batch in BATCHES:
                x = torch.from_numpy(np.load(work.reference(model))["images"][:batch]).cuda()
                sides: dict[str, Callable[[], Any]] = {
                    "torch eager fp16": partial(network.heads, x.half()),
                    "engine": lambda r=runner, x=x: torch.from_dlpack(r({"images": x}, outputs="borrowed")["boxes"]),  # type: ignore[misc]
                }
                one: dict[str, Any] = {}
                sides |= compiled(network.heads, x.half(), work.options.compile, one)
                one |= in_turns({name: finished(call) for name, call in sides.items()}, rounds=10)
                one["times eager"] = one["torch eager fp16"]["p50"] / one["engine"]["p50"]
                result[f"{model} batch {batch}"] = one
                work.keep("latency_torch", result)
                say(f"{model} batch {batch}: {one}")
        runner.close()


def report(work: Work) -> None:
    """Everything in one file, with mAP by faster-coco-eval."""
    result = collected(work)
    if work.reference("shapes").exists():
        outputs = {
            "eager": work.reference("shapes"),
            **{path.stem: path for path in sorted((work.folder / "found").iterdir())},
        }
        result["map"] = {name: map_of(work, dict(np.load(path))) for name, path in outputs.items()}
    say(f"written: {work.write('gpu_detr', result)}")


def main() -> None:
    stages: dict[str, Callable[[Work], None]] = {
        "export": export,
        "build": build,
        "reference": reference,
        "accuracy": accuracy,
        "build-timed": build_timed,
        "latency": latency,
        "latency-torch": latency_torch,
        "report": report,
    }
    parser = stage_parser(__doc__, list(stages), "detr")
    parser.add_argument("--models", default="r50,shapes")
    parser.add_argument(
        "--timed-kept", default="", choices=list(KEPT), help="what stays float32 in engines that are timed"
    )
    run_stages(stages, Work(parser.parse_args()))


if __name__ == "__main__":
    main()
