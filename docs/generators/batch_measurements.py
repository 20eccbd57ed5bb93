"""The section on batch jobs of the measurements page."""

from __future__ import annotations

from typing import Any

from benchmarks.batch import ray_gpus
from benchmarks.batch.throughput import summary
from benchmarks.common.results import FOLDER, markdown, read
from sections import machine


def batch_jobs() -> list[str]:
    """Throughput, memory and kills, as far as they were measured."""
    lines: list[str] = []
    kept: dict[str, Any] = {}
    sections = (
        ("throughput", batch_throughput),
        ("ray_gpus", batch_ray_gpus),
        ("memory", batch_memory),
        ("kills", batch_kills),
    )
    for name, section_of in sections:
        if (FOLDER / f"batch_{name}.json").exists():
            kept = read(f"batch_{name}")
            lines += ["", *section_of(kept), "", f"`benchmarks/batch/{name}.py`: {machine(kept)}."]
    return ["## Batch jobs", *lines] if lines else []


def batch_throughput(kept: dict[str, Any]) -> list[str]:
    keys = {"images/s": ",.1f", "start, s": ".1f", "overhead, ms": ".2f", "share": ".2f"}
    rows = [
        [name, side, *(format(row[key], form) if key in row else "" for key, form in keys.items())]
        for name, network in kept["networks"].items()
        for side, row in summary(network).items()
    ]
    return [
        "`adaptrt batch` with each executor and its number of workers, beside a plain loop over `model(path)`; one CPU thread for each copy",
        "of the model. *Overhead* is the time per image and worker beyond that of the loop, *share* the rate as a share of twice that of one worker.",
        f"Medians; rounds differ by up to {_spread(kept):.0%}. On two cores, two workers share them with Ray's own processes and with the",
        "process that collects the results.",
        "",
        *markdown(["network", "executor, workers", *keys], rows),
    ]


def _spread(kept: dict[str, Any]) -> float:
    """The largest difference between the rounds of a side, as a share of the faster one."""
    sides = [found for network in kept["networks"].values() for found in network["sides"].values()]
    rates = [[one["rate"] for one in found] for found in sides]
    return max(1 - min(side) / max(side) for side in rates)


def batch_ray_gpus(kept: dict[str, Any]) -> list[str]:
    found = ray_gpus.summary(kept)
    keys = ("images/s", "start, s", "share", "model")
    rows = [[side, *(f"{row[key]:.3g}" if key in row else "" for key in keys)] for side, row in found.items()]
    return [
        f"Ray with a GPU for each actor, on {len(kept['gpus'])} x {kept['gpus'][0]} (driver). The network: {kept['note']}. *loop*: `adaptrt.Predictor` in one process,",
        "16 images at a time; Ray Data runs the same `Predictor` in 1 and 2 actors, and `adaptrt batch --executor ray` each image alone. *Share* is the rate as",
        "a share of twice that of one actor, *model* the share of the loop's time that the engine takes.",
        "",
        *markdown(["side, actors", *keys], rows),
    ]


def batch_memory(kept: dict[str, Any]) -> list[str]:
    samples = [sample for one in kept["runs"] for sample in one["samples"]]
    early = next(sample for sample in samples if sample["images"] >= samples[-1]["images"] / 10)
    most = max(sample["megabytes"] for sample in samples)
    return [
        f"A job with two workers over {samples[-1]['images']:,.0f} images: {early['megabytes']:.0f} MB in all processes after",
        f"{early['images']:,.0f} images, {samples[-1]['megabytes']:.0f} MB at the end, at most {most:.0f} MB.",
    ]


def batch_kills(kept: dict[str, Any]) -> list[str]:
    kills = [one for one in kept["kills"] if one["code"] == -9]
    held = kept["every image once"] and kept["equal to an uninterrupted job"]
    return [
        f"A job over {kept['images']:,} images was killed with SIGKILL {len(kills)} times, at random times after its start or its first new part, with {kills[0]['rows']:,} to",
        f"{max(one['rows'] for one in kills):,} rows in finished parts. At the end, "
        + (
            "every image had one row, and rows and parts were identical to those of an uninterrupted job."
            if held
            else "rows were lost or doubled."
        ),
    ]
