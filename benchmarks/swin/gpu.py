"""Swin on TensorRT: latency of the variants of the patches, accuracy of the engines, and latency compared with torch.

::

    python -m benchmarks.swin.gpu all --work build/swin         everything, on a machine with a GPU, TensorRT and torch
    python -m benchmarks.swin.gpu export|build|reference|accuracy|build-timed|latency|latency-torch|report

Each stage stores its results in the work folder and resumes from there. Stages can run in different environments on one
machine: ``export``, ``reference``, ``latency-torch`` and ``report`` need torch and timm, ``build`` and ``build-timed`` the
full TensorRT, ``accuracy`` and ``latency`` any TensorRT. Weights are perturbed, except for those of the trained fixture
(tests/fixtures/swin_shapes).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.results import use_fixtures
from benchmarks.gpu.timing import in_turns
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
from benchmarks.swin.common import image_batch, perturbed

FIXTURE = ROOT / "tests" / "fixtures" / "swin_shapes"
NAMES = {
    "tiny": "swin_tiny_patch4_window7_224",
    "small": "swin_small_patch4_window7_224",
    "base": "swin_base_patch4_window7_224",
}
PLAIN = {"aligned": False, "gelu": False, "transposed": False}
FORMS: dict[str, dict[str, Any]] = {
    "gather": {},  # what the adapter writes
    "unaligned": {"aligned": False},  # 49 keys for each window, not 56
    "gelu": {"gelu": False},  # GELU as torch writes it
    "gathered": {"transposed": False},  # no transpose where one would do
    "plain": PLAIN,  # none of the three
    "broadcast": {"limit": 0},  # bias and mask as two constants
    "slices": {"windows": "slices"},  # roll by slices, windows by transposes
}
BATCHES = (1, 8, 32)
INSTANCES = 4
"""Captures of the same work, each with other addresses: their median is the result, and their spread is stored."""
HELD_OUT, HELD_OUT_SEED = 1000, 2001
KEPT = {"": (), "_norm32": ("LayerNormalization",), "_soft32": ("Softmax",)}
"""Parts of a half-precision engine that stay float32, by the suffix of its name."""


class Work(Folder):
    """Swin-T, -S, -B and the fixture."""

    folders = (*Folder.folders, "weights")

    def weights(self, model: str) -> Path:
        folder = self.folder / "weights" / model
        folder.mkdir(exist_ok=True)
        path = folder / "weights.safetensors"
        return path if path.exists() else perturbed(NAMES[model], folder)

    @property
    def models(self) -> list[str]:
        return [model for model in NAMES if model in self.options.models.split(",")]


def export(work: Work) -> None:
    """Graphs for TensorRT 8: TorchScript, opset 17, batch 1 to 32. Swin-T in every form, and without patches."""
    for model in work.models:
        forms = [*FORMS, "unpatched"] if model == "tiny" else ["gather"]
        for form in forms:
            export_one(work, f"{model}_{form}", NAMES[model], work.weights(model), form)
    if FIXTURE.exists():
        export_one(work, "shapes_gather", str(FIXTURE), None, "gather")


def export_one(work: Work, graph: str, source: str, weights: Path | None, form: str) -> None:
    import adaptrt
    from adaptrt_timm import swin_patches
    from adaptrt_timm.swin_form import Form

    if work.onnx(graph).exists():
        return
    os.environ["ADAPTRT_CACHE_DIR"] = str(work.folder / "cache" / graph)  # the cache does not know of forms
    original = swin_patches.swin_patches
    swin_patches.swin_patches = partial(original, form=Form(**FORMS.get(form, {})))
    try:
        report = adaptrt.convert(
            source,
            adapter="timm" if form == "unpatched" else "swin",
            weights=weights,
            output=work.onnx(graph),
            batch="1:8:32",
            exporter="torchscript",
            opset=17,
            target=8,
            verify="quick",
            html=False,
        )
    finally:
        swin_patches.swin_patches = original
    nodes = sum(report.operators["final"].values())
    work.keep(f"export_{graph}", {"nodes": nodes, "megabytes": work.onnx(graph).stat().st_size / 1e6})
    say(f"exported {graph}, {nodes} nodes")


def build(work: Work) -> None:
    """Engines whose exactness is measured, several at a time, with a low optimization level."""
    jobs = {}
    for path in sorted((work.folder / "onnx").glob("*_gather.onnx")):
        for precision, suffix, kept in [("fp32", "", ()), *(("fp16", *part) for part in KEPT.items())]:
            if not suffix or path.stem.startswith(("tiny", "shapes")):
                name = f"{path.stem}_{precision}{suffix}"
                options = build_options(work, precision, gigabytes=4)
                jobs[name] = partial(build_one, work, name, path.stem, precision, options, keep_fp32=kept)
    build_side_by_side(work, jobs)


def build_timed(work: Work) -> None:
    """Engines whose speed is measured: Swin-T in half precision, every form and without patches, one after the other."""
    for form in work.options.forms.split(","):
        graph = f"tiny_{form}"
        name = f"timed_{graph}"
        if not work.engine(name).exists():
            level = work.options.timed_level
            options = build_options(work, "fp16", gigabytes=4, level=level, portable=True)
            seconds = build_one(work, name, graph, "fp16", options)
            work.keep(f"build_{name}", {"seconds": seconds, "level": level})
            say(f"built {name} in {seconds:.0f} s")


def reference(work: Work) -> None:
    """What eager torch gives on the GPU in float32, without TF32; and in half precision, for scale."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    x = image_batch((224, 224), max(BATCHES))
    for model in work.models:
        if not work.reference(model).exists():
            network = eager_network(work, model)
            with torch.inference_mode():
                logits = network(torch.from_numpy(x).cuda()).cpu().numpy()
                half = network.half()(torch.from_numpy(x).cuda().half()).float().cpu().numpy()
            np.savez(work.reference(model), images=x, logits=logits, half=half)
            say(f"eager {model}: half precision differs by {np.abs(half - logits).max():.2g}")
    if FIXTURE.exists() and not work.reference("shapes").exists():
        images, labels = held_out()
        import timm

        network = timm.create_model(f"local-dir:{FIXTURE}", pretrained=True).eval().cuda()
        with torch.inference_mode():
            parts = [network(torch.from_numpy(images[at : at + 100]).cuda()).cpu() for at in range(0, len(images), 100)]
        np.savez(work.reference("shapes"), images=images, labels=labels, logits=torch.cat(parts).numpy())
    work.keep("reference", torch_facts())


def eager_network(work: Work, model: str) -> Any:
    """The untouched network on the GPU."""
    import timm
    from safetensors.torch import load_file

    network = timm.create_model(NAMES[model])
    network.load_state_dict(load_file(work.weights(model)))
    return network.eval().cuda()


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """Held-out images of the fixture, prepared by timm's own transform, and their classes."""
    import timm
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    use_fixtures()
    from draw_shapes import draw_classification_images

    transform = create_transform(**resolve_data_config({}, model=timm.create_model(f"local-dir:{FIXTURE}")))
    drawn = list(draw_classification_images(HELD_OUT, HELD_OUT_SEED))
    images = [transform(Image.fromarray(np.ascontiguousarray(image[..., ::-1]))).numpy() for image, _ in drawn]
    return np.stack(images), np.array([label for _, label in drawn])


def accuracy(work: Work) -> None:
    """Each engine against eager float32: logits, top-1; and for the fixture the share that is right."""
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    for path in sorted((work.folder / "engines").glob("*.engine")):
        name, model = path.stem, path.stem.removeprefix("timed_").partition("_")[0]
        if work.kept(f"accuracy_{name}") or not work.reference(model).exists():
            continue
        kept = np.load(work.reference(model))
        images, expected = kept["images"], kept["logits"]
        with TensorRTRunner(path, allow_host_code=True) as runner:
            result: dict[str, Any] = {"backend": runner.backend, "receipt": precision_report_of(path)}
            found = np.concatenate(
                [runner.run({"images": images[at : at + 8]})["logits"] for at in range(0, len(images), 8)]
            )
            alone = np.concatenate([runner.run({"images": one[None]})["logits"] for one in images[:8]])
        result |= {
            "difference": float(np.abs(found - expected).max()),
            "mean_difference": float(np.abs(found - expected).mean()),
            "largest_logit": float(np.abs(expected).max()),
            "alone_and_in_a_batch": float(np.abs(alone - found[:8]).max()),
            "same_top1": float((found.argmax(1) == expected.argmax(1)).mean()),
        }
        if "half" in kept:
            result["eager_half_difference"] = float(np.abs(kept["half"] - expected).max())
        if "labels" in kept:
            result["top1"] = float((found.argmax(1) == kept["labels"]).mean())
            result["eager_top1"] = float((expected.argmax(1) == kept["labels"]).mean())
        work.keep(f"accuracy_{name}", result)
        say(f"{name}: { {key: value for key, value in result.items() if key != 'receipt'} }")


def latency(work: Work) -> None:
    """Every form and the unpatched engine in turns: microseconds of our call on device arrays, with a CUDA graph."""
    from adaptrt.backends.tensorrt.device import describe_device, import_cudart
    from benchmarks.gpu.timing import Memory

    cudart = import_cudart()
    runners = timed_runners(work)
    device = describe_device(0)
    result: dict[str, Any] = {"gpu": device.name, "driver": device.driver}
    for batch in BATCHES:
        images = np.load(work.reference("tiny"))["images"][:batch]
        memories = [Memory(cudart, images) for _ in range(INSTANCES)]

        def call(runner: Any, given: Any) -> None:
            runner({"images": given}, outputs="borrowed")["logits"].synchronize()

        sides = {
            (form, i): partial(call, runner, memories[i]) for form, runner in runners.items() for i in range(INSTANCES)
        }
        result[f"batch {batch}"] = over_instances(in_turns(sides, rounds=6))
        say(f"batch {batch}: { {form: times['p50'] for form, times in result[f'batch {batch}'].items()} }")
    for runner in runners.values():
        runner.close()
    work.keep("latency", result)


def timed_runners(work: Work) -> dict[str, Any]:
    """Every engine whose speed is measured, by its form; a graph for each batch and capture fits into its cache."""
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    paths = sorted((work.folder / "engines").glob("timed_tiny_*.engine"))
    graphs = len(BATCHES) * INSTANCES
    return {
        path.stem.removeprefix("timed_tiny_"): TensorRTRunner(path, allow_host_code=True, cuda_graphs=graphs)
        for path in paths
    }


def over_instances(times: dict[Any, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The median of what the captures of one form took, and the fastest and slowest p50."""
    found: dict[str, dict[str, float]] = {}
    for form in dict.fromkeys(form for form, _ in times):
        ones = [one for (name, _), one in times.items() if name == form]
        medians = {key: float(np.median([one[key] for one in ones])) for key in ("p50", "p90", "p99")}
        p50s = [one["p50"] for one in ones]
        found[form] = medians | {
            "p50 least": min(p50s),
            "p50 most": max(p50s),
            "runs": sum(one["runs"] for one in ones),
        }
    return found


def latency_torch(work: Work) -> None:
    """The engines on torch's tensors, next to torch eager and torch.compile in half precision."""
    import torch

    network = eager_network(work, "tiny").half()
    result = torch_facts()
    runners = {f"timed_tiny_{form}": runner for form, runner in timed_runners(work).items()}
    with torch.inference_mode():
        for batch in BATCHES:
            images = torch.from_numpy(np.load(work.reference("tiny"))["images"][:batch])
            tensors = [images.cuda() for _ in range(INSTANCES)]
            half = images.cuda().half()

            def call(runner: Any, given: Any) -> None:
                torch.from_dlpack(runner({"images": given}, outputs="borrowed")["logits"])

            one: dict[str, Any] = {}
            alone = {"torch eager fp16": lambda: network(half)}  # noqa: B023
            alone |= compiled(network, half, work.options.compile, one)
            sides = {(name, 0): finished(side) for name, side in alone.items()}
            sides |= {(f, i): finished(partial(call, r, x)) for f, r in runners.items() for i, x in enumerate(tensors)}
            one |= over_instances(in_turns(sides, rounds=8))
            for form in runners:
                one[f"times eager: {form}"] = one["torch eager fp16"]["p50"] / one[form]["p50"]
            result[f"batch {batch}"] = one
            work.keep("latency_torch", result)
            say(f"batch {batch}: {one}")


def report(work: Work) -> None:
    """Everything in one file."""
    say(f"written: {work.write('swin_gpu', collected(work))}")


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
    parser = stage_parser(__doc__, list(stages), "swin")
    parser.add_argument("--models", default="tiny,small,base")
    parser.add_argument("--forms", default=",".join([*FORMS, "unpatched"]), help="what build-timed builds")
    run_stages(stages, Work(parser.parse_args()))


if __name__ == "__main__":
    main()
