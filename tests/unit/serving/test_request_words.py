"""The answers of the server name parameters of the request, and give no advice that only its operator can follow."""

from __future__ import annotations

import pytest

from adaptrt.errors import AdaptrtError, UsageError
from adaptrt.serving.request_words import in_request, request_hint
from adaptrt.vision.decoders.params import check_fraction


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conf must be between 0 and 1; got 2.", "conf must be between 0 and 1; got 2."),
        ("--set conf='x': Expected `float`, got `str`.", "conf=x: Expected `float`, got `str`."),
        ("--set kwargs='{\"classes\": 3}' is not valid JSON.", 'kwargs={"classes": 3} is not valid JSON.'),
    ],
)
def test_options_as_parameters(text: str, said: str) -> None:
    assert in_request(text) == said


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (None, ""),
        ("Did you mean 'conf'?", "Did you mean 'conf'?"),
        ("For example: --set conf=0.5", "For example: conf=0.5"),
        ("nms was renamed to iou: --set iou=...", "nms was renamed to iou: iou=..."),
        ("Set them: --set a=... --set b=...", "Set them: a=... b=..."),
        ("Omit iou, or: --set iou=null", "Omit iou, or: iou=null"),
        ("Use --debug to show the full traceback.", ""),
        ("Convert again: adaptrt convert ... --set iou=0.5 --nms", ""),
        ("pip install pillow", ""),
        ("Use smaller images. See adaptrt doctor.", "Use smaller images."),
        ("Copy or download it again.", "Copy or download it again."),
        ("A well-known rule -- or not.", "A well-known rule -- or not."),
    ],
)
def test_hints_that_a_client_can_follow(hint: str | None, said: str) -> None:
    assert request_hint(hint) == said


def test_an_error_of_a_decoder() -> None:
    with pytest.raises(UsageError) as caught:
        check_fraction("conf", 2)
    error: AdaptrtError = caught.value
    assert (in_request(error.message), request_hint(error.hint)) == (
        "conf must be between 0 and 1; got 2.",
        "For example: conf=0.5",
    )
