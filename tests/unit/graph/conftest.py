from __future__ import annotations

import pytest

for _module in ("onnx", "onnx_ir", "onnxscript", "onnxruntime"):
    pytest.importorskip(_module, reason=f"graphs need {_module}")
