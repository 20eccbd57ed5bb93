"""What this GPU computes and copies at most."""

import pytest

from adaptrt.backends.tensorrt.device import identify_device
from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.backends.tensorrt.runtime.peak import kernel_file, measure_peak
from adaptrt.errors import DependencyError


def test_smaller_types_are_computed_faster():
    capability = identify_device()[1]
    try:
        found = {name: measure_peak(Cuda(0), capability, name) for name in kernel_file(capability).kernels}
    except DependencyError as error:
        pytest.skip(error.message)
    operations = [found[name].operations for name in ("fp32", "tf32", "fp16", "int8") if name in found]
    assert operations == sorted(operations), found
    assert min(operations) > 1e12
    assert max(one.bytes for one in found.values()) < 1.2 * min(one.bytes for one in found.values())
