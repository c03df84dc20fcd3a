"""Set a report as one HTML page that stands alone: no script, nothing fetched, its font in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

from officers.desk.report.document import (
    Block,
    Document,
    Facts,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from officers.desk.report.drawing import Box, Disc, Drawing, Label, Path, Shape
from officers.desk.report.fonts import woff_of
from runtime.text import harmless

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; font-src data:"
_FONTS = (
    'report, "Noto Sans KR", "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic", sans-serif'
)
_STYLE = """
@font-face { font-family: report; src: url(data:font/woff;base64,FONT) format("woff"); }
:root { color-scheme: light; }
body { font: 15px/1.45 FONTS; color: #222; margin: 0 auto; max-width: 60rem; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; padding-bottom: .2rem;
  border-bottom: 2px solid #1f5aa6; }
h3 { font-size: 1.05rem; margin: 1.2rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; margin: .5rem 0 1rem; }
th, td { text-align: start; vertical-align: top; padding: .3rem .45rem;
  border-bottom: 1px solid #ccc; white-space: pre-line; overflow-wrap: anywhere; }
thead th { background: #e3e6ea; }
table.facts th { width: 12rem; font-weight: normal; color: #555; }
.right { text-align: end; }
.small { font-size: .85rem; color: #444; }
.warning { border-inline-start: .4rem solid #b3261e; background: #fbeceb; padding: .5rem .8rem; }
figure { margin: .5rem 0; } svg { width: 100%; height: auto; }
figcaption { font-size: .85rem; color: #444; }
.mark { position: fixed; inset: 0; pointer-events: none; display: grid; place-content: center;
  font-size: 1.6rem; color: #222; opacity: .08; transform: rotate(-30deg); white-space: nowrap;
  line-height: 9rem; text-align: center; z-index: 1; }
@media (max-width: 600px) {
  table:not(.facts), table:not(.facts) tbody, table:not(.facts) tr, table:not(.facts) td {
    display: block; }
  table:not(.facts) thead { position: absolute; clip-path: inset(50%); height: 1px;
    overflow: hidden; width: 1px; }
  table:not(.facts) tr { border-bottom: 2px solid #ccc; padding: .3rem 0; }
  table:not(.facts) td { border: 0; padding: .15rem 0; text-align: start; }
  td[data-label]::before { content: attr(data-label); color: #555; display: block;
    font-size: .85em; }
  table.facts th { width: 7rem; }
}
@media print { body { max-width: none; padding: 0; } h2, h3 { break-after: avoid; }
  tr, figure { break-inside: avoid; } }
""".replace("FONTS", _FONTS)  # fmt: skip
_MARKS = 7


def as_html(document: Document) -> bytes:
    """Return a report as HTML."""
    page = "".join(_page(document))
    font = base64.b64encode(woff_of(page)).decode()
    return page.replace("base64,FONT)", f"base64,{font})", 1).encode()


def _page(document: Document) -> Iterator[str]:
    mark = _text(document.mark)
    yield (
        f'<!DOCTYPE html>\n<html lang="{_text(document.language)}">\n<head>\n'
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(document.title)} · {mark}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n"
    )
    yield f'<div class="mark" aria-hidden="true">{"<br>".join([mark] * _MARKS)}</div>\n'
    yield f"<h1>{_text(document.title)}</h1>\n"
    for block in document.blocks:
        yield _block(block)
    yield f'<p class="small">{mark}</p>\n</body>\n</html>\n'


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level + 1}>{_text(text)}</h{level + 1}>\n"
        case Paragraph(text, warning, small):
            kind = ' class="warning" role="alert"' if warning else ' class="small"' if small else ""
            return f"<p{kind}>{_text(text)}</p>\n"
        case Facts(rows):
            body = "".join(
                f'<tr><th scope="row">{_text(about)}</th><td>{_text(said)}</td></tr>\n'
                for about, said in rows
            )
            return f'<table class="facts"><tbody>\n{body}</tbody></table>\n'
        case Table():
            return _table(block)
        case Picture(drawing, about):
            return (
                f"<figure>{as_svg(drawing, about)}<figcaption>{_text(about)}</figcaption>"
                "</figure>\n"
            )


def _table(table: Table) -> str:
    total = sum(table.widths)
    columns = "".join(f'<col style="width:{100 * width / total:.1f}%">' for width in table.widths)
    kinds = [' class="right"' if at in table.right else "" for at in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{kind}>{_text(name)}</th>'
        for kind, name in zip(kinds, table.columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{kind} data-label="{_text(name)}">{_text(cell)}</td>'
            for kind, name, cell in zip(kinds, table.columns, row, strict=True)
        )
        + "</tr>\n"
        for row in table.rows
    )
    return (
        f"<table><colgroup>{columns}</colgroup><thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table>\n"
    )


def as_svg(drawing: Drawing, about: str) -> str:
    """Return a drawing as an SVG element."""
    shapes = "".join(map(_shape, drawing.shapes))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {drawing.width:g} {drawing.height:g}" font-family={_FONT_ATTRIBUTE}>'
        f"<title>{_text(about)}</title>{shapes}</svg>"
    )


_FONT_ATTRIBUTE = "'" + _FONTS + "'"


def _shape(shape: Shape) -> str:
    match shape:
        case Path(points, ink, width, dashed, fill):
            listed = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
            dash = ' stroke-dasharray="1.6 1.2"' if dashed else ""
            filled = "none" if fill is None else fill.css
            return (
                f'<polyline points="{listed}" fill="{filled}" stroke="{ink.css}" '
                f'stroke-width="{width:g}"{dash}/>'
            )
        case Disc((x, y), radius, ink, fill, width):
            filled = "none" if fill is None else fill.css
            return (
                f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:g}" fill="{filled}" '
                f'stroke="{ink.css}" stroke-width="{width:g}"/>'
            )
        case Box((x, y), width, height, fill, edge):
            stroke = "" if edge is None else f' stroke="{edge.css}" stroke-width="0.2"'
            return (
                f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" '
                f'fill="{fill.css}"{stroke}/>'
            )
        case Label((x, y), text, size, ink, anchor):
            return (
                f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size:g}" fill="{ink.css}" '
                f'text-anchor="{anchor}">{_text(text)}</text>'
            )


def _text(text: str) -> str:
    return escape(harmless(text))
