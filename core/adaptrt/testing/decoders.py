"""The contract of a decoder, as tests: inherit ``DecoderContract``, name the decoder and give outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from adaptrt.predictions import ImageMeta
from adaptrt.testing.imports import heavy_imports

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec


class DecoderContract:
    """Standard tests of a decoder. A subclass names it, and returns a spec and the outputs of a batch of at least two images::

        class TestPeaks(DecoderContract):
            decoder = "peaks"

            def spec(self):
                return ModelSpec(inputs=(InputSpec.image(64, 64),), decoder=DecoderSpec("peaks"), labels=("red", "blue"))

            def outputs(self):
                return {"heat": np.random.default_rng(0).random((2, 2, 16, 16), np.float32)}

    ``image_size``: height and width of the original images.
    """

    decoder: ClassVar[str]
    image_size: ClassVar[tuple[int, int]] = (60, 90)

    def spec(self) -> ModelSpec:
        """The spec of a model whose outputs it decodes."""
        raise NotImplementedError

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """Outputs of a batch, by name, in which something is found."""
        raise NotImplementedError

    def test_it_is_installed(self) -> None:
        from adaptrt.specs.decoders import DECODERS

        assert DECODERS.find(self.decoder)
        named = self.spec().decoder
        assert named is not None, "the spec of the test must name the decoder"
        assert named.name == self.decoder

    def test_importing_it_is_cheap(self) -> None:
        """It runs on the inference machine, with numpy alone."""
        from adaptrt.specs.decoders import DECODERS

        (point,) = DECODERS._claims(self.decoder).values()
        loaded = heavy_imports(point.value.partition(":")[0])
        assert not loaded, f"the decoder's module imports {', '.join(loaded)}"

    def test_parameters_have_defaults(self) -> None:
        from adaptrt.specs.decoders import DECODERS

        params = DECODERS.find(self.decoder).params
        assert dataclasses.is_dataclass(params), "params must be a frozen dataclass"
        assert params.__dataclass_params__.frozen, "params must be frozen: @dataclass(frozen=True)"  # type: ignore[attr-defined]
        params()

    def test_predictions_belong_to_the_task(self) -> None:
        from adaptrt.specs import task_named
        from adaptrt.specs.decoders import DECODERS

        task = task_named(DECODERS.find(self.decoder).predicts)
        spec, found = self.spec(), self._decode(self.outputs())
        assert any(not task.is_empty(prediction) for prediction in found), "the outputs of the test contain nothing"
        for prediction in found:
            assert isinstance(prediction, task.prediction), (
                f"task {task.name!r} requires {task.prediction.__name__}; got {type(prediction).__name__}"
            )
            problems = task.problems(prediction, spec, self.image_size)
            assert not problems, "; ".join(problems)

    def test_an_image_is_decoded_alone_as_in_a_batch(self) -> None:
        import numpy as np

        from adaptrt.specs import task_named
        from adaptrt.specs.decoders import DECODERS

        task = task_named(DECODERS.find(self.decoder).predicts)
        outputs = self.outputs()
        size = len(next(iter(outputs.values())))
        assert size > 1, "outputs must be those of a batch of at least two images"
        together = self._decode(outputs)
        assert len(together) == size, f"{size} images, but {len(together)} predictions"
        for index, prediction in enumerate(together):
            (alone,) = self._decode({name: array[index : index + 1] for name, array in outputs.items()})
            same = task.record(alone) == task.record(prediction) and task.row(alone) == task.row(prediction)
            assert same, f"image {index} is decoded differently in a batch"
        for name, array in self.outputs().items():
            np.testing.assert_array_equal(outputs[name], array, err_msg=f"decoding changes {name} in place")

    def test_a_prediction_survives_a_report(self) -> None:
        import json

        from adaptrt.specs import task_named
        from adaptrt.specs.decoders import DECODERS

        task = task_named(DECODERS.find(self.decoder).predicts)
        for prediction in self._decode(self.outputs()):
            record = json.loads(json.dumps(task.record(prediction)))
            again = task.read_record(record)
            if again is None:
                pytest.skip(f"predictions of task {task.name!r} are not read back from reports")
            assert task.record(again) == task.record(prediction)

    def _decode(self, outputs: Mapping[str, NDArray[Any]]) -> Sequence[Any]:
        from adaptrt.options import fill_options
        from adaptrt.specs.decoders import DECODERS

        spec = self.spec()
        assert spec.decoder is not None
        own = DECODERS.find(self.decoder)
        metas = [self._meta(spec)] * len(next(iter(outputs.values())))
        return own.decode(outputs, metas, spec, fill_options(own.params, spec.decoder.params))

    def _meta(self, spec: ModelSpec) -> ImageMeta:
        if spec.image is None:
            return ImageMeta(self.image_size, self.image_size)
        height, width = spec.image_size
        scale = height / self.image_size[0], width / self.image_size[1]
        return ImageMeta(self.image_size, (height, width), scale)
