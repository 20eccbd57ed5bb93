"""Core's own commands, as their entry points declare them."""

from __future__ import annotations

from adaptrt.specs.commands import Command

_MODELS, _SETUP, _AUTHORS = "Models", "This installation", "For authors of plugins"


def _command(name: str, target: str, summary: str, section: str, order: int) -> Command:
    return Command(name=name, target=f"adaptrt.cli.{target}", summary=summary, section=section, order=order)


CONVERT = _command("convert", "convert:convert", "Convert a model and verify the result.", _MODELS, 10)
BUILD = _command("build", "build:build", "Build an engine from any ONNX file.", _MODELS, 11)
QUANTIZE = _command("quantize", "quantize:quantize", "Quantize an ONNX file to int8.", _MODELS, 12)
TUNE = _command("tune", "tune:tune", "Find out what has to stay in a higher precision.", _MODELS, 12)
PREDICT = _command("predict", "predict:predict", "Predict on images and videos with a converted model.", _MODELS, 13)
EVALUATE = _command("evaluate", "evaluate:evaluate", "Score converted models on labeled images.", _MODELS, 14)
BATCH = _command("batch", "batch:batch", "Run a converted model on any number of images.", _MODELS, 13)
SWEEP = _command("sweep", "sweep:sweep", "Run many conversions, and compare their results.", _MODELS, 12)
SERVE = _command("serve", "serve:serve", "Answer HTTP requests with a converted model.", _MODELS, 13)
BENCH = _command("bench", "bench:bench", "Measure latency and throughput side by side.", _MODELS, 14)
INSPECT = _command("inspect", "inspect_model:inspect_model", "Show the contents of a model file.", _MODELS, 15)
COMPARE = _command("compare", "compare:compare", "Find the first tensor that differs between files.", _MODELS, 19)
RUN = _command("run", "run:run", "Return any tensor inside a model.", _MODELS, 19)
CLEAN = _command("clean", "clean:clean", "Simplify any ONNX file, and check the result.", _MODELS, 19)
LINT = _command("lint", "lint:lint", "Check a graph against the rules for TensorRT.", _MODELS, 16)
ENGINE = _command("engine", "engine:engine", "Remove or add the Ultralytics header of an engine.", _MODELS, 17)
ADOPT = _command("adopt", "adopt:adopt", "Describe an ONNX file from another tool.", _MODELS, 18)
PACKAGE = _command("package", "package:package", "Write files for Triton and other servers.", _MODELS, 19)
ADAPTERS = _command("adapters", "adapters:adapters", "List the adapters and what they require.", _SETUP, 20)
PLUGINS = _command("plugins", "plugins:plugins", "List the active plugins and their hooks.", _SETUP, 21)
CACHE = _command("cache", "cache:cache", "List or remove cached results.", _SETUP, 22)
DOCTOR = _command("doctor", "doctor:doctor", "Check versions and report what is missing.", _SETUP, 23)
COMPLETION = _command("completion", "completion:completion", "Complete commands and options in your shell.", _SETUP, 24)
NEW_ADAPTER = _command("new-adapter", "new_adapter:new_adapter", "Create a new adapter from a template.", _AUTHORS, 30)
NEW_EXTENSION = _command(
    "new-extension", "new_extension:new_extension", "Create a new extension from a template.", _AUTHORS, 31
)
NEW_BACKEND = _command("new-backend", "new_backend:new_backend", "Create a new backend from a template.", _AUTHORS, 32)
