"""What a classic checkpoint may record of the network itself and of its head, which are not rebuilt attribute by attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import CheckpointError
from adaptrt_ultralytics.accounting import WAYS_OUT, recorded_forward, refers_to_method, require_no_hooks
from adaptrt_ultralytics.classic.head import AnchorDetect
from adaptrt_ultralytics.unused import reason_unused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adaptrt.checkpoint import InertObject

# read by name: layers, names and strides; the rest describes the training, or is computed from the layers
_MODEL = frozenset(
    [
        "model",
        "names",
        "stride",
        "yaml",
        "nc",
        "save",
        "inplace",
        "hyp",
        "gr",
        "class_weights",
        "yaml_file",
        "md",
        "args",
        "traced",
        "ch",
        "info_dict",
        "date",
        "epoch",
        "git",
        "version",
        "transforms",
    ]
)
_HEAD = frozenset(
    [
        "m",
        "anchors",
        "anchor_grid",
        "stride",
        "nc",
        "no",
        "nl",
        "na",
        "grid",
        "i",
        "f",
        "type",
        "np",
        "inplace",
        "export",
        "dynamic",
        "onnx_dynamic",
    ]
)
_MASKS = frozenset(["proto", "nm", "npr", "detect"])


def require_known(recorded: InertObject) -> None:
    """Reject hooks, and anything that a classic network does not record."""
    require_no_hooks(recorded, "")
    recorded_forward(recorded, AnchorDetect, "")  # no class has a short form of it: any but its own is refused
    _require(recorded, "the network", _MODEL)


def check_head(recorded: InertObject) -> None:
    """The same for the head."""
    recorded_forward(recorded, AnchorDetect, "Detect")
    _require(recorded, "the head", _HEAD)


def check_masks(recorded: InertObject) -> None:
    """The same for the head of a segmentation network: what it adds to the other one."""
    recorded_forward(recorded, AnchorDetect, "Segment")
    if not refers_to_method(recorded.attributes.get("detect"), "Detect", "forward"):
        raise CheckpointError(
            "The head of the network decodes boxes with other code than Detect.forward.", hint=WAYS_OUT
        )
    _require(recorded, "the head", _HEAD | _MASKS)


def _require(recorded: InertObject, what: str, known: frozenset[str]) -> None:
    names: Iterable[str] = (
        *recorded.attributes,
        *(
            name
            for store in ("_modules", "_parameters", "_buffers")
            for name, value in recorded.mapping(store).items()
            if value is not None
        ),
    )
    found = [name for name in dict.fromkeys(names) if name not in known and reason_unused(recorded.name, name) is None]
    if found:
        raise CheckpointError(
            f"The checkpoint records attributes of {what} ({recorded.path}) that {recorded.name} in the repository does "
            f"not have: {', '.join(found[:5])}.",
            hint=WAYS_OUT,
        )
