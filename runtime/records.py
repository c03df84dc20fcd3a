"""Lay a table's rows out one below the other, each whole, where a window is too narrow for it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from runtime.text import harmless

_BETWEEN, _INDENT = "   ", "  "
_NAME_STYLE = "bold"
_FOLDED = 24
"""So narrow a column of words may become."""


def is_cut(table: Table, width: int) -> bool:
    """Tell whether a window is too narrow for a table.

    One column, the widest, may be folded into lines of some words; if others had to be as well,
    rows would be torn apart.

    Args:
        table: with a head.
        width: of the window, in columns.
    """
    if not table.show_header or not table.columns:
        return False
    widest = sorted(
        max(
            cell_len(line)
            for cell in (column.header, *column.cells)
            for line in _plain(cell).split("\n")
        )
        for column in table.columns
    )
    between = 2 * (len(widest) - 1)
    return sum(widest[:-1]) + min(widest[-1], _FOLDED) + between > width


def records(table: Table, width: int) -> Iterator[Text]:
    """Yield the lines of a table's rows as records: names and values, as many a line as fit.

    Args:
        table: its columns have names.
        width: of the window, in columns; characters that take two of them count so.
    """
    names = [_plain(column.header) for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        fields = [
            (name, line)
            for name, cell in zip(names, row, strict=True)
            for name, line in _lines(name, _plain(cell))
        ]
        line, indent = Text(), ""
        for name, words in fields:
            field = Text.assemble((f"{name} " if name else "", _NAME_STYLE), words)
            if line and cell_len(f"{indent}{line.plain}{_BETWEEN}{field.plain}") <= width:
                line.append(_BETWEEN).append_text(field)
                continue
            if line:
                yield _indented(line, indent)
                indent = _INDENT
            line = field
        yield _indented(line, indent)


def _lines(name: str, words: str) -> Iterator[tuple[str, str]]:
    """Yield a cell's lines, the first under its column's name; none of an empty one."""
    for number, line in enumerate(part for part in words.split("\n") if part):
        yield ("" if number else name), line


def _indented(line: Text, indent: str) -> Text:
    return Text(indent).append_text(line)


def _plain(cell: object) -> str:
    return harmless(cell.plain if isinstance(cell, Text) else str(cell))
