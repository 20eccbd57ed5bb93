"""``adaptrt package triton``: the files of a repository, checked against Triton's own message. test_server.py starts a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt.cli.boundary import run
from adaptrt.cli.main import cli
from adaptrt.errors import GraphError
from adaptrt.packaging.package import prepare
from adaptrt.specs import METADATA_KEY, ModelSpec
from adaptrt_triton.check import parse_config
from adaptrt_triton.options import TritonOptions
from adaptrt_triton.repository import write_repository
from adaptrt_triton.text_format import Name, entries, text_of

Classifier = Callable[..., Path]


def package(model: Path, *words: object) -> int:
    command = ["package", "triton", model, "-o", model.parent / "repository", *words]
    return run(cli, list(map(str, command)), "adaptrt")


def read(model_config: Any, model: Path, name: str) -> Any:
    from google.protobuf import text_format

    path = model.parent / "repository" / name / "config.pbtxt"
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config())


def files(model: Path) -> list[str]:
    folder = model.parent / "repository"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def dims(tensors: Sequence[Any]) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in tensors}


def test_the_network_alone(classifier: Classifier, model_config: Any) -> None:
    model = classifier()
    assert package(model, "--max-queue-delay", "5ms", "--instances", 3) == 0
    assert files(model) == ["net/1/model.onnx", "net/config.pbtxt", "net/labels.txt", "net/warmup/images"]
    config = read(model_config, model, "net")
    assert (config.name, config.backend, config.platform) == ("net", "onnxruntime", "onnxruntime_onnx")
    assert config.max_batch_size == 8
    assert dims(config.input) == {"images": [3, 8, 8]}
    assert dims(config.output) == {"y": [3]}
    assert config.output[0].label_filename == "labels.txt"
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 5000
    assert config.instance_group[0].count == 3
    assert [one.batch_size for one in config.model_warmup] == [1, 2, 8]
    folder = model.parent / "repository" / "net"
    assert (folder / "labels.txt").read_text() == 'red\ndeep "blue"\ngreen\n'
    assert (folder / "1" / "model.onnx").read_bytes() == model.read_bytes()
    assert (folder / "warmup" / "images").stat().st_size == 3 * 8 * 8 * 4


def test_the_warmup_sample_is_the_image(classifier: Classifier, image: Path) -> None:
    import adaptrt
    from adaptrt.vision.images import read_image

    model = classifier()
    assert package(model, "--ensemble", "--image", image) == 0
    folder = model.parent / "repository"
    spec = ModelSpec.from_json((folder / "net_preprocessing" / "1" / "spec.json").read_bytes())
    inputs, _ = adaptrt.Processing(spec).preprocess(read_image(image))
    written = np.fromfile(folder / "net_network" / "warmup" / "images", np.float32)
    np.testing.assert_array_equal(written, inputs["images"].ravel())
    encoded = (folder / "net_preprocessing" / "warmup" / "image").read_bytes()
    assert int.from_bytes(encoded[:4], "little") == len(encoded) - 4
    assert encoded[4:] == image.read_bytes()


def test_the_models_of_an_ensemble_fit_together(classifier: Classifier, model_config: Any) -> None:
    model = classifier()
    assert package(model, "--ensemble", "--name", "colors", "--set", "top_k=2", "--network-backend", "python") == 0
    ensemble = read(model_config, model, "colors")
    assert ensemble.platform == "ensemble"
    models = {
        name: read(model_config, model, name)
        for name in (step.model_name for step in ensemble.ensemble_scheduling.step)
    }
    assert list(models) == ["colors_preprocessing", "colors_network", "colors_postprocessing"]
    known = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        config = models[step.model_name]
        assert config.max_batch_size == ensemble.max_batch_size
        wanted = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in config.input}
        assert {own: known[shared] for own, shared in step.input_map.items()} == wanted
        given = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in config.output}
        assert set(step.output_map) == set(given)
        known |= {shared: given[own] for own, shared in step.output_map.items()}
    assert {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in ensemble.output}.items() <= known.items()
    folder = model.parent / "repository"
    assert (folder / "colors" / "1").is_dir(), "Triton requires a version folder"
    spec = ModelSpec.from_json((folder / "colors_postprocessing" / "1" / "spec.json").read_bytes())
    assert spec.decoder is not None
    assert spec.decoder.params["top_k"] == 2
    for program in folder.glob("*/1/model.py"):
        compile(program.read_text(encoding="utf-8"), str(program), "exec")


class FakeServer:
    """The part of ``triton_python_backend_utils`` that the programs use, and one request after another."""

    class Tensor:
        def __init__(self, name: str, array: Any) -> None:
            self.name, self.array = name, array

        def as_numpy(self) -> Any:
            return self.array

    class InferenceResponse:
        def __init__(self, output_tensors: Sequence[Any], error: Any = None) -> None:
            assert error is None, error
            self.tensors = {tensor.name: tensor.array for tensor in output_tensors}

    TritonError = str

    @staticmethod
    def get_input_tensor_by_name(request: dict[str, Any], name: str) -> Any:
        return FakeServer.Tensor(name, request[name])

    @staticmethod
    def triton_string_to_numpy(name: str) -> Any:
        return {"TYPE_UINT8": np.uint8, "TYPE_FP32": np.float32}[name]

    @staticmethod
    def run(folder: Path, config: Any, request: dict[str, Any]) -> dict[str, Any]:
        from google.protobuf.json_format import MessageToDict

        scope: dict[str, Any] = {}
        exec((folder / "1" / "model.py").read_text(encoding="utf-8"), scope)
        model = scope["TritonPythonModel"]()
        content = MessageToDict(config, preserving_proto_field_name=True)
        args = {"model_repository": str(folder), "model_version": "1", "model_instance_kind": "CPU", "model_config": json.dumps(content)}  # fmt: skip
        model.initialize(args)
        (response,) = model.execute([request])
        found: dict[str, Any] = response.tensors
        return found


def test_preprocessing_inside_the_graph(
    classifier: Classifier, model_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--embed-preprocess``: the network takes uint8 [H, W, C], and the programs of the ensemble answer as ``predict`` does."""
    import sys

    import adaptrt
    from adaptrt.graph.preprocessing import embed_preprocessing
    from adaptrt.pipeline.embedding import embedded_spec
    from adaptrt.vision.images import write_image

    onnx = pytest.importorskip("onnx", reason="prepends preprocessing")
    pytest.importorskip("onnxruntime", reason="runs the network")
    plain = onnx.load(str(classifier()))
    spec = ModelSpec.from_json(next(one.value for one in plain.metadata_props if one.key == METADATA_KEY))
    model, spec = tmp_path / "pixels.onnx", embedded_spec(spec)
    embed_preprocessing(plain, model, spec)
    whole = onnx.load(str(model))
    del whole.metadata_props[:]
    onnx.helper.set_model_props(whole, {METADATA_KEY: spec.to_json()})
    onnx.save(whole, str(model))
    image = write_image(tmp_path / "drawn.png", np.random.default_rng(2).integers(0, 256, (20, 30, 3)).astype(np.uint8))
    assert package(model, "--ensemble", "--network-backend", "python", "--image", image) == 0
    folder = model.parent / "repository"
    network = read(model_config, model, "pixels_network")
    assert dims(network.input) == {"images": [8, 8, 3]}
    assert {one.data_type for one in network.input} == {network.input[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_name["TYPE_UINT8"].number}  # fmt: skip
    assert (folder / "pixels_network" / "warmup" / "images").stat().st_size == 8 * 8 * 3

    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", FakeServer)  # type: ignore[arg-type]
    request: dict[str, Any] = {"image": np.array([[image.read_bytes()]] * 2, object)}
    for step in ("preprocessing", "network", "postprocessing"):
        name = f"pixels_{step}"
        request |= FakeServer.run(folder / name, read(model_config, model, name), request)
    assert request["images"].dtype == np.uint8
    with adaptrt.load(model) as opened:
        (expected,) = opened([image])
    found = [json.loads(text) for text in request["prediction"].ravel()]
    assert [row["classes"][0]["label"] for row in found] == [expected.names[expected.top1]] * 2
    assert found[0]["classes"][0]["score"] == pytest.approx(expected.top1conf, abs=1e-6)


def engine_of(model: Path) -> Path:
    """A stand-in for an engine: what packaging reads is its manifest."""
    import msgspec

    from adaptrt.backends.tensorrt.build.precision_report import PrecisionReport
    from adaptrt.backends.tensorrt.manifest import Manifest

    spec = ModelSpec.from_json(
        next(
            one.value for one in pytest.importorskip("onnx").load(str(model)).metadata_props if one.key == METADATA_KEY
        )
    )
    engine = model.with_suffix(".engine")
    engine.write_bytes(b"a plan")
    manifest = Manifest(
        plan_sha256=hashlib.sha256(b"a plan").hexdigest(), plan_bytes=6, onnx="net.onnx", onnx_sha256="", tensorrt="10.16.1", cuda="13", driver=None,
        gpu="GPU", capability="9.0", precision="fp16", spec=spec, precision_report=msgspec.convert({"precision": "fp16"}, PrecisionReport),
    )  # fmt: skip
    engine.with_name("net.engine.json").write_text(manifest.to_json())
    return engine


def comparable(config: Any) -> dict[str, Any]:
    """A configuration without what differs between network backends."""
    from google.protobuf.json_format import MessageToDict

    found = MessageToDict(config, preserving_proto_field_name=True)
    for key in ("backend", "platform", "default_model_filename", "optimization"):
        found.pop(key, None)
    for group in found["instance_group"]:
        group.pop("kind", None)
        group.pop("profile", None)
    found["parameters"] = {
        key: value for key, value in found["parameters"].items() if key not in ("file", "tensorrt_version")
    }
    return found


def test_network_backends_differ_only_in_what_they_must(classifier: Classifier, model_config: Any) -> None:
    model = classifier()
    engine = engine_of(model)
    made = {}
    for name, file in (("python", model), ("onnxruntime", model), ("tensorrt", engine)):
        assert package(file, "--ensemble", "--network-backend", name, "--overwrite") == 0
        made[name] = {
            one: read(model_config, model, one)
            for one in ("net", "net_preprocessing", "net_network", "net_postprocessing")
        }
    python = made.pop("python")
    for name, others in made.items():
        for one, config in others.items():
            if one == "net_network":
                assert comparable(config) == comparable(python[one]), name
            else:
                assert config == python[one], name
    plan = made["tensorrt"]["net_network"]
    assert (plan.backend, plan.platform, plan.default_model_filename) == ("tensorrt", "tensorrt_plan", "model.plan")
    assert plan.optimization.cuda.graphs
    assert [one.batch_size for one in plan.optimization.cuda.graph_spec] == [1, 2, 8]
    assert list(plan.optimization.cuda.graph_spec[0].input["images"].dim) == [3, 8, 8]
    assert list(plan.instance_group[0].profile) == ["0"]
    assert plan.parameters["tensorrt_version"].string_value == "10.16.1"
    assert (model.parent / "repository" / "net_network" / "1" / "model.plan").read_bytes() == b"a plan"


def test_an_engine_of_another_version_is_refused(classifier: Classifier, capsys: pytest.CaptureFixture[str]) -> None:
    engine = engine_of(classifier())
    assert package(engine, "--tensorrt", "10.9") == 2
    assert "built with TensorRT 10.16.1; the server has 10.9" in capsys.readouterr().err
    assert not (engine.parent / "repository" / "net").exists()
    assert package(engine, "--tensorrt", "10.16") == 0
    assert package(engine, "--overwrite") == 0
    assert "Triton must contain TensorRT 10.16.1" in capsys.readouterr().out


def test_a_fixed_batch(classifier: Classifier, model_config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier("1")
    assert package(model, "--ensemble") == 0
    assert "Triton does not join requests" in capsys.readouterr().out
    network = read(model_config, model, "net_network")
    assert network.max_batch_size == 0
    assert not network.HasField("dynamic_batching")
    assert dims(network.input) == {"images": [1, 3, 8, 8]}
    assert dims(read(model_config, model, "net_preprocessing").output) == {"images": [1, 3, 8, 8], "meta": [1, 8]}
    assert package(classifier("4"), "--ensemble", "--overwrite") == 2
    assert "fixed batch of 4" in capsys.readouterr().err
    assert package(classifier("2:8"), "--overwrite") == 2
    assert "also sends single samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-queue-delay", "5"], "is not a time"),
        (["--max-queue-delay", "1.5us"], "is not a time"),
        (["--max-queue-delay", "nanms"], "is not a time"),
        (["--instances", "0"], "must be 1 to 1024"),
        (["--instances", "99999999999"], "must be 1 to 1024"),
        (["--network-backend", "tensorrt"], "does not run net.onnx"),
        (["--set", "topk=2"], "Did you mean 'top_k'?"),
        (["--image", "none.png"], "File not found"),
        (["--image", "."], ". is a folder"),
        *((["--name", name], "cannot be used") for name in ("///", "a/b", "../b", " ", "ä b", ".b", "-b", "b" * 201)),
        (["--name", ""], "The value of --name is empty"),
    ],
)
def test_invalid_options_write_nothing(
    classifier: Classifier, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    model = classifier()
    assert package(model, *words) in (2, 4)
    assert message in capsys.readouterr().err
    assert files(model) == []


def test_a_name_that_differs_from_that_of_the_file_is_reported(
    classifier: Classifier, capsys: pytest.CaptureFixture[str]
) -> None:
    model = classifier()
    model = model.rename(model.with_name("größe 1.v2.onnx"))
    assert package(model) == 0
    assert "named 'gr_e_1', because of other characters in 'größe 1'" in capsys.readouterr().out
    assert package(model, "--name", "size-1.v2") == 0
    assert "named" not in capsys.readouterr().out
    assert {name.partition("/")[0] for name in files(model)} == {"gr_e_1", "size-1.v2"}


@pytest.mark.parametrize(
    ("text", "microseconds"), [("0.000123s", 123), ("0.007ms", 7), (" 500us", 500), ("1e-3s", 1000)]
)
def test_times_are_exact(text: str, microseconds: int) -> None:
    assert TritonOptions(max_queue_delay=text).queue_delay == microseconds


def test_existing_models_are_kept(classifier: Classifier, capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier()
    assert package(model, "--json") == 0
    assert "net/config.pbtxt" in json.loads(capsys.readouterr().out)["files"]
    assert package(model) == 2
    assert "already contains net" in capsys.readouterr().err
    assert package(model, "--overwrite") == 0


def test_no_ensemble_without_an_image(classifier: Classifier, capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier(image=False)
    assert package(model, "--ensemble") == 2
    assert "image input" in capsys.readouterr().err
    assert package(model) == 0


def test_an_ensemble_that_needs_an_adapter_says_so(classifier: Classifier, capsys: pytest.CaptureFixture[str]) -> None:
    import dataclasses

    onnx = pytest.importorskip("onnx", reason="changes the spec")
    model = classifier()
    changed = onnx.load(str(model))
    spec = ModelSpec.from_json(next(one.value for one in changed.metadata_props if one.key == METADATA_KEY))
    onnx.helper.set_model_props(changed, {METADATA_KEY: dataclasses.replace(spec, adapter="detr").to_json()})
    onnx.save(changed, str(model))
    assert package(model, "--ensemble") == 0
    assert "the Python of Triton needs its distribution too" in capsys.readouterr().out
    assert package(model, "--name", "alone") == 0
    assert "distribution" not in capsys.readouterr().out


def test_text_is_escaped(model_config: Any) -> None:
    from google.protobuf import text_format

    strange = 'a "b" \\ \n é'
    text = text_of(
        {
            "name": strange,
            "input": [{"name": strange, "data_type": Name("TYPE_BF16"), "dims": [-1, 2]}],
            "parameters": entries({strange: {"string_value": strange}}),
        }
    )
    config = text_format.Parse(text, model_config())
    assert config.name == config.input[0].name == config.parameters[strange].string_value == strange
    assert list(config.input[0].dims) == [-1, 2]


def test_a_misspelt_key_is_named(monkeypatch: pytest.MonkeyPatch, model_config: Any) -> None:
    import sys
    from types import SimpleNamespace

    pb2 = SimpleNamespace(ModelConfig=model_config)
    monkeypatch.setitem(sys.modules, "tritonclient", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", SimpleNamespace(model_config_pb2=pb2))
    assert parse_config('name: "x"').name == "x"
    with pytest.raises(GraphError, match="max_batchsize"):
        parse_config('name: "x"\nmax_batchsize: 8\n', "x/config.pbtxt")


def with_input(model: Path, name: str) -> Path:
    """The model with another name for its input, in the graph and in the spec."""
    onnx = pytest.importorskip("onnx", reason="changes the graph")
    proto = onnx.load(str(model))
    proto.graph.input[0].name = proto.graph.node[0].input[0] = name
    spec = json.loads(proto.metadata_props[0].value)
    spec["inputs"][0]["name"] = spec["image"]["input"] = name
    proto.metadata_props[0].value = json.dumps(spec)
    onnx.save(proto, str(model))
    return model


@pytest.mark.parametrize("name", ["{}/outside", "../../../outside", "images:0", "a/b", "é", "x" * 300])
def test_names_of_inputs_are_not_paths(classifier: Classifier, tmp_path: Path, model_config: Any, name: str) -> None:
    model = with_input(classifier(), name.format(tmp_path))
    assert package(model, "--ensemble") == 0
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("net.onnx", "repository")] == []
    config = read(model_config, model, "net_network")
    assert config.input[0].name == name.format(tmp_path)
    (warmup,) = config.model_warmup[0].inputs.values()
    assert (tmp_path / "repository" / "net_network" / "warmup" / warmup.input_data_file).stat().st_size == 3 * 8 * 8 * 4


def with_weights_in(model: Path, location: str) -> Path:
    onnx = pytest.importorskip("onnx", reason="changes the graph")
    proto = onnx.load(str(model))
    weight = proto.graph.initializer.add(name="unused", data_type=1, dims=[2], data_location=1)
    weight.external_data.add(key="location", value=location)
    model.write_bytes(proto.SerializeToString())
    return model


@pytest.mark.parametrize("form", ["triton", "deepstream", "runtime"])
def test_weights_in_other_files_keep_their_places(classifier: Classifier, tmp_path: Path, form: str) -> None:
    model = with_weights_in(classifier(), "weights/a.data")
    assert run(cli, ["package", form, str(model), "-o", str(tmp_path / "out")], "adaptrt") == 2  # it is missing
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.data").write_bytes(bytes(8))
    assert run(cli, ["package", form, str(model), "-o", str(tmp_path / "out")], "adaptrt") == 0
    folder = tmp_path / "out" / "net" / "1" if form == "triton" else tmp_path / "out"
    assert (folder / "weights" / "a.data").read_bytes() == bytes(8)


@pytest.mark.parametrize(
    ("form", "location"),
    [
        *((form, location) for form in ("triton", "deepstream", "runtime") for location in ("{}/id", "../id", "link")),
        ("triton", "model.onnx"),
        ("deepstream", "config_infer_primary.txt"),
        ("deepstream", "labels.txt"),
        ("runtime", "main.cpp"),
        ("runtime", "spec.json"),
    ],
)
def test_weights_elsewhere_or_in_place_of_other_files(
    classifier: Classifier, tmp_path: Path, form: str, location: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ONNX file chooses these names: a package must not contain files of its reader, nor those of its author as its own."""
    (tmp_path / "model").mkdir()
    (tmp_path / "id").write_bytes(b"not the model's")
    model = classifier().rename(tmp_path / "model" / "net.onnx")
    (model.parent / "link").symlink_to(tmp_path / "id")
    if "/" not in location and location != "link":
        (model.parent / location).write_bytes(b"of the author")
    with_weights_in(model, location.format(tmp_path))
    assert run(cli, ["package", form, str(model), "-o", str(tmp_path / "out")], "adaptrt") in (2, 7)
    error = capsys.readouterr().err
    assert "not a file in its folder" in error or "the name of another file of the package" in error
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_engine_of_another_manifest(classifier: Classifier, capsys: pytest.CaptureFixture[str]) -> None:
    engine = engine_of(classifier())
    engine.write_bytes(b"b plan")
    assert package(engine) == 8
    assert "is not the engine that" in capsys.readouterr().err


def test_files_beside_the_model_keep_their_suffix(classifier: Classifier, tmp_path: Path) -> None:
    """adaptrt finds the weights of OpenVINO by the name of the model."""
    made = prepare(classifier(), options=TritonOptions(network_backend="python"), name=None, image=None, params={})
    beside = (tmp_path / "net.pair.xml", tmp_path / "net.pair.bin")
    for path in beside:
        path.write_text(path.suffix)
    (tmp_path / "out").mkdir()
    write_repository(replace(made, files=beside, backend="pair"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "net" / "1").iterdir()) == [
        "model.pair.bin",
        "model.pair.xml",
        "model.py",
    ]
