"""Sends images to the ensembles ``best`` and ``pixels`` and prints the answers as JSON: triton_client.py HTTP GRPC IMAGE..."""

from __future__ import annotations

import concurrent.futures
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http


def ask(module: Any, client: Any, images: list[bytes], model: str = "best") -> list[dict[str, Any]]:
    tensor = module.InferInput("image", [len(images), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[image] for image in images], object))
    found = client.infer(model, [tensor]).as_numpy("prediction")
    return [json.loads(text) for text in found.ravel()]


def main() -> None:
    http, grpc, *paths = sys.argv[1:]
    images = [Path(path).read_bytes() for path in paths]
    found: dict[str, Any] = {}
    clients: dict[str, tuple[Any, Any]] = {
        "http": (tritonclient.http, tritonclient.http.InferenceServerClient(http)),
        "grpc": (tritonclient.grpc, tritonclient.grpc.InferenceServerClient(grpc)),
    }
    for name, (module, client) in clients.items():
        alone = [ask(module, client, [image])[0] for image in images]
        found[name] = {"alone": alone, "together": ask(module, client, images)}
    module, client = clients["grpc"]
    try:
        ask(module, client, [b"text"])
    except Exception as error:
        found["broken"] = str(error)
    found["pixels"] = ask(module, client, images, "pixels")
    before = statistics(clients["http"][1])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found["concurrent"] = [one[0] for one in pool.map(lambda image: ask(module, client, [image]), images * 8)]
    after = statistics(clients["http"][1])
    found["requests"] = after["inference_count"] - before["inference_count"]
    found["executions"] = after["execution_count"] - before["execution_count"]
    found["batch_sizes"] = [one["batch_size"] for one in after["batch_stats"]]
    models = clients["http"][1].get_model_repository_index()
    found["ready"] = sorted(one["name"] for one in models if one["state"] == "READY")
    headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"http://{http}/v2/models/best/infer", data=images[0], headers=headers)
    with urllib.request.urlopen(request) as answer:
        length = int(answer.headers["Inference-Header-Content-Length"])
        body = answer.read()
    found["raw"] = json.loads(body[length + 4 :])
    sys.stdout.write(json.dumps(found))


def statistics(client: Any) -> dict[str, Any]:
    (found,) = client.get_inference_statistics("best_network")["model_stats"]
    return dict(found)


if __name__ == "__main__":
    main()
