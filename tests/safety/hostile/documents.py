"""What lies beside a model or in the current folder: reports, manifests, caches, plugins.toml, annotations, headers."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile.case import ANY, BUILD, MODEL, REFUSED, RUNS, USAGE, Case, convert, thinned
from hostile.graphs import ESCAPES, NEEDS, SPEC, model

COCO_NEEDS = (*NEEDS, "faster_coco_eval")
CODE = f"import os\nos.system({RUNS!r})\n"
DETECT = {**SPEC, "task": "detect", "decoder": {"name": "yolo", "params": {}}}


def report(**changes: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model(folder, SPEC)
        (folder / "evil_module.py").write_text(CODE)
        content = {
            "adapter": "torch",
            "source": "os:system",
            "command": RUNS,
            "spec": SPEC,
            "status": "finished",
            **changes,
        }
        (folder / "evil.report.json").write_text(json.dumps(content))

    return make


def plugins_toml(text: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model(folder, SPEC)
        (folder / "evil_module.py").write_text(CODE)
        (folder / "sitecustomize.py").write_text(CODE)
        (folder / "plugins.toml").write_text(text, encoding="utf-8", errors="surrogateescape")

    return make


def conversion(text: str) -> Callable[[Path], None]:
    """A conversion file, with code beside it that it may name."""

    def make(folder: Path) -> None:
        model(folder, SPEC)
        (folder / "evil_module.py").write_text(CODE)
        (folder / "evil_module:model").write_text("")
        (folder / "checkout" / "models").mkdir(parents=True)
        (folder / "checkout" / "models" / "yolo.py").write_text(CODE)
        (folder / "evil.toml").write_text(text)

    return make


def manifest(raw: bytes | None = None, **changes: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        plan = b"ptrt" + bytes(64)
        (folder / "evil.engine").write_bytes(plan)
        (folder / "image.png").write_bytes(b"x")
        content = {
            "format": "adaptrt engine 1", "plan_sha256": hashlib.sha256(plan).hexdigest(), "plan_bytes": len(plan),
            "onnx": "a.onnx", "onnx_sha256": "0" * 64, "tensorrt": "8.6.0", "cuda": "12", "driver": None, "gpu": "g",
            "capability": "9.0", "precision": "fp32", "spec": SPEC, "precision_report": {"precision": "fp32"}, **changes,
        }  # fmt: skip
        (folder / "evil.engine.json").write_bytes(raw if raw is not None else json.dumps(content).encode())

    return make


def plugin_library(folder: Path) -> None:
    (folder / "evil.so").write_bytes(b"\x7fELF" + bytes(60))
    manifest(plugin_libs=[{"path": str(folder / "evil.so"), "sha256": "0" * 64}])(folder)


def engine_header(size: int, text: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "evil.engine").write_bytes(struct.pack("<I", size) + text + bytes(64))


def header(content: object) -> Callable[[Path], None]:
    text = json.dumps(content).encode()
    return engine_header(len(text), text)


def coco(
    raw: bytes | None = None, *, image: Any = None, annotation: Any = None, category: Any = None
) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model(folder, DETECT)
        content = {
            "images": [{"id": 1, "file_name": "image.png", "width": 50, "height": 40, **(image or {})}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], **(annotation or {})}],
            "categories": [{"id": number, "name": name, **(category or {})} for number, name in enumerate("abc", 1)],
        }
        (folder / "coco.json").write_bytes(raw if raw is not None else json.dumps(content).encode())

    return make


def data_yaml(text: str, labels: str = "0 0.5 0.5 0.2 0.2\n") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model(folder, DETECT)
        (folder / "images").mkdir()
        (folder / "labels").mkdir()
        (folder / "images" / "image.png").symlink_to(folder / "image.png")
        (folder / "labels" / "image.txt").write_text(labels)
        (folder / "data.yaml").write_text(text)

    return make


def foreign(**metadata: str) -> Callable[[Path], None]:
    """A file without a spec, with metadata as Ultralytics writes it."""
    given = {"names": "['a', 'b', 'c']", "stride": "32", "task": "classify", **metadata}

    def change(proto: Any) -> None:
        for key, value in given.items():
            entry = proto.metadata_props.add()
            entry.key, entry.value = key, value

    return lambda folder: model(folder, None, change=change)


def class_folder(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model(folder, {**SPEC, "labels": []})
        (folder / "set" / name).mkdir()
        (folder / "set" / name / "1.png").symlink_to(folder / "image.png")

    return make


def planted_entry(entry: dict[str, Any]) -> Callable[[Path], None]:
    """An entry of the cache whose files lie elsewhere; the victim must survive."""

    def make(folder: Path) -> None:
        cache = folder.parent / "cache"
        (cache / "entries").mkdir(parents=True)
        (cache / "objects").mkdir()
        (folder / "victim").write_text("precious")
        content = {"key": "0" * 64, "kind": "conversion", "title": ESCAPES, "created": 0.0, "files": {}, **entry}
        (cache / "entries" / f"{'0' * 64}.json").write_text(json.dumps(content))
        os.environ["ADAPTRT_CACHE_DIR"] = str(cache)

    return make


EAGER = ("evaluate", "evil.onnx", "--data", "set", "--backend", "eager")
ONNX = ("predict", "evil.onnx", "image.png")
ENGINE, LOOK = ("predict", "evil.engine", "image.png"), ("inspect", "evil.engine", "-v")
SCORE = ("evaluate", "evil.onnx", "--data", "coco.json")
YOLO_SCORE = ("evaluate", "evil.onnx", "--data", "data.yaml")
_LAUGHS = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))
DATA_YAML = {
    "object": f"val: images\nnames: !!python/object/apply:os.system ['{RUNS}']\n",
    "laughs": f"a0: &a0 [x, x]\n{_LAUGHS}\nval: images\nnames: *a29\n",
    "deep": "[" * 20_000, "deeper": "[" * 1_000_000, "deep-blocks": "- " * 1_000_000, "is-a-list": "[1, 2]", "val-is-a-map": "val: {a: 1}\nnames: [a, b, c]\n",
    "nul": 'val: "a\\0b"\nnames: [a, b, c]\n', "names-deep": "val: images\nnames: [[[a]]]\n",
}  # fmt: skip
LABEL_FILES = {
    "nan": "0 nan 0.5 0.1 0.1\n", "infinite": "0 inf 0.5 0.1 0.1\n", "class-infinite": "inf 0.5 0.5 0.1 0.1\n",
    "class-text": "a 0.5 0.5 0.1 0.1\n", "class-negative": "-1 0.5 0.5 0.1 0.1\n", "short": "0 0.5\n", "huge": "0 1e308 0.5 0.1 0.1\n",
}  # fmt: skip
BOXES = {
    "three-numbers": [1, 2, 3], "text": "1 2 3 4", "text-inside": [1, "2", 3, 4], "null": None,
    "nan": [float("nan")] * 4, "infinite": [0, 0, float("inf"), 1], "huge": [0, 0, 1e308, 1e308], "deep": [[[1]]] * 4,
}  # fmt: skip
CONVERSIONS = {
    "named-as-a-file-beside": 'source = "evil_module:model"',
    "names-a-file": 'source = "evil_module.py:model"',
    "names-a-module-only": 'source = "evil_module:1"',
    "names-a-checkout": 'source = "x.pt"\n[set]\nrepo = " checkout "',
    "names-a-library": 'source = "x.pt"\nplugin-lib = "evil.so"',
    "names-plugins": 'source = "x.pt"\nplugins = "plugins.toml"',
    "trusts": 'source = "x.pt"\ntrust-checkpoint = true',
}
CASES = [
    Case("report-names-a-call", report(), EAGER, needs=(*NEEDS, "torch")),
    Case("report-names-a-file-beside", report(source="evil_module.py:model"), EAGER, needs=(*NEEDS, "torch")),
    Case("report-names-a-module-beside", report(source="evil_module:model"), EAGER, needs=(*NEEDS, "torch")),
    Case("report-names-no-adapter", report(adapter="os", source="system"), EAGER, needs=(*NEEDS, "torch")),
    Case("report-escapes", report(adapter=ESCAPES, source=ESCAPES, command=ESCAPES), EAGER, needs=(*NEEDS, "torch")),
    Case("report-is-a-list", lambda folder: (report()(folder), (folder / "evil.report.json").write_text("[]")), EAGER, needs=(*NEEDS, "torch")),
    Case("report-is-deep", lambda folder: (report()(folder), (folder / "evil.report.json").write_text("[" * 100_000)), EAGER, needs=(*NEEDS, "torch")),
    Case("plugins-toml-module", plugins_toml('[plugins]\nmodules = ["evil_module"]\n'), ONNX, ANY, needs=NEEDS),
    Case("plugins-toml-file", plugins_toml('[plugins]\nmodules = ["evil_module.py"]\n'), ONNX, ANY, needs=NEEDS),
    Case("plugins-toml-listed", plugins_toml('[plugins]\nmodules = ["evil_module"]\n'), ("plugins",), ANY),
    Case("plugins-toml-adapters", plugins_toml('[adapters.x]\ndistribution="evil"\nsummary="\\u001b]0;owned\\u0007"\nframework="x"\nlicense="x"\n'), ("adapters", "--all"), ANY),
    Case("plugins-toml-broken", plugins_toml("[plugins\n\udcff"), ("plugins",), ANY),
    *thinned([
        Case(f"conversion-file-{key}", conversion(text), ("convert", "--adapter", "torch", "--config", "evil.toml"), (USAGE,), says="evil.toml", needs=NEEDS)
        for key, text in CONVERSIONS.items()
    ]),
    Case("manifest-not-utf8", manifest(b'{"format": "\xff\xfe"}'), LOOK, ANY),
    Case("manifest-not-utf8-predict", manifest(b'{"format": "\xff\xfe"}'), ENGINE, needs=NEEDS),
    Case("manifest-deep", manifest(b"[" * 100_000), LOOK, ANY),
    Case("manifest-format-number", manifest(format=7), LOOK, ANY),
    Case("manifest-no-inputs", manifest(spec={**SPEC, "inputs": []}), LOOK, ANY),
    Case("manifest-escapes", manifest(gpu=ESCAPES, onnx=ESCAPES, command=ESCAPES, rebuild=ESCAPES), LOOK, ANY),
    Case("manifest-version-text", manifest(tensorrt="x.y", capability="z"), LOOK, ANY),
    Case("manifest-host-code", manifest(host_code=True), ENGINE, REFUSED, needs=NEEDS),
    Case("manifest-plugin-library", plugin_library, ENGINE, REFUSED, needs=NEEDS),
    Case("manifest-plugin-library-inspect", plugin_library, LOOK, ANY),
    Case("header-names-escapes", header({"names": {"0": ESCAPES}, ESCAPES: 1}), LOOK, ANY),
    Case("header-huge", engine_header((1 << 24) - 1, b"{"), LOOK, ANY, megabytes=200),
    Case("header-deep", engine_header(200_000, b'{"a":' * 40_000), LOOK, ANY),
    Case("header-not-utf8", engine_header(4, b"{\xff\xfe}"), LOOK, ANY),
    Case("header-is-a-list", engine_header(2, b"[]"), LOOK, ANY),
    Case("header-unwrap", header({"names": ESCAPES}), ("engine", "unwrap", "evil.engine", "-v"), ANY),
    Case("header-wrap-literals", manifest(spec={**SPEC, "metadata": {"names": "(" * 5000, "stride": "9" * 100_000}}), ("engine", "wrap", "evil.engine", "-v"), ANY),
    Case("engine-empty", lambda folder: (folder / "evil.engine").write_bytes(b""), LOOK, (BUILD,)),
    *thinned([Case(f"coco-box-{key}", coco(annotation={"bbox": box}), SCORE, (USAGE,), says="bbox", needs=COCO_NEEDS) for key, box in BOXES.items()]),
    *thinned([Case(f"data-yaml-{key}", data_yaml(text), YOLO_SCORE, (USAGE,), needs=(*COCO_NEEDS, "yaml"), seconds=10) for key, text in DATA_YAML.items()]),
    *thinned([Case(f"label-file-{key}", data_yaml("val: images\nnames: [a, b, c]\n", text), YOLO_SCORE, (USAGE,), says="image.txt", needs=(*COCO_NEEDS, "yaml")) for key, text in LABEL_FILES.items()]),
    Case("metadata-names-a-call", foreign(names=f"__import__('os').system('{RUNS}')"), ONNX, (MODEL,), needs=NEEDS),
    Case("metadata-names-deep", foreign(names="[" * 200_000), ONNX, (MODEL,), needs=NEEDS, seconds=10),
    Case("metadata-names-escapes", foreign(names=str([ESCAPES, "b", "c"])), ONNX, ANY, needs=NEEDS),
    Case("metadata-imgsz-huge", foreign(imgsz="[1000000000, 1000000000]"), ONNX, REFUSED, needs=NEEDS),
    *thinned([
        Case("coco-image-id-text", coco(image={"id": "1"}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-image-id-list", coco(image={"id": [1]}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-image-id-huge", coco(image={"id": 10**30}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-category-text", coco(annotation={"category_id": "x"}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-category-id-text", coco(category={"id": "x"}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-area-nan", coco(annotation={"area": float("nan")}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-crowd-text", coco(annotation={"iscrowd": "x"}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-file-name-nul", coco(image={"file_name": "a\0b"}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-file-name-elsewhere", coco(image={"file_name": "/etc/passwd"}), SCORE, (USAGE, MODEL), needs=COCO_NEEDS),
        Case("coco-file-name-device", coco(image={"file_name": "/dev/zero"}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-file-name-escapes", coco(image={"file_name": ESCAPES}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-file-name-long", coco(image={"file_name": "x" * 5000}), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-names-escapes", coco(category={"name": ESCAPES}), SCORE, ANY, needs=COCO_NEEDS),
        Case("coco-deep", coco(b"[" * 200_000), SCORE, (USAGE,), needs=COCO_NEEDS),
        Case("coco-not-utf8", coco(b'{"images": "\xff"}'), SCORE, (USAGE,), needs=COCO_NEEDS),
    ]),
    Case("class-folder-escapes", class_folder("\x1b]0;owned\x07\x1b[2J"), ("evaluate", "evil.onnx", "--data", "set"), ANY, needs=NEEDS),
    Case("cache-entry-above-ls", planted_entry({"files": {".onnx": "../../work/victim"}}), ("cache", "ls", "-v"), ANY),
    Case("cache-entry-above-prune", planted_entry({"files": {".onnx": "../../work/victim"}}), ("cache", "prune"), ANY),
    Case("cache-entry-absolute-prune", planted_entry({"files": {".onnx": "/etc/hostname"}}), ("cache", "prune"), ANY),
    Case("cache-entry-key-above", planted_entry({"key": "../../work/victim"}), ("cache", "prune"), ANY),
    Case("torchscript-is-a-program", lambda folder: torchscript(folder), convert("torch", "evil.pts"), (MODEL,), says="trust-checkpoint", needs=("torch",)),
    Case("torchscript-as-a-checkpoint", lambda folder: torchscript(folder), convert("yolov5", "evil.pts"), (MODEL,), needs=("torch", "ultralytics")),
    Case("exported-program", lambda folder: exported(folder), convert("torch", "evil.pt2"), (MODEL,), says="trust-checkpoint", needs=("torch",)),
]  # fmt: skip


def torchscript(folder: Path) -> None:
    import zipfile

    with zipfile.ZipFile(folder / "evil.pts", "w") as archive:
        archive.writestr("evil/data.pkl", b"\x80\x02N.")
        archive.writestr("evil/constants.pkl", b"\x80\x02).")
        archive.writestr("evil/code/__torch__.py", CODE)


def exported(folder: Path) -> None:
    import zipfile

    from hostile.pickles import call, text

    with zipfile.ZipFile(folder / "evil.pt2", "w") as archive:
        archive.writestr("evil/archive_format", b"pt2")
        archive.writestr("evil/models/model.json", b"{}")
        archive.writestr("evil/data/sample_inputs/model.pt", b"\x80\x02" + call("os.system", text(RUNS)) + b".")
