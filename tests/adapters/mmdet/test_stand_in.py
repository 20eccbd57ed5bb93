from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from adaptrt import DependencyError
from adaptrt_mmdet.stand_in import NAME, StandIn, ensure_ops, has_compiled_ops


def test_a_called_op_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(DependencyError, match="compiled op 'softnms'") as caught:
        StandIn().softnms(1, method=2)
    assert "--no-build-isolation" in str(caught.value)


def test_it_looks_like_a_module() -> None:
    module = StandIn()
    assert module.__spec__ is not None
    assert module.__spec__.name == NAME
    assert inspect.getmodule(module) is None or not hasattr(module, "__wrapped__")
    with pytest.raises(AttributeError):
        module.__path__  # noqa: B018
    with pytest.raises(TypeError):
        pickle.dumps(module)


def test_models_import_without_compiled_ops() -> None:
    if has_compiled_ops():
        pytest.skip("the compiled ops are installed")
    ensure_ops()
    import mmcv.ops
    import torch

    ensure_ops()
    assert isinstance(sys.modules[NAME], StandIn)
    with pytest.raises(DependencyError, match="'softnms'"):
        mmcv.ops.soft_nms(torch.rand(3, 4), torch.rand(3), 0.5)


def test_it_steps_aside_for_the_real_ops(tmp_path: Path) -> None:
    """In a process of its own, where ``mmcv._ext`` can be found: a pure Python one serves."""
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    (tmp_path / "mmcv" / "_ext.py").write_text("def nms(): return 'the real one'\n")
    code = (
        "import sys; from adaptrt_mmdet.stand_in import ensure_ops, has_compiled_ops; assert has_compiled_ops(); "
        "ensure_ops(); assert 'mmcv._ext' not in sys.modules; import mmcv._ext as e; assert e.nms() == 'the real one'"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_the_adapter_imports_neither_framework_nor_torch() -> None:
    code = (
        "import sys, adaptrt_mmdet.detr, adaptrt_mmdet.mmdet, adaptrt_mmdet.queries, adaptrt_mmdet.dense_decoder;"
        "print(sorted({'torch', 'mmdet', 'mmcv', 'mmengine', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
