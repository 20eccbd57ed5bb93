"""Record the public API of a TensorRT Python package, for the tests that run without it.

    python tools/tensorrt_surface.py tensorrt_rtx_bindings tests/support/surfaces/rtx_1.7.1.json.xz

Run it with the interpreter of an environment that has the package. It imports the package but calls nothing in it. The file
contains, for each public name: the members of an enumeration; the bases and members of a class; the signatures of a function
or method, as in its pybind11 docstring; whether a property can be set. The same package always produces the same bytes.
"""

from __future__ import annotations

import importlib
import json
import lzma
import re
import sys
import types
from pathlib import Path
from typing import Any

SPECIAL_METHODS = {"__init__", "__len__", "__getitem__"}
PYBIND_BASES = {"object", "pybind11_object"}


def main(package: str, output: Path) -> None:
    module = importlib.import_module(package)
    names = {
        name: described(value)
        for name, value in sorted(vars(module).items())
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    write(output, {"package": package, "version": module.__version__, "names": names})


def described(value: Any) -> dict[str, Any]:
    if isinstance(value, type):
        return described_class(value)
    if callable(value):
        return {"kind": "function", "signatures": signatures(value)}
    return {"kind": "value", "type": type(value).__name__}


def described_class(cls: type) -> dict[str, Any]:
    if hasattr(cls, "__members__"):
        return {"kind": "enum", "members": list(cls.__members__)}
    members = {
        name: described_member(member)
        for name, member in sorted(vars(cls).items())
        if not name.startswith("_") or name in SPECIAL_METHODS
    }
    bases = [base.__name__ for base in cls.__mro__[1:] if base.__name__ not in PYBIND_BASES]
    return {"kind": "class", "bases": bases, "members": members}


def described_member(member: Any) -> dict[str, Any]:
    if isinstance(member, type):
        return described_class(member)
    if isinstance(member, property):
        return {"kind": "property", "settable": member.fset is not None}
    return {"kind": "method", "signatures": signatures(member)}


def signatures(function: Any) -> list[str]:
    """One for each overload, as pybind11 numbers them below a general ``name(*args, **kwargs)``."""
    name = re.escape(getattr(function, "__name__", ""))
    found = re.findall(rf"^\s*(?:\d+\.\s+)?({name}\(.*)$", getattr(function, "__doc__", None) or "", re.MULTILINE)
    return [line.strip() for line in found if "*args" not in line]


def write(output: Path, surface: dict[str, Any]) -> None:
    text = json.dumps(surface, separators=(",", ":"), sort_keys=True)
    output.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]))
