"""The decoder, on arrays; it needs neither torch nor torchvision."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from adaptrt import ImageMeta, InputSpec, ModelError, ModelSpec, UsageError
from adaptrt_tvseg.classmap import ClassMapParams, decode

SPEC = ModelSpec(inputs=(InputSpec.image(2, 4),), labels=("background", "red"))


def test_each_pixel_of_the_original_gets_the_class_under_its_centre() -> None:
    logits = np.zeros((1, 2, 2, 4), np.float32)
    logits[0, 1, :, 2:] = 3.0  # the right half is red
    meta = ImageMeta(original_size=(3, 8), input_size=(2, 4), scale=(2 / 3, 0.5))
    (found,) = decode({"logits": logits}, [meta], SPEC, ClassMapParams())
    assert found.arrays["classes"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 3
    assert found.arrays["share"].tolist() == [0.5, 0.5]


def test_unsure_pixels_are_background() -> None:
    logits = np.zeros((1, 2, 2, 4), np.float32)
    logits[0, 1] = [1.0, 2.0, 3.0, 4.0]  # 0.73, 0.88, 0.95, 0.98
    meta = ImageMeta(original_size=(2, 4), input_size=(2, 4))
    (found,) = decode({"logits": logits}, [meta], SPEC, ClassMapParams(confidence=0.9))
    assert found.arrays["classes"][0].tolist() == [0, 0, 1, 1]


def test_what_does_not_fit_is_refused() -> None:
    meta = ImageMeta(original_size=(2, 4), input_size=(2, 4))
    with pytest.raises(ModelError, match=r"reads \[1, 2, h, w\]"):
        decode({"logits": np.zeros((1, 5, 2, 4), np.float32)}, [meta], SPEC, ClassMapParams())
    with pytest.raises(UsageError, match="between 0 and 1"):
        ClassMapParams(confidence=40)


def test_it_is_imported_without_the_framework() -> None:
    program = "import sys, adaptrt_tvseg.classmap; print(*sorted({'torch', 'torchvision', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
