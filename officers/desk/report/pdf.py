"""Set a report as PDF, with a font of its own in it, so that Korean is shown and can be copied."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from typing import Any

from fontTools.pens.recordingPen import DecomposingRecordingPen
from fpdf import FPDF
from fpdf.drawing import PaintedPath
from fpdf.enums import Align, MethodReturnValue
from fpdf.fonts import FontFace

from officers.desk.report.document import (
    Block,
    Document,
    Facts,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from officers.desk.report.drawing import WIDTH_MM, Box, Disc, Drawing, Ink, Label, Path, Shape
from officers.desk.report.fonts import font_file
from runtime.text import harmless

_FONT = "report"
_MARGIN_MM, _BOTTOM_MM = 16.0, 18.0
_POINTS_A_MM = 72 / 25.4
_TITLE, _HEADINGS, _TEXT, _SMALL, _CELL = 20.0, (14.0, 11.5), 10.0, 8.5, 8.0
_LINE = 1.42
_TOTAL = "\ue000" * 4
"""Stands for the number of pages, of up to four digits, until the last is made; `_shown` lets no
text have it."""
_GREY, _SHADE = 0x66, Ink.LIGHT.value
_WARNING = (0xFB, 0xEC, 0xEB)
_BELOW_MM = 24.0
_LONG_CELL, _PART_LINES, _PADDING_MM = 400, 30, 4.0
_MARK_ANGLE, _MARK_MM, _MARK_GREY = 32.0, 7.0, "#e9e9e9"


def as_pdf(document: Document) -> bytes:
    """Return a report as PDF."""
    page = _Page(document)
    for block, after in pairwise((*document.blocks, None)):
        if block is not None:
            page.put(block, after)
    return bytes(page.pdf.output())


class _Sheet(FPDF):
    """Pages with the mark across, and the foot."""

    def __init__(self, document: Document) -> None:
        super().__init__(format="A4")
        self._document = document
        self.add_font(_FONT, "", str(font_file()))
        self.alias_nb_pages(_TOTAL)
        self.set_margins(_MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=_BOTTOM_MM)
        self.set_lang(document.language)
        self.set_title(f"{document.title} · {document.mark}")
        self.set_author(document.author)
        self.set_creator("Sealtrace")
        self.set_creation_date(datetime.fromtimestamp(document.made_at_ms / 1000, UTC))

    def header(self) -> None:
        """Write the mark across the page; what follows is written over it."""
        for height in (0.3, 0.62):
            x, y = self.w / 2, self.h * height
            with self.rotation(_MARK_ANGLE, x, y):
                self._mark_at(x, y)
        self.set_y(_MARGIN_MM)

    def _mark_at(self, x: float, y: float) -> None:
        """Draw the mark as shapes about a point: no text, which would mix with the page's own."""
        font = self.fonts[_FONT].ttfont  # type: ignore[union-attr]  # it is no core font
        glyphs, names = font.getGlyphSet(), font.getBestCmap()
        scale = _MARK_MM / font["head"].unitsPerEm
        shown = [glyphs[names[ord(char)]] for char in self._document.mark if ord(char) in names]
        left = x - sum(glyph.width for glyph in shown) * scale / 2
        with self.drawing_context() as drawn:
            path = PaintedPath()
            path.style.fill_color = _MARK_GREY
            path.style.stroke_color = None
            for glyph in shown:
                pen = DecomposingRecordingPen(glyphs)
                glyph.draw(pen)
                for action, points in pen.value:
                    at = [(left + px * scale, y - py * scale) for px, py in points]
                    _drawn(path, action, at)
                left += glyph.width * scale
            drawn.add_item(path)

    def footer(self) -> None:
        """Write the mark and the page's number at the foot."""
        self.set_y(-12)
        self.set_font(_FONT, size=7.5)
        self.set_text_color(_GREY)
        self.cell(self.epw * 0.75, 5, self._document.mark)
        number = self._document.page.format(number=self.page_no(), total=_TOTAL)
        self.cell(0, 5, number, align=Align.R)
        self.set_text_color(*Ink.BLACK.value)


def _drawn(path: PaintedPath, action: str, points: list[tuple[float, float]]) -> None:
    """Go on with a path by a glyph's outline."""
    flat = [number for point in points for number in point]
    if action == "moveTo":
        path.move_to(*flat)
    elif action == "lineTo":
        path.line_to(*flat)
    elif action == "curveTo":
        path.curve_to(*flat)
    else:
        path.close()


class _Page:
    """Puts blocks one below the other."""

    def __init__(self, document: Document) -> None:
        self.pdf = _Sheet(document)
        self.pdf.add_page()
        self._write(document.title, _TITLE)
        self.pdf.ln(2)

    def put(self, block: Block, after: Block | None) -> None:
        """Put a block; a heading stays with what comes ``after``."""
        match block:
            case Heading(text, level):
                drawn = after.drawing.height if isinstance(after, Picture) else _BELOW_MM
                self._heading(text, level, drawn)
            case Paragraph(text, warning, small):
                self._paragraph(text, warning=warning, size=_SMALL if small else _TEXT)
            case Facts():
                self._facts(block)
            case Table():
                self._table(block)
            case Picture(drawing, _):
                self._picture(drawing)

    def _heading(self, text: str, level: int, below: float) -> None:
        size = _HEADINGS[level - 1]
        self._room(size / _POINTS_A_MM * _LINE + 6 + below)
        self.pdf.ln(4 if level == 1 else 2)
        self.pdf.set_text_color(*(Ink.WAY if level == 1 else Ink.BLACK).value)
        with self.pdf.local_context(text_mode="FILL_STROKE", line_width=0.12):
            self._write(text, size)
        self.pdf.set_text_color(*Ink.BLACK.value)
        self.pdf.ln(1)

    def _paragraph(self, text: str, *, warning: bool, size: float) -> None:
        pdf = self.pdf
        if warning:
            pdf.set_fill_color(*_WARNING)
            pdf.set_draw_color(*Ink.WARN.value)
            begins, page = pdf.get_y(), pdf.page_no()
            self._write(text, size, fill=True)
            if pdf.page_no() == page:
                pdf.set_line_width(1.2)
                pdf.line(pdf.l_margin - 1.5, begins, pdf.l_margin - 1.5, pdf.get_y())
        else:
            self._write(text, size)
        pdf.ln(1.6)

    def _write(self, text: str, size: float, *, fill: bool = False) -> None:
        self.pdf.set_font(_FONT, size=size)
        height = size / _POINTS_A_MM * _LINE
        self.pdf.multi_cell(
            self.pdf.epw, height, self._shown(text), align=Align.L, fill=fill,
            new_x="LMARGIN", new_y="NEXT",
        )  # fmt: skip

    def _facts(self, facts: Facts) -> None:
        self._set_table(
            Table(columns=(), rows=[*map(tuple, facts.rows)], widths=(38, 140)), heads=False
        )

    def _table(self, table: Table) -> None:
        self._set_table(table, heads=True)

    def _set_table(self, table: Table, *, heads: bool) -> None:
        pdf = self.pdf
        pdf.set_font(_FONT, size=_CELL if heads else _TEXT - 1)
        pdf.set_draw_color(0xCC)
        pdf.set_fill_color(0)  # the default: cells are not filled
        pdf.set_line_width(0.15)
        height = (_CELL if heads else _TEXT - 1) / _POINTS_A_MM * _LINE
        plain = FontFace(fill_color=_SHADE if heads else None)
        with pdf.table(
            col_widths=tuple(table.widths),
            line_height=height,
            padding=(0.6, 1),
            borders_layout="HORIZONTAL_LINES",
            headings_style=plain,
            first_row_as_headings=heads,
            text_align=tuple(
                Align.R if at in table.right else Align.L for at in range(len(table.widths))
            ),
            v_align="TOP",
        ) as made:
            if heads:
                made.row([self._shown(name) for name in table.columns])
            for row in table.rows:
                for part in self._parts(row, table.widths, height):
                    made.row(part)
        pdf.ln(2)

    def _parts(
        self, row: Sequence[str], widths: Sequence[float], height: float
    ) -> Iterator[list[str]]:
        """Yield a row, or what it is cut into so that none is higher than a page."""
        shown = [self._shown(cell) for cell in row]
        if max(len(cell) + 60 * cell.count("\n") for cell in shown) < _LONG_CELL:
            yield shown
            return
        wide = self.pdf.epw / sum(widths)
        cells = [
            self._lines(cell, width * wide - _PADDING_MM, height)
            for cell, width in zip(shown, widths, strict=True)
        ]
        for at in range(0, max(map(len, cells)), _PART_LINES):
            yield ["\n".join(lines[at : at + _PART_LINES]) for lines in cells]

    def _lines(self, text: str, width: float, height: float) -> list[str]:
        """Return the lines that a text takes in a cell."""
        lines = self.pdf.multi_cell(
            width, height, text, dry_run=True, output=MethodReturnValue.LINES
        )
        return lines if isinstance(lines, list) else [text]

    def _picture(self, drawing: Drawing) -> None:
        self._room(drawing.height + 2)
        left, top = self.pdf.l_margin, self.pdf.get_y()
        scale = self.pdf.epw / WIDTH_MM
        for shape in drawing.shapes:
            self._shape(shape, left, top, scale)
        self.pdf.set_y(top + drawing.height * scale + 2)
        self.pdf.set_text_color(*Ink.BLACK.value)

    def _shape(self, shape: Shape, left: float, top: float, scale: float) -> None:
        pdf = self.pdf

        def at(point: tuple[float, float]) -> tuple[float, float]:
            return left + point[0] * scale, top + point[1] * scale

        match shape:
            case Path(points, ink, width, dashed, fill):
                self._inks(ink, fill, width)
                if dashed:
                    pdf.set_dash_pattern(dash=1.6, gap=1.2)
                pdf.polyline([at(point) for point in points], style="DF" if fill else "D")
                pdf.set_dash_pattern()
            case Disc(centre, radius, ink, fill, width):
                self._inks(ink, fill, width)
                pdf.circle(*at(centre), radius * scale, style="DF" if fill else "D")
            case Box(corner, width, height, fill, edge):
                self._inks(edge or fill, fill, 0.15)
                x, y = at(corner)
                pdf.rect(x, y, width * scale, height * scale, style="DF" if edge else "F")
            case Label(foot):
                self._label(shape, at(foot), scale)

    def _label(self, label: Label, foot: tuple[float, float], scale: float) -> None:
        shown = self._shown(label.text)
        self.pdf.set_font(_FONT, size=label.size * scale * _POINTS_A_MM)
        self.pdf.set_text_color(*label.ink.value)
        share = {"start": 0.0, "middle": 0.5, "end": 1.0}[label.anchor]
        x = foot[0] - self.pdf.get_string_width(shown) * share
        self.pdf.text(x, foot[1], shown)

    def _inks(self, ink: Ink, fill: Ink | None, width: float) -> None:
        self.pdf.set_draw_color(*ink.value)
        self.pdf.set_line_width(width)
        if fill is not None:
            self.pdf.set_fill_color(*fill.value)

    def _room(self, height: float) -> None:
        """Begin a page if so much does not fit on this one any more."""
        if self.pdf.get_y() + height > self.pdf.h - _BOTTOM_MM:
            self.pdf.add_page()

    def _shown(self, text: str) -> str:
        """Return a text that the font can show: what it has no glyph for becomes its number."""
        composed = unicodedata.normalize("NFC", harmless(text))
        return "".join(
            char if char == "\n" or ord(char) in self._glyphs else f"[U+{ord(char):04X}]"
            for char in composed
        )

    @cached_property
    def _glyphs(self) -> Any:
        return self.pdf.fonts[_FONT].cmap  # type: ignore[union-attr]  # it is no core font
