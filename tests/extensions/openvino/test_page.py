"""What docs/how-to/write-a-backend.md quotes stands in the extension, word by word."""

from __future__ import annotations

import pytest
from doc_pages import ROOT, Block, blocks_of

PAGE = ROOT / "docs" / "how-to" / "write-a-backend.md"
QUOTED = [block for block in blocks_of(PAGE) if block.value.startswith("from ")]


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in QUOTED])
def test_quoted(block: Block) -> None:
    source = ROOT / block.value.removeprefix("from ")
    assert block.text in source.read_text(encoding="utf-8"), block.place


def test_the_page_quotes_the_extension() -> None:
    assert QUOTED
