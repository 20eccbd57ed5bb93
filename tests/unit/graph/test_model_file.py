"""Reading, checking, counting, writing; passes run in order and are blamed by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from adaptrt.contributions import GraphPass
from adaptrt.errors import ExportError, GraphError
from adaptrt.graph.model_file import (
    check_model,
    complete_outputs,
    count_operators,
    read_model,
    require_symbolic_axes,
    write_model,
)
from adaptrt.graph.run_passes import run_passes
from adaptrt.onnxfile.reader import external_files, read_onnx
from adaptrt.plugins.facade import Contributed
from adaptrt.specs import METADATA_KEY, Dim, InputSpec, ModelSpec, OutputGroup, OutputSpec, parse_shape

SPEC = ModelSpec(
    (InputSpec("x", ((Dim(1, 2, 4, "batch"), Dim.fixed(3)),)),),
    outputs=(OutputSpec("y", groups=(OutputGroup("y", "logits"),)),),
    metadata={"stride": "32"},
)


def model(batch: int | str = "batch") -> ir.Model:
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Relu", ["z"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 700])],
        [numpy_helper.from_array(np.ones((3, 700), np.float32), "w")],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for content in (b"", b"no graph at all", b"\x08"):
        path = tmp_path / "bad.onnx"
        path.write_bytes(content)
        if content == b"":
            continue
        with pytest.raises(GraphError, match="bad.onnx is not a readable ONNX file"):
            read_model(path)
    with pytest.raises(GraphError, match="none.onnx"):
        read_model(tmp_path / "none.onnx")


def test_the_spec_travels_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    source = model()
    source.metadata_props["left over"] = "from the exporter"
    write_model(source, path, SPEC)
    found = onnx.load(str(path))
    metadata = {entry.key: entry.value for entry in found.metadata_props}
    assert metadata == {"stride": "32", METADATA_KEY: SPEC.to_json()}
    assert ModelSpec.from_json(metadata[METADATA_KEY]) == SPEC
    assert found.producer_name == "adaptrt"
    assert count_operators(read_model(path)) == {"MatMul": 1, "Relu": 1}


def test_checking_finds_what_is_broken_and_changes_nothing() -> None:
    whole = model()
    before = ir.to_proto(whole)
    check_model(whole)
    assert ir.to_proto(whole) == before
    broken = model()
    broken.graph[0].replace_input_with(1, broken.graph.inputs[0])  # [batch, 3] times [batch, 3]
    with pytest.raises(Exception, match="Inferred shape"):
        check_model(broken)
    unknown = model()
    unknown.graph[1].op_type = "Rrelu"
    with pytest.raises(Exception, match="Rrelu"):
        check_model(unknown)


def test_operators_are_counted_in_branches_too() -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])], "b", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)]
    )
    made = helper.make_graph(
        [
            helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
            helper.make_node("Mine", ["y"], ["z"], domain="my.domain"),
        ],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    assert count_operators(ir.from_proto(helper.make_model(made))) == {"Relu": 2, "If": 1, "my.domain.Mine": 1}


def test_axes_are_what_was_asked_for() -> None:
    require_symbolic_axes(model(), SPEC)
    with pytest.raises(
        ExportError, match=r"Axis 0 of input 'x' was requested as dynamic \(batch:1\.\.4@2\), .* fixed it at 2"
    ):
        require_symbolic_axes(model(2), SPEC)
    with pytest.raises(ExportError, match="no input 'images'") as caught:
        require_symbolic_axes(model(), ModelSpec((InputSpec.image(32, 32),)))
    assert "(it has x)" in caught.value.message


def test_an_axis_no_one_asked_to_be_dynamic() -> None:
    fixed = ModelSpec((InputSpec("x", (parse_shape("2x3"),)),))
    require_symbolic_axes(model(2), fixed)
    with pytest.raises(ExportError, match="Axis 0 of input 'x' is fixed at 2 .* dynamic in the graph"):
        require_symbolic_axes(model(), fixed)
    with pytest.raises(ExportError, match="Axis 0 of input 'x' is fixed at 5 .* 2 in the graph"):
        require_symbolic_axes(model(2), ModelSpec((InputSpec("x", (parse_shape("5x3"),)),)))
    with pytest.raises(ExportError, match="Input 'x' has 3 axes .* 2 in the graph"):
        require_symbolic_axes(model(2), ModelSpec((InputSpec("x", (parse_shape("2x3x1"),)),)))


def test_outputs_of_the_spec_are_completed() -> None:
    (output,) = complete_outputs(model(), SPEC)
    assert output == OutputSpec("y", ("batch", 700), "float32", SPEC.outputs[0].groups)


def test_outputs_under_other_names_are_an_error() -> None:
    with pytest.raises(ExportError, match=r"outputs of the graph \(y\) differ from those of the spec \(scores\)"):
        complete_outputs(model(), ModelSpec(SPEC.inputs, outputs=(OutputSpec("scores"),)))
    with pytest.raises(ExportError, match=r"outputs of the graph \(y\) differ from those of the spec \(y, z\)"):
        complete_outputs(model(), ModelSpec(SPEC.inputs, outputs=(OutputSpec("y"), OutputSpec("z"))))


def passing(name: str, run: Callable[[ir.Model], ir.Model | None], order: int = 1) -> Contributed:
    return Contributed(GraphPass(name=name, order=order, reason="a test", run=run), "tester")


def test_passes_run_one_after_the_other() -> None:
    seen: list[str] = []

    def drop_relu(found: ir.Model) -> None:
        relu = found.graph[1]
        ir.convenience.replace_all_uses_with(relu.outputs[0], relu.inputs[0], replace_graph_outputs=True)  # type: ignore[arg-type]
        found.graph.remove(relu, safe=True)
        found.graph.outputs[0].name = "y"
        found.metadata_props["adaptrt.note.drop"] = "one less"

    result, records = run_passes(
        model(), [passing("drop", drop_relu), passing("copy", lambda found: found.clone())], seen.append
    )
    assert seen == ["drop", "copy"]
    assert [(one.name, one.nodes_before, one.nodes_after, one.note) for one in records] == [
        ("drop", 2, 1, "one less"),
        ("copy", 1, 1, ""),
    ]
    assert "adaptrt.note.drop" not in result.metadata_props
    assert all(one.plugin == "tester" and one.seconds >= 0 for one in records)


def breaking(found: ir.Model) -> None:
    found.graph[1].op_type = "Rrelu"


def raising(found: ir.Model) -> None:
    raise IndexError("no such node")


def answering(found: ir.Model) -> str:
    return "done"


@pytest.mark.parametrize("run", [breaking, raising, answering])
def test_a_pass_that_breaks_the_graph_is_named(run: Callable[[ir.Model], None]) -> None:
    with pytest.raises(GraphError, match=r"Graph pass 'second' \(tester\)") as caught:
        run_passes(model(), [passing("first", lambda found: None), passing("second", run)])
    assert caught.value.hint
    assert caught.value.exit_code == 7


def test_a_pass_that_changes_inputs_or_outputs_is_named() -> None:
    def rename(found: ir.Model) -> None:
        found.graph.outputs[0].name = "other"

    with pytest.raises(GraphError, match=r"Graph pass 'rename' \(tester\) .* inputs or outputs"):
        run_passes(model(), [passing("rename", rename)])


def test_weights_behind_a_symbolic_link(tmp_path: Path) -> None:
    """As in the cache of huggingface_hub: the package onnx refuses links, and the file itself is complete."""
    stored, links = tmp_path / "stored", tmp_path / "links"
    stored.mkdir()
    links.mkdir()
    onnx.save(ir.to_proto(model()), stored / "m.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    for name in ("m.onnx", "w.data"):
        (links / name).symlink_to(stored / name)
    with pytest.raises(GraphError, match="behind a symbolic link") as caught:
        read_model(links / "m.onnx")
    assert caught.value.hint == f"Copy the files themselves into one folder: cp -L {links}/* FOLDER/"
    with pytest.raises(GraphError, match="not a file in its folder") as caught:
        external_files(links / "m.onnx", read_onnx(links / "m.onnx"))
    assert "cp -L" in str(caught.value.hint)
    read_model(stored / "m.onnx")
