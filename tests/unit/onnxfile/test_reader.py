"""The outline of ONNX files, read without the onnx package, compared with the package itself."""

from __future__ import annotations

import shlex
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import HANG

from adaptrt.backends.onnxruntime.description import describe
from adaptrt.backends.tensorrt.generations import RTX
from adaptrt.backends.tensorrt.rebuild import rebuild_command
from adaptrt.errors import GraphError, ModelError, UsageError
from adaptrt.onnxfile.graph_spec import spec_of_graph
from adaptrt.onnxfile.hashing import onnx_sha256
from adaptrt.onnxfile.reader import external_files, read_onnx
from adaptrt.specs import METADATA_KEY, BuildOptions, InputSpec, ModelSpec, parse_shape

onnx = pytest.importorskip("onnx", reason="onnx makes the files")


def make_model(*, named: bool = True) -> onnx.ModelProto:
    helper = onnx.helper
    nodes = [
        helper.make_node(
            "Conv", ["images", "w"], ["a"], name="/conv" if named else "", doc_string="net.py(12): forward\n"
        ),
        helper.make_node("Gelu", ["a"], ["b"], name="/gelu", domain="com.example"),
        helper.make_node("Add", ["b", "half"], ["out"], name="/add"),
    ]
    trace = 'File "/site-packages/torch/nn/f.py", line 3, in g\nFile "/home/me/model.py", line 7, in forward\n'
    trace += 'File "/site-packages/torch/nn/modules/conv.py", line 553, in forward'
    nodes[2].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", 1, ["batch", 3, None, 640])],
        [helper.make_tensor_value_info("out", 10, ["batch", 8])],
        [
            onnx.numpy_helper.from_array(np.ones((4, 3, 2, 2), np.float32), "w"),
            onnx.numpy_helper.from_array(np.ones((5,), np.float16), "half"),
            onnx.numpy_helper.from_array(np.ones((2, 3), np.int64), "ints"),
            onnx.numpy_helper.from_array(np.float32(2), "scalar"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("com.example", 1), helper.make_opsetid("", 17)])
    helper.set_model_props(model, {"stride": "32"})
    return model


def test_the_outline(tmp_path: Path) -> None:
    model = make_model()
    onnx.save(model, str(tmp_path / "m.onnx"))
    found = read_onnx(tmp_path / "m.onnx")
    assert [(node.name, node.operator) for node in found.nodes] == [
        ("/conv", "Conv"),
        ("/gelu", "com.example.Gelu"),
        ("/add", "Add"),
    ]
    assert found.nodes[2].inputs == ("b", "half")
    assert (found.inputs[0].name, found.inputs[0].dtype, found.inputs[0].shape) == (
        "images",
        "float32",
        ("batch", 3, None, 640),
    )
    assert (found.outputs[0].dtype, found.outputs[0].shape) == ("float16", ("batch", 8))
    assert found.weights == {"w": 48, "half": 5, "ints": 6, "scalar": 1}
    assert found.weight_types == {"float32": 49, "float16": 5, "int64": 6}
    assert found.float32_bytes == 4 * (49 + 5)
    assert found.metadata == {"stride": "32"}
    assert found.opset == 17
    assert found.spec is None


def test_the_line_of_python_that_made_a_node(tmp_path: Path) -> None:
    onnx.save(make_model(), str(tmp_path / "m.onnx"))
    nodes = read_onnx(tmp_path / "m.onnx").nodes
    assert nodes[0].source == "net.py(12): forward"
    assert nodes[1].source is None
    assert nodes[2].source == 'File "/home/me/model.py", line 7, in forward'  # not torch's own


def test_nodes_without_names_go_by_their_output(tmp_path: Path) -> None:
    onnx.save(make_model(named=False), str(tmp_path / "m.onnx"))
    assert read_onnx(tmp_path / "m.onnx").nodes[0].name == "node_of_a"


def test_the_spec_inside(tmp_path: Path) -> None:
    model, spec = make_model(), ModelSpec((InputSpec.image(640, 640),))
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, str(tmp_path / "m.onnx"))
    assert read_onnx(tmp_path / "m.onnx").spec == spec


def test_weights_in_other_files(tmp_path: Path) -> None:
    onnx.save(make_model(), str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=0)
    found = read_onnx(tmp_path / "m.onnx")
    assert found.weights["w"] == 48
    assert external_files(tmp_path / "m.onnx", found) == [tmp_path / "m.data"]
    before = onnx_sha256(tmp_path / "m.onnx")
    data = (tmp_path / "m.data").read_bytes()
    (tmp_path / "m.data").write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert onnx_sha256(tmp_path / "m.onnx") != before


def outside(name: str) -> onnx.TensorProto:
    """A tensor of four numbers that lie in a file."""
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=f"{name}.data")
    return tensor


def model_with_data_everywhere() -> onnx.ModelProto:
    """Tensors in files, in every place that a model has for tensors."""
    helper = onnx.helper
    value = helper.make_tensor_value_info
    sparse = onnx.SparseTensorProto(values=outside("sparse"), indices=outside("indices"), dims=[9])
    inner = helper.make_graph([], "inner", [], [value("deep", 1, [4])], [outside("deep")])
    branch = helper.make_graph(
        [helper.make_node("If", ["c"], ["i"], then_branch=inner, else_branch=inner)],
        "branch",
        [],
        [value("i", 1, [4])],
        [outside("branch")],
    )
    nodes = [
        helper.make_node("Constant", [], ["k"], value=outside("constant")),
        helper.make_node("Own", ["k"], ["o"], domain="own", tensors=[outside("listed")], text="x" * 5000),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    nodes[1].attribute.add(name="sparse", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(sparse)
    graph = helper.make_graph(nodes, "net", [value("c", 9, [])], [value("y", 1, [4])], [outside("weight")])
    graph.sparse_initializer.add().values.CopyFrom(outside("initializer"))
    body = helper.make_node("Constant", [], ["z"], value=outside("function"))
    function = helper.make_function("own", "F", [], ["z"], [body], [helper.make_opsetid("", 17)])
    function.attribute_proto.append(helper.make_attribute("default", outside("default")))
    model = helper.make_model(graph, functions=[function])
    for name in ("algorithm", "initialization"):
        getattr(model.training_info.add(), name).initializer.append(outside(name))
    return model


DATA = (
    "algorithm", "branch", "constant", "deep", "default", "function", "indices", "initialization", "initializer", "listed", "sparse", "weight",
)  # fmt: skip


def test_data_of_attributes_subgraphs_and_functions_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_with_data_everywhere().SerializeToString())
    files = external_files(path, read_onnx(path))
    assert sorted(file.name for file in files) == [f"{name}.data" for name in DATA]
    for file in files:
        file.write_bytes(bytes(16))
    hashes = {onnx_sha256(path)}
    for file in files:
        file.write_bytes(bytes([1]) + bytes(15))
        hashes.add(onnx_sha256(path))
    assert len(hashes) == len(DATA) + 1
    assert describe(path).facts["weights in"] == ", ".join(f"{name}.data (16 B)" for name in DATA)


def test_data_in_deeply_nested_graphs(tmp_path: Path) -> None:
    """More levels than the interpreter's stack has: bytes, since protobuf itself gives up."""
    inside = outside("deep").SerializeToString()
    message = b"\x2a" + varint(len(inside)) + inside  # an initializer
    for _ in range(2000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # the graph of an attribute, of a node, of a graph
            message = tag + varint(len(message)) + message
    output = onnx.helper.make_tensor_value_info("y", 1, [4]).SerializeToString()
    graph = message + b"\x62" + varint(len(output)) + output
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + varint(len(graph)) + graph)
    assert read_onnx(tmp_path / "m.onnx").external == ["deep.data"]


def varint(value: int) -> bytes:
    data = b""
    while value > 0x7F:
        data, value = data + bytes([value & 0x7F | 0x80]), value >> 7
    return data + bytes([value])


def test_a_static_graph_is_its_own_spec(tmp_path: Path) -> None:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", 1, [2, 3])],
        [helper.make_tensor_value_info("y", 1, [2, 3])],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "m.onnx"))
    spec = spec_of_graph(read_onnx(tmp_path / "m.onnx"))
    assert [str(dim) for dim in spec.inputs[0].dims] == ["2", "3"]
    onnx.save(make_model(), str(tmp_path / "dynamic.onnx"))
    with pytest.raises(Exception, match="dynamic axes .batchx3x.x640.") as caught:
        spec_of_graph(read_onnx(tmp_path / "dynamic.onnx"))
    assert "--shape images=1..16x3x1..16x640" in str(caught.value)


def test_the_command_that_builds_again_asks_for_the_same() -> None:
    from adaptrt.cli.build import build
    from adaptrt.cli.request import build_request_from_flags

    shapes = (parse_shape("1..8@4x3x64x64"), parse_shape("1x3x320x320"))
    options = BuildOptions(
        workspace=1 << 30, optimization_level=1, tf32=True, version_compatible=True, hardware_compatible="ampere+",
        strip_weights=True, refittable=True, plugin_libs=("my.so",), tactic_sources=("CUBLAS", "JIT_CONVOLUTIONS"),
        compute_capabilities=("8.6", "12.0"),
    )  # fmt: skip
    spec = ModelSpec((InputSpec("images", shapes),))
    for built in (options, replace(options, tf32=False, tactic_sources=()), BuildOptions()):
        command = shlex.split(rebuild_command("a b.onnx", spec, "fp16", ("/head/.*",), built))
        with build.make_context("build", command[2:]) as context:
            flags = {key: value for key, value in context.params.items() if key not in ("verbose", "quiet", "as_json")}
        request = build_request_from_flags(flags, command="")
        assert (request.source, request.precision, request.keep_fp32) == ("a b.onnx", "fp16", ("/head/.*",))
        assert request.build == built
        assert request.shapes.shapes == {"images": shapes}
    assert "--to rtx" in rebuild_command("m.onnx", spec, "fp32", (), BuildOptions(), RTX)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="File not found"):
        read_onnx(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").touch()
    with pytest.raises(GraphError, match="is empty"):
        read_onnx(tmp_path / "m.onnx")
    onnx.save(make_model(), str(tmp_path / "m.onnx"))
    whole = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphError, match="not a readable ONNX file|holds no ONNX graph"):
        read_onnx(tmp_path / "m.onnx")


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """It is not mapped into memory: SIGBUS would end the process without a message."""
    model = make_model()
    model.graph.node[0].doc_string = "longer than what is read ahead" * 10_000
    onnx.save(model, str(tmp_path / "m.onnx"))
    program = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from adaptrt.errors import GraphError
        from adaptrt.onnxfile import reader
        path, node = Path(sys.argv[1]), reader._node
        def truncating(data):
            os.truncate(path, 0)
            return node(data)
        reader._node = truncating
        try:
            reader.read_onnx(path)
        except GraphError as error:
            print(error.message)
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.onnx")], capture_output=True, text=True, timeout=HANG
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "m.onnx is not a readable ONNX file" in ended.stdout


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_give_an_outline_or_a_clear_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "fuzz.onnx").write_bytes(data)
    with pytest.raises(GraphError):
        read_onnx(tmp_path / "fuzz.onnx")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_changed_byte_is_never_a_crash(tmp_path: Path, data: st.DataObject) -> None:
    whole = make_model().SerializeToString()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    (tmp_path / "fuzz.onnx").write_bytes(changed)
    try:
        read_onnx(tmp_path / "fuzz.onnx")
    except (GraphError, ModelError):
        pass


def weight_in(location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=1)
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph_with(*nodes: onnx.NodeProto, weights: Sequence[onnx.TensorProto] = ()) -> onnx.ModelProto:
    values = [onnx.helper.make_tensor_value_info(name, 1, [2]) for name in ("x", "y")]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "net", values[:1], values[1:], weights))


def branches(location: str) -> onnx.NodeProto:
    helper = onnx.helper
    out = [helper.make_tensor_value_info("out", 1, [2])]
    graphs = [
        helper.make_graph([helper.make_node("Identity", ["w"], ["out"])], name, [], out, [weight_in(location)])
        for name in ("then_branch", "else_branch")
    ]
    return helper.make_node("If", ["x"], ["y"], **{graph.name: graph for graph in graphs})


@pytest.mark.parametrize("form", ["constant", "branch", "branch in a branch"])
def test_weights_in_other_files_are_found_wherever_they_are(tmp_path: Path, form: str) -> None:
    """ONNX Runtime reads them there too, so they decide the result and its hash."""
    node = onnx.helper.make_node("Constant", [], ["y"], value=weight_in("m.data"))
    if form != "constant":
        node = branches("m.data")
    if form == "branch in a branch":
        for attribute in node.attribute:
            attribute.g.node[0].CopyFrom(branches("m.data"))
            attribute.g.node[0].output[0] = "out"
            del attribute.g.initializer[:]
    path = tmp_path / "m.onnx"
    onnx.save(graph_with(node), str(path))
    (tmp_path / "m.data").write_bytes(bytes(8))
    assert external_files(path, read_onnx(path)) == [tmp_path / "m.data"]
    before = onnx_sha256(path)
    (tmp_path / "m.data").write_bytes(bytes(7) + b"1")
    assert onnx_sha256(path) != before


@pytest.mark.parametrize(
    "location",
    ["../m.data", "{}/m.data", "a/../../m.data", "../model/own.data", "link", "loop", ".", "", "/dev/zero", "x" * 300],
)
def test_weights_outside_the_folder_are_not_read(tmp_path: Path, location: str) -> None:
    """As in ONNX Runtime; what is packaged or hashed would be a file that the user did not name."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "m.data").write_bytes(bytes(8))
    (folder / "own.data").write_bytes(bytes(8))
    (folder / "link").symlink_to(tmp_path / "m.data")
    (folder / "loop").symlink_to("loop")
    path, relu = folder / "m.onnx", onnx.helper.make_node("Relu", ["w"], ["y"])
    path.write_bytes(graph_with(relu, weights=[weight_in(location.format(tmp_path))]).SerializeToString())
    with pytest.raises((GraphError, UsageError), match="not a file in its folder|is missing"):
        onnx_sha256(path)
