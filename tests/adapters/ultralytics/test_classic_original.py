"""Classic checkpoints with the repository that made them at hand: link 0, and ``--trust-checkpoint``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")

import classic_repository  # noqa: E402

import adaptrt  # noqa: E402
from adaptrt import Conversion, Request, ShapeRequest  # noqa: E402
from adaptrt.errors import AdaptrtError  # noqa: E402
from adaptrt_ultralytics import yolov5  # noqa: E402
from adaptrt_ultralytics.options import Yolov5Options  # noqa: E402


@pytest.fixture
def repo(tmp_path: Path, classic: Any) -> Path:
    return classic_repository.write_repository(tmp_path / "repo", classic.homes)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    import numpy as np

    from adaptrt.vision.examples import image_noise
    from adaptrt.vision.images import write_image

    return write_image(tmp_path / "image.png", image_noise(np.random.default_rng(0), (128, 192)))


def convert(path: Path, image: Path | None, **more: Any) -> adaptrt.Report:
    options = {"max_det": 5, **more.pop("options", {})}  # boxes of made-up weights that lie inside the image
    return adaptrt.convert(
        path,
        adapter="yolov5",
        imgsz="64x96",
        batch="1:2:3",
        exporter="torchscript",
        image=image,
        html=False,
        cache=False,
        options=options,
        **more,
    )


def test_link_0_compares_with_the_repository(classic: Any, repo: Path, image: Path) -> None:
    path = classic.save(classic.as_trained(classic.network()))
    before = {name for name in sys.modules if name.partition(".")[0] in ("models", "utils")}
    report = convert(path, image, options={"repo": str(repo)})
    assert report.link(0).status == "passed", report.link(0).reason
    assert report.link(0).checks
    assert report.verdict is not None
    assert not any("rebuilt" in text or "link" in text for text in report.verdict.missing)
    assert {name for name in sys.modules if name.partition(".")[0] in ("models", "utils")} == before
    assert str(repo) not in sys.path


@pytest.mark.full
def test_the_repository_gets_the_pixels_of_an_npy_file(classic: Any, repo: Path, image: Path, tmp_path: Path) -> None:
    import numpy as np

    from adaptrt.vision.images import read_image

    np.save(tmp_path / "image.npy", read_image(image))
    report = convert(
        classic.save(classic.as_trained(classic.network())), tmp_path / "image.npy", options={"repo": str(repo)}
    )
    assert report.link(0).status == "passed", report.link(0).reason
    assert report.link(0).checks


def test_another_forward_in_the_repository_is_found(classic: Any, repo: Path, image: Path) -> None:
    """The checkpoint says nothing of it: only the original code can."""
    common = repo / "models" / "common.py"
    text = common.read_text()
    changed = text.replace("return x + y if self.add else y", "return 2 * x + y if self.add else y")
    assert changed != text
    common.write_text(changed)
    path = classic.save(classic.as_trained(classic.network()))
    with pytest.raises(AdaptrtError, match="Link 0"):
        convert(path, image, options={"repo": str(repo)})


def test_without_the_repository_it_is_partly_verified(classic: Any, image: Path) -> None:
    report = convert(classic.save({"model": classic.network()}), image)
    assert report.link(0).status == "not run"
    assert "--set repo=PATH" in report.link(0).reason
    assert report.verdict is not None
    assert report.verdict.word == "partly verified"
    assert any("rebuilt from the class names" in text for text in report.verdict.missing)


def test_a_fork_loads_by_its_own_code_on_the_users_word(classic: Any, repo: Path, image: Path, tmp_path: Path) -> None:
    common = repo / "models" / "common.py"
    common.write_text(common.read_text().replace("class SPPF", "class Other(nn.Identity):\n    pass\n\n\nclass SPPF"))
    model = classic.network()
    other = type("Other", (torch.nn.Identity,), {})
    layer = model.model[2]
    layer.m.append(other())
    path = classic.save({"model": model}, extra={"models.common": (other,)})
    with pytest.raises(AdaptrtError, match=r"models\.common\.Other") as caught:
        convert(path, None)
    assert "trust_checkpoint=True" in str(caught.value.hint)
    trusted = Request(str(path), "yolov5", trust_checkpoint=True, shapes=ShapeRequest(imgsz=(64, 96)))
    with pytest.raises(AdaptrtError, match="No module named") as caught:
        yolov5.load_model(Conversion(trusted, Yolov5Options(), tmp_path))
    assert "--set repo=PATH" in str(caught.value.hint)
    ctx = Conversion(trusted, Yolov5Options(str(repo)), tmp_path)
    images = torch.rand(1, 3, 64, 96)
    with forgotten(), torch.no_grad():
        loaded = yolov5.load_model(ctx)
        assert torch.equal(loaded(images), model(images))
        spec, _ = trusted.shapes.apply(yolov5.model_spec(ctx, loaded))
        assert not ctx.findings
        assert list(yolov5.patches(loaded, spec)) == []
        assert len(yolov5.framework_predictions(ctx, image, spec).scores) > 0
        dynamic, _ = ShapeRequest(imgsz=(64, 96), dynamic=frozenset({"hw"})).apply(spec)
        with pytest.raises(AdaptrtError, match="--trust-checkpoint"):
            yolov5.patches(loaded, dynamic)


@pytest.mark.full
def test_a_trusted_fork_is_converted_from_end_to_end(classic: Any, repo: Path, image: Path) -> None:
    """``--trust-checkpoint`` with the repository on the path: a layer that is not rebuilt, and link 0 by the fork's own code."""
    common = repo / "models" / "common.py"
    common.write_text(
        common.read_text().replace(
            "class SPPF", "class Doubled(nn.Module):\n    def forward(self, x):\n        return 2 * x\n\n\nclass SPPF"
        )
    )

    doubled = type("Doubled", (torch.nn.Module,), {"forward": lambda _, x: 2 * x})
    model = classic.network()
    model.model[2].m.append(doubled())
    for conv in model.model[-1].m:
        conv.weight.data *= 10  # so that outputs vary over the samples as those of a trained network do
    path = classic.save({"model": model}, extra={"models.common": (doubled,)})
    with forgotten(), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repo))
        report = convert(path, image, trust_checkpoint=True)
    assert {link.number: link.status for link in report.links if link.number in (0, 2, 5)} == {
        0: "passed", 2: "passed", 5: "passed",
    }  # fmt: skip
    assert report.verdict is not None
    assert report.verdict.word == "verified", report.verdict.missing


class forgotten:
    """What ``--trust-checkpoint`` leaves importable for the rest of a command, taken back."""

    def __enter__(self) -> None:
        self.path, self.modules = list(sys.path), set(sys.modules)

    def __exit__(self, *_: object) -> None:
        sys.path[:] = self.path
        for name in set(sys.modules) - self.modules:
            if name.partition(".")[0] in ("models", "utils"):
                del sys.modules[name]


def test_a_folder_that_is_no_repository(classic: Any, tmp_path: Path) -> None:
    with pytest.raises(AdaptrtError, match=r"no models/yolo\.py"):
        convert(classic.save({"model": classic.network()}), None, options={"repo": str(tmp_path)})


def test_a_repository_that_cannot_be_imported(classic: Any, repo: Path, image: Path) -> None:
    (repo / "utils" / "general.py").write_text("import surely_not_installed\n")
    path = classic.save({"model": classic.network()})
    with pytest.raises(AdaptrtError, match="surely_not_installed"):
        convert(path, image, options={"repo": str(repo)})
