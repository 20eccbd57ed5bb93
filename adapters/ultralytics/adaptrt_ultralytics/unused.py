"""What checkpoints record of each class but inference does not use, with the reason."""

from __future__ import annotations

from collections.abc import Mapping

# What nn.Module keeps for itself. Not here, since they run at inference: forward hooks and forward pre-hooks.
_BOOKKEEPING = frozenset(
    [
        "_parameters",
        "_buffers",
        "_modules",
        "_non_persistent_buffers_set",
        "_version",
        "training",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_is_full_backward_hook",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks_with_kwargs",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
    ]
)
HOOKS = ("_forward_hooks", "_forward_pre_hooks")

_PARSER = "written by the config parser, for its summary"
_SIZE = "a size that the shapes of the tensors also define"
_CACHE = "recomputed for each input size"
_TRAINING = "used only in training"
_EXPORT = "a switch for export or training"

# What inference does not use, by class ("" stands for every class), with the reason.
UNUSED: Mapping[str, Mapping[str, str]] = {
    "": {
        "i": "the index of the layer, which is compared with its position in the network",
        "np": _PARSER,
        "type": _PARSER,
        "num_batches_tracked": "counts batches in training",
        "inplace": "decides where a result is stored, not its value",
        "default_act": "the activation is recorded as a child",
    },
    "A2C2f": {"c": _SIZE},
    "ADown": {"c": _SIZE},
    "C2": {"c": _SIZE},
    "C2PSA": {"c": _SIZE},
    "C2f": {"c": _SIZE},
    "C2fCIB": {"c": _SIZE},
    "C2fPSA": {"c": _SIZE},
    "C3k2": {"c": _SIZE},
    "DWConvTranspose2d": dict.fromkeys(
        ("in_channels", "out_channels", "kernel_size", "transposed", "_reversed_padding_repeated_twice"), _SIZE
    ),
    "ELAN1": {"c": _SIZE},
    "PSA": {"c": _SIZE},
    "DeformableTransformerDecoder": {"hidden_dim": _SIZE, "num_layers": _SIZE},
    "MSDeformAttn": {"im2col_step": "a parameter of the compiled kernel"},
    "RTDETRDecoder": {
        "denoising_class_embed": _TRAINING,
        "label_noise_ratio": _TRAINING,
        "box_noise_scale": _TRAINING,
        "enc_score_head": "ranks the queries, which has no gradient",
        "dec_score_head": "only its last layer is used in inference",
        "hidden_dim": _SIZE,
        "nl": _SIZE,
        "num_decoder_layers": _SIZE,
        "nhead": _SIZE,
    },
    "ResNetLayer": {"is_first": "decides which layers are built; they are recorded"},
    "RepConv": {
        "c1": _SIZE,
        "c2": _SIZE,
        "g": "the groups are in the convolutions",
        "id_tensor": "used while branches are fused",
    },
    "RepNCSPELAN4": {"c": _SIZE},
    "RepVGGDW": {"dim": _SIZE},
    "SPPELAN": {"c": _SIZE},
    "SPPF": {"c": _SIZE},
    "Detect": {
        "no": _SIZE,
        "export": _EXPORT,
        "format": _EXPORT,
        "dynamic": _EXPORT,
        "xyxy": _EXPORT,
        "separate_outputs": _EXPORT,
        "shape": _CACHE,
        "anchors": _CACHE,
        "strides": _CACHE,
        "grid": _CACHE,
        "anchor_grid": _CACHE,
        "onnx_dynamic": _EXPORT,
        "legacy": "decides which layers are built; they are recorded",
        "max_det": "used only by end-to-end heads",
        "agnostic_nms": "used only by end-to-end heads",
        "_end2end": "used only by end-to-end heads",
        "end2end": "used only by end-to-end heads",
    },
    "ClassificationModel": {"transforms": "of images, not of the network"},
    "Segment": {"npr": _SIZE, "detect": "Detect.forward in older versions, which is compared when it is read"},
    "Segment26": {"npr": _SIZE},
    "Pose26": dict.fromkeys(("flow_model", "cv4_sigma", "one2one_cv4_sigma", "nk_sigma"), _TRAINING),
    "PoseModel": {"kpt_shape": "also recorded in the head"},
    "Proto26": {"semseg": _TRAINING},
    "DetectionModel": dict.fromkeys(
        [
            "args",
            "class_weights",
            "ckpt",
            "ckpt_path",
            "criterion",
            "date",
            "end2end",
            "epoch",
            "gr",
            "hyp",
            "names",
            "nc",
            "overrides",
            "pt_path",
            "stride",
            "task",
            "version",
            "yaml",
            "yaml_file",
        ],
        "describes the training or the classes",
    ),
}


# Classes that share the entries of another one.
_BASES: Mapping[str, str] = {
    **dict.fromkeys(("Segment", "Segment26", "Pose", "Pose26", "OBB", "OBB26", "v10Detect", "RTDETRDecoder"), "Detect"),
    **dict.fromkeys(
        ("SegmentationModel", "PoseModel", "OBBModel", "ClassificationModel", "RTDETRDetectionModel"), "DetectionModel"
    ),
}


def reason_unused(kind: str, name: str) -> str | None:
    """Why inference does not use what a layer of this class records under this name; ``None`` if it is expected to."""
    if name in _BOOKKEEPING or name in (*HOOKS, "forward"):
        return "managed by torch.nn.Module"
    base = _BASES.get(kind, kind)
    return UNUSED.get(kind, {}).get(name) or UNUSED.get(base, {}).get(name) or UNUSED[""].get(name)
