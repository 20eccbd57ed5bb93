"""ONNX files: graphs that are none, external data elsewhere, hostile specs, names that steer a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile.case import ANY, GRAPH, MODEL, USAGE, Case, in_turn

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31mred\r\u202e"
MARKUP = "[bold red]x[/]<script>alert(1)</script>[link=https://x.invalid]y[/link]"
NEEDS = ("onnx", "onnxruntime", "cv2")
SIZE = 32

SPEC: dict[str, Any] = {
    "inputs": [{"name": "images", "profiles": [[{"min": n, "opt": n, "max": n} for n in (1, 3, SIZE, SIZE)]]}],
    "outputs": [{"name": "probabilities"}],
    "task": "classify",
    "image": {"input": "images", "resize": "stretch"},
    "decoder": {"name": "classify", "params": {}},
    "labels": ["a", "b", "c"],
}  # fmt: skip


def model(
    folder: Path, spec: object = None, *, change: Callable[[Any], None] = lambda proto: None, name: str = "evil.onnx"
) -> None:
    """Global average of the channels as three classes, with an image beside it; ``change`` spoils it."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["probabilities"], name="flatten"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 3])],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if spec is not None:
        entry = proto.metadata_props.add()
        entry.key, entry.value = "adaptrt.spec", spec if isinstance(spec, str) else json.dumps(spec)
    change(proto)
    (folder / name).write_bytes(proto.SerializeToString())
    image(folder)


def image(folder: Path) -> None:
    import cv2
    import numpy as np

    (folder / "set" / "a").mkdir(parents=True, exist_ok=True)
    for place in (folder / "image.png", folder / "set" / "a" / "1.png"):
        place.write_bytes(cv2.imencode(".png", np.full((40, 50, 3), 90, np.uint8))[1].tobytes())


# each found an internal error once: names and metadata that are not UTF-8
MUTATIONS = (b"flatten", b"pooled", b"adaptrt.spec", b"probabilities", b"images")


def mutated(text: bytes) -> Callable[[Path], None]:
    """The file with the first letter of a name, wherever it stands, outside of UTF-8."""

    def make(folder: Path) -> None:
        model(folder, SPEC)
        path = folder / "evil.onnx"
        path.write_bytes(path.read_bytes().replace(text, b"\xff" + text[1:]))

    return make


def with_spec(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: model(folder, {**SPEC, **changes})


def spoiled(change: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda folder: model(folder, SPEC, change=change)


def dims(*sizes: object) -> dict[str, Any]:
    axes = [size if isinstance(size, dict) else {"min": size, "opt": size, "max": size} for size in sizes]
    return {"inputs": [{"name": "images", "profiles": [axes]}]}


SPECS: dict[str, Callable[[Path], None]] = {
    "no-inputs": with_spec(inputs=[]),
    "no-axes": with_spec(inputs=[{"name": "images", "profiles": [[]]}]),
    "no-profiles": with_spec(inputs=[{"name": "images", "profiles": []}]),
    "two-axes": with_spec(**dims(1, 3)),
    "huge-axes": with_spec(**dims(1, 3, 2**31, 2**31)),
    "beyond-64-bit": with_spec(**dims(1, 3, 2**70, 2**70)),
    "backwards-axis": with_spec(**dims({"min": 5, "opt": 1, "max": 2}, 3, 32, 32)),
    "other-input": with_spec(image={"input": "elsewhere"}),
    "stride-zero": with_spec(image={"input": "images", "stride": 0}),
    "crop-zero": with_spec(image={"input": "images", "resize": "crop", "crop_fraction": 0.0}),
    "crop-tiny": with_spec(image={"input": "images", "resize": "crop", "crop_fraction": 1e-300}),
    "std-zero": with_spec(image={"input": "images", "std": [0, 0, 0]}),
    "not-json": lambda folder: model(folder, "{"),
    "a-list": lambda folder: model(folder, "[]"),
    "deep": lambda folder: model(folder, '{"metadata":' * 5000),
    "version-text": with_spec(version="x"),
    "version-later": with_spec(version=999),
    "decoder-names-code": with_spec(decoder={"name": "os:system", "params": {"command": "touch PWNED"}}),
    "decoder-other-params": with_spec(decoder={"name": "classify", "params": {"top_k": "x", "nobody": [1]}}),
    "adapter-names-code": with_spec(adapter="os"),
}


def cycle(proto: Any) -> None:
    proto.graph.node[0].input[0] = "probabilities"


def itself(proto: Any) -> None:
    proto.graph.node[0].input[0] = "pooled"


def undefined(proto: Any) -> None:
    proto.graph.node[0].input[0] = "nobody"


def unknown_domain(proto: Any) -> None:
    proto.graph.node[0].domain, proto.graph.node[0].op_type = "evil.domain", "System"


def undefined_output(proto: Any) -> None:
    proto.graph.output[0].name = "nobody"


def absurd_size(proto: Any) -> None:
    for axis in proto.graph.input[0].type.tensor_type.shape.dim:
        axis.dim_value = 2**62


def negative_size(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -5


def unknown_type(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = 9999


def huge_weight(proto: Any) -> None:
    weight = proto.graph.initializer.add()
    weight.name, weight.data_type = "w", 1
    weight.dims.extend([2**40, 2**20])


def nan_scales(proto: Any) -> None:
    from onnx import TensorProto, helper

    proto.graph.initializer.append(helper.make_tensor("scales", TensorProto.FLOAT, [4], [float("nan")] * 4))
    proto.graph.node[0].CopyFrom(
        helper.make_node("Resize", ["images", "", "scales"], ["pooled"], name="resize", mode="nearest")
    )


def wrong_attribute(proto: Any) -> None:
    from onnx import helper

    proto.graph.node[1].attribute.append(helper.make_attribute("axis", float("nan")))


def external(location: str) -> Callable[[Any], None]:
    def change(proto: Any) -> None:
        weight = proto.graph.initializer.add()
        weight.name, weight.data_type, weight.data_location = "w", 2, 1
        weight.dims.append(16)
        entry = weight.external_data.add()
        entry.key, entry.value = "location", location

    return change


def hostile_names(text: str) -> Callable[[Path], None]:
    def change(proto: Any) -> None:
        node = proto.graph.node.add()
        node.name, node.op_type = text, "Identity"
        node.input.append("pooled")
        node.output.append(f"out {text}")
        node.doc_string = f'File "{text}", line 3, in forward'
        proto.producer_name = text
        entry = proto.metadata_props.add()
        entry.key, entry.value = text, text

    return lambda folder: model(
        folder, {**SPEC, "labels": [f"{text}{n}" for n in range(3)], "metadata": {"x": text}}, change=change
    )


def symlinked_data(folder: Path) -> None:
    (folder / "weights.bin").symlink_to("/etc/passwd")
    model(folder, SPEC, change=external("weights.bin"))


def png_bomb(folder: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 20_000
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(3 * side + 1)) for _ in range(100)) + packer.flush()
    model(folder, SPEC)
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def hostile_file_name(folder: Path) -> None:
    model(folder, SPEC)
    for name in ("\x1b]0;owned\x07.png", MARKUP.replace("/", "_") + ".png"):
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / name).write_bytes((folder / "image.png").read_bytes())
    (folder / "images" / "\x1b[2Jbroken.png").write_bytes(b"not an image")


PREDICT = ("predict", "evil.onnx", "image.png")
PACKAGE = ("package", "runtime", "evil.onnx", "-o", "package")
INSPECT, LINT = ("inspect", "evil.onnx", "-v"), ("lint", "evil.onnx", "-v")
SHOWING = {
    "predict": PREDICT, "predict-json": (*PREDICT, "--json"), "inspect": INSPECT, "inspect-graph": ("inspect", "evil.onnx", "--graph"),
    "inspect-json": ("inspect", "evil.onnx", "--json"), "lint": LINT, "evaluate": ("evaluate", "evil.onnx", "--data", "set"),
}  # fmt: skip
GRAPHS = {
    "cycle": cycle, "node-that-feeds-itself": itself, "undefined-name": undefined, "undefined-output": undefined_output,
    "unknown-domain": unknown_domain, "absurd-size": absurd_size, "negative-size": negative_size,
    "unknown-type": unknown_type, "huge-weight": huge_weight, "nan-scales": nan_scales, "wrong-attribute": wrong_attribute,
    "data-above": external("../../../../etc/passwd"), "data-absolute": external("/etc/passwd"),
    "data-escapes": external(ESCAPES), "data-fifo": external("."),
}  # fmt: skip
CASES = [
    *in_turn([
        Case(f"spec-{key}-{command[0]}", make, command, ANY, needs=NEEDS)
        for key, make in SPECS.items()
        for command in (PREDICT, INSPECT)
    ], 2),
    *(Case(f"spec-{key}-build", SPECS[key], ("build", "evil.onnx"), ANY, needs=NEEDS) for key in ("no-inputs", "no-axes", "stride-zero", "huge-axes")),
    *(Case(f"spec-{key}-evaluate", SPECS[key], ("evaluate", "evil.onnx", "--data", "set"), ANY, needs=NEEDS) for key in ("no-inputs", "no-axes", "stride-zero", "two-axes")),
    *(Case(f"spec-{key}-lint", SPECS[key], LINT, ANY, needs=NEEDS) for key in ("no-inputs", "no-axes", "stride-zero")),
    *in_turn([
        Case(f"graph-{key}-{command[0]}", spoiled(change), command, ANY, needs=NEEDS)
        for key, change in GRAPHS.items()
        for command in (LINT, INSPECT, PREDICT)
    ], 3),
    Case("graph-cycle-is-named", spoiled(cycle), LINT, (GRAPH,), says="cycle", needs=NEEDS),
    Case("data-through-a-symlink", symlinked_data, PREDICT, ANY, needs=NEEDS),
    *(
        Case(f"data-{key}-package", make, PACKAGE, (GRAPH,), says="not a file in its folder", needs=NEEDS)
        for key, make in {
            "above": spoiled(external("../../../../etc/passwd")), "absolute": spoiled(external("/etc/passwd")),
            "endless": spoiled(external("/dev/zero")), "through-a-symlink": symlinked_data,
        }.items()
    ),
    *in_turn([
        Case(f"names-{kind}-{key}", hostile_names(text), command, ANY, needs=NEEDS)
        for key, command in SHOWING.items()
        for kind, text in (("escapes", ESCAPES), ("markup", MARKUP))
    ], 2),
    Case("markup-is-shown-as-it-is", hostile_names(MARKUP), PREDICT, (0,), says="[bold red]x[/]", needs=NEEDS),
    Case("file-names", hostile_file_name, ("predict", "evil.onnx", "images"), (0, MODEL), needs=NEEDS),
    Case("png-bomb", png_bomb, ("predict", "evil.onnx", "bomb.png"), (MODEL,), says="too large: the maximum is", needs=NEEDS, megabytes=300),
    *in_turn([
        Case(f"not-utf8-{text.decode()}-{command[0]}", mutated(text), command, ANY, needs=NEEDS)
        for text in MUTATIONS
        for command in (LINT, INSPECT, PREDICT)
    ], 3),
    Case("truncated", lambda folder: (folder / "evil.onnx").write_bytes(b"\x08\x08\x12\x07"), LINT, (GRAPH,), needs=NEEDS),
    Case("output-name-too-long", lambda folder: model(folder, SPEC), ("predict", "evil.onnx", "image.png", "-o", "x" * 300 + ".png"), (USAGE,), needs=NEEDS),
    Case("output-very-deep", lambda folder: model(folder, SPEC), ("predict", "evil.onnx", "image.png", "-o", "d/" * 3000), (USAGE,), needs=NEEDS),
    Case("lone-surrogate", lambda folder: model(folder, SPEC), ("predict", "evil.onnx", "image.png", "--set", "x=\udc80"), (USAGE,), needs=NEEDS),
    Case("nul", lambda folder: model(folder, SPEC), ("predict", "evil.onnx", "image.png", "-o", "a\0b"), (USAGE,), needs=NEEDS),
]  # fmt: skip
