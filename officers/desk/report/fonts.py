"""The font of reports, which has Hangul, and a part of it with the characters of one page."""

from __future__ import annotations

import logging
from io import BytesIO
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from pylopdf_fonts_ko import sans_path

for _loud in ("fontTools", "fpdf"):
    logging.getLogger(_loud).setLevel(logging.ERROR)


def font_file() -> Path:
    """Return where the font lies: Noto Sans KR, under the SIL Open Font License."""
    return sans_path()


def woff_of(text: str) -> bytes:
    """Return a WOFF font of just the characters of a text; of the same ones the same bytes."""
    options = Options()
    options.layout_features = []
    options.flavor = "woff"
    with TTFont(font_file(), lazy=True, recalcTimestamp=False) as font:
        cut = Subsetter(options)
        cut.populate(text=text)
        cut.subset(font)
        font.flavor = "woff"
        made = BytesIO()
        font.save(made)
    return made.getvalue()
