"""The error of a configuration on a few images, and the images of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adaptrt.errors import UsageError
from adaptrt.pipeline.calibration import CalibrationImages
from adaptrt.pipeline.verification.by_metric import VerificationImages
from adaptrt.specs import ModelSpec
from adaptrt.spread import spread

_FIFTH, _MOST = 5, 64  # of the images, to calibrate on where --calib names none


def relative_error(
    spec: ModelSpec, reference: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> float:
    """The largest, over groups of float outputs, of the root mean square error divided by the standard deviation; infinite
    if a value is not finite."""
    from adaptrt.verify.compare import groups_of, slice_group

    worst = 0.0
    for output in spec.outputs:
        if reference[0][output.name].dtype.kind != "f":
            continue
        for group in groups_of(output):
            wanted = np.concatenate([slice_group(one[output.name], group).ravel() for one in reference]).astype(float)
            given = np.concatenate([slice_group(one[output.name], group).ravel() for one in found]).astype(float)
            if not np.isfinite(given).all():
                return float("inf")
            spread_of = float(wanted.std()) or 1.0
            worst = max(worst, float(np.sqrt(((given - wanted) ** 2).mean())) / spread_of)
    return worst


def divided(images: VerificationImages) -> tuple[VerificationImages, CalibrationImages]:
    """Every fifth image to calibrate on, the others to score on."""
    examples = list(images.examples)
    used = spread(examples[_FIFTH - 1 :: _FIFTH], _MOST)
    if not used:
        raise UsageError(
            f"{len(examples)} images are too few to set some of them aside for calibration.",
            hint="Specify calibration images with --calib, or at least 5 images.",
        )
    chosen = {id(one) for one in used}
    rest = replace(images.dataset, examples=tuple(one for one in examples if id(one) not in chosen))
    return VerificationImages(rest, images.data), CalibrationImages(tuple(one.path for one in used))
