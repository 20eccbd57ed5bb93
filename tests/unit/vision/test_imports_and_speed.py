import subprocess
import sys
import time

import numpy as np

from adaptrt.predictions import ImageMeta
from adaptrt.specs import ImageTransform, InputSpec, ModelSpec
from adaptrt.specs.decoders import find_decoder

DECODING_WITHOUT = """
import sys
import adaptrt.vision
from adaptrt.specs.decoders import decoder_names, find_decoder
for name in ("boxes", "classify", "raw", "yolo", "yolo_anchor"):
    find_decoder(name)
print(*sorted({"torch", "cv2", "PIL", "onnx", "tensorrt"} & set(sys.modules)))
"""

IMAGES_WITHOUT_OPENCV = """
import sys
sys.modules["cv2"] = None
try:
    import adaptrt.vision.images
except Exception as error:
    print(type(error).__name__, error.exit_code, error.hint)
"""


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_decoders_need_numpy_only() -> None:
    assert python(DECODING_WITHOUT) == ""


def test_a_missing_opencv_is_named_with_the_way_to_get_it() -> None:
    assert python(IMAGES_WITHOUT_OPENCV) == "DependencyError 3 pip install opencv-python"


def test_decoding_classic_output_costs_less_than_two_passes_over_it() -> None:
    """25,200 positions at conf 0.25, a few hundred of them above it; CPU time, the least of 20 runs, in turns."""
    rng = np.random.default_rng(0)
    raw = rng.random((1, 25200, 85), np.float32)
    raw[..., :2] *= 640
    raw[..., 2:4] *= 200
    raw[..., 4] = np.where(rng.random((1, 25200)) < 0.02, 0.9, 0.01)
    spec = ModelSpec((InputSpec.image(640, 640),), image=ImageTransform())
    decoder, times, passes = find_decoder("yolo_anchor"), [], []
    for _ in range(20):
        started = time.thread_time()
        (raw[..., 4:5] * raw[..., 5:]).max(-1)
        passes.append(time.thread_time() - started)
        started = time.thread_time()
        (found,) = decoder.decode({"output0": raw}, [ImageMeta((640, 640), (640, 640))], spec, decoder.params())
        times.append(time.thread_time() - started)
    assert len(found) == 300
    assert min(times) < 2 * min(passes)
