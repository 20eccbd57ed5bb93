"""The names of the kernels in a plan: what parts compute in for which the inspector shows no layers."""

from __future__ import annotations

import re

# "sm80_xmma_gemm_i8f32_i8i32_f32_tn_n_tilesize...": types of the operands and of the sum, by precision
_KERNELS = {
    "int8": re.compile(rb"sm\d+_xmma_[a-z_]+_i8(?:i8|f16|f32)_i8i32_\w+"),
    "fp16": re.compile(rb"sm\d+_xmma_[a-z_]+_f16f16_f16f(?:16|32)_\w+"),
}


def kernels_in(plan: bytes, computed_in: str) -> list[str]:
    """Distinct matrix kernels of this type that are named in the plan; none for types without a known name."""
    pattern = _KERNELS.get(computed_in)
    return sorted({name.decode() for name in pattern.findall(plan)}) if pattern is not None else []
