"""What a report consists of, however it is set: headings, texts, tables and drawings in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from officers.desk.report.drawing import Drawing


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a section, or of a part of one (``level`` 2)."""

    text: str
    level: int = 1


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A text; ``warning``: one that must not be overlooked. ``small``: a remark."""

    text: str
    warning: bool = False
    small: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What something is about, and what is said of it, a row each."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Args:
        columns: headings.
        rows: a cell a column.
        widths: how wide the columns are, in shares.
        right: which columns hold numbers.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    widths: Sequence[float]
    right: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing, with what it shows in words for who does not see it."""

    drawing: Drawing
    about: str


Block = Heading | Paragraph | Facts | Table | Picture


@dataclass(frozen=True, slots=True)
class Document:
    """A report's content.

    Args:
        title: at its head.
        language: a tag, such as ``ko``.
        mark: stands across every page: of which query, for whom, when.
        author: who made it.
        made_at_ms: when, ms UTC.
        page: the word for a page, with ``{number}`` and ``{total}``.
    """

    title: str
    language: str
    mark: str
    author: str
    made_at_ms: int
    page: str
    blocks: tuple[Block, ...] = field(default=())
