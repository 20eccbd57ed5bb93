"""Images in S3 buckets and at web addresses: found and read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="s3:// requires pyarrow")
cv2 = pytest.importorskip("cv2", reason="images need OpenCV")

import numpy as np  # noqa: E402
from s3_server import s3_environment, s3_server  # noqa: E402
from videos import gray_frame  # noqa: E402

from adaptrt.errors import ImageError, UsageError  # noqa: E402
from adaptrt.sources import FrameStream, find_sources, s3  # noqa: E402
from adaptrt.sources.find import remote_and_local_images  # noqa: E402
from adaptrt.specs.image_files import RemoteFile, exact_name, image_file  # noqa: E402

FILES = ("a.png", "b.png", "notes.txt", "more/c.png", "more/d e+f.png", "more/deep/g.jpg", "more/deep/h[1].png")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """Objects below ``s3://data/set/``."""
    data = cv2.imencode(".png", gray_frame(1))[1].tobytes()
    with s3_environment({f"data/set/{name}": data for name in FILES}, monkeypatch, tmp_path) as objects:
        yield objects


def found(*named: str) -> list[str]:
    return [str(file).removeprefix("s3://data/set/") for file in remote_and_local_images(named)]


def test_objects_are_found(bucket: dict[str, bytes]) -> None:
    """As files are: a folder without those below it, and patterns; keys are taken as they are."""
    assert found("s3://data/set/more/d e+f.png") == ["more/d e+f.png"]
    assert found("s3://data/set/more/deep/h[1].png") == ["more/deep/h[1].png"], "a key goes before a pattern"
    assert found("s3://data/set/") == found("s3://data/set") == ["a.png", "b.png"]
    assert found("s3://data/set/*.png") == ["a.png", "b.png"]
    assert found("s3://data/set/more/?.png") == ["more/c.png"]
    assert found("s3://data/set/**/*.png") == ["a.png", "b.png", "more/c.png", "more/d e+f.png", "more/deep/h[1].png"]
    assert found("s3://data/*/more/**") == ["more/c.png", "more/d e+f.png", "more/deep/g.jpg", "more/deep/h[1].png"]
    assert found("s3://data/set/b.png", "s3://data/set/") == ["b.png", "a.png"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://data/set/none.png", "Not found: s3://data/set/none.png"),
        ("s3://none/a.png", "Not found: s3://none/a.png"),
        ("s3://data/set/*.bmp", "contains no images"),
        ("s3://none/*.png", "s3://none/[*].png cannot be listed"),
    ],
)
def test_what_is_missing_is_named(bucket: dict[str, bytes], url: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        found(url)


def test_credentials_in_an_address_are_rejected(bucket: dict[str, bytes]) -> None:
    with pytest.raises(UsageError, match="Credentials are not accepted") as error:
        found("s3://id:secret@data/set/")
    assert "secret" not in error.value.message


def test_requests_are_signed_unless_anonymous(bucket: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    for url, expected in (("s3://data/set/", True), ("s3://anonymous@data/set/", False)):
        with s3_server(bucket) as (address, signed):
            monkeypatch.setenv("AWS_ENDPOINT_URL", address)
            s3._filesystem.cache_clear()
            files = remote_and_local_images([url])
            assert str(files[0]) == f"{url}a.png"
            (batch,) = FrameStream(find_sources(str(files[0]))).batches(2)
            assert np.array_equal(batch[0].pixels, gray_frame(1))  # type: ignore[arg-type]
            assert signed == {expected}


def test_a_name_of_a_remote_file_has_no_password() -> None:
    file = image_file("https://user:secret@host/a.jpg")
    assert isinstance(file, RemoteFile)
    assert (str(file), exact_name(file)) == ("https://user:***@host/a.jpg", "https://user:secret@host/a.jpg")
    assert image_file("a.jpg") == Path("a.jpg")
