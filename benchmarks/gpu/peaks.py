"""What `adaptrt bench` measures of a GPU, for every precision: operations and bytes per second.

::

    python -m benchmarks.gpu.peaks [--json FILE]
"""

from __future__ import annotations

from adaptrt.backends.tensorrt.device import identify_device
from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.backends.tensorrt.runtime.peak import kernel_file, measure_peak
from benchmarks.common.results import arguments, finish, machine, table


def main() -> None:
    options = arguments(__doc__).parse_args()
    name, capability = identify_device()
    peaks = {precision: measure_peak(Cuda(0), capability, precision) for precision in kernel_file(capability).kernels}
    found = {precision: {"operations": one.operations, "bytes": one.bytes} for precision, one in peaks.items()}
    table(
        ["precision", "TFLOP/s", "TB/s"], [[key, one.operations / 1e12, one.bytes / 1e12] for key, one in peaks.items()]
    )
    finish("gpu_peaks", options.json, {**machine("cuda-python"), "gpu": name, "peaks": found})


if __name__ == "__main__":
    main()
