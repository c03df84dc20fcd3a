"""In a narrow window a table's rows become records: no word is broken, no column cut."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.text import Text

from runtime.records import is_cut, records
from runtime.terminal import Terminal, plain_table, show_table

DATE = "2031-05-04 10:00:00-10:02:10"
HANGUL = "시청역 3번 출구"
ROW = (
    "1-3",
    HANGUL,
    DATE,
    "2 min 10 s",
    "no mask 90% (put on or off)",
    "x 1,300 strong for\nfits 2 others",
    "confirmed",
    "0.7 m, 2 min 10 s, mask 80%\n1.2 m, 20 s, mask unknown",
)
NAMES = ("no.", "camera", "from - to", "for", "mask", "likelihood ratio", "decision", "contacts")


def shown(*rows: tuple[str, ...], width: int, terminal: bool = True) -> list[str]:
    table = plain_table(*NAMES, whole=("from - to",))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    stream = io.StringIO()
    console = Terminal(
        file=stream, width=width, force_terminal=terminal, color_system=None, legacy_windows=False
    )
    show_table(table, console)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_at_80_columns_each_row_is_a_record_of_its_own_and_whole(width: int) -> None:
    lines = shown(ROW, ROW, width=width)
    assert all(cell_len(line) <= width for line in lines)
    text = "\n".join(lines)
    for cell in ROW:
        for line in cell.split("\n"):
            assert text.count(line) >= 2, line
    for name in NAMES:
        assert text.count(f"{name} ") >= 2
    heads = [line for line in lines if line.startswith("no. 1-3")]
    assert len(heads) == 2, "a record begins at the margin, the rest of it is set in"
    assert all(line.startswith(("no. ", "  ")) for line in lines)


def test_where_there_is_room_it_is_a_table() -> None:
    head, *rows = shown(ROW, width=200)
    assert head.split() == " ".join(NAMES).split()
    assert DATE in rows[0]
    assert shown(ROW, width=80, terminal=False)[0].split() == head.split()


def test_one_column_of_words_may_be_folded() -> None:
    table = plain_table("at", "what")
    table.add_row("10:00:00", "somebody did something that takes many words " * 4)
    assert not is_cut(table, 80)
    table.add_column("and", overflow="fold")
    table.columns[2]._cells.append("more of it " * 10)
    assert is_cut(table, 80)


def test_an_empty_cell_has_no_name_in_a_record() -> None:
    empty = ("7", *[""] * (len(ROW) - 1))
    assert [line.rstrip() for line in shown(ROW, empty, width=60)][-1] == "no. 7"


def test_a_cell_that_is_wider_than_the_window_is_folded_and_lost_nowhere() -> None:
    long = "x" * 200
    lines = shown((long, *ROW[1:]), width=80)
    assert sum(line.count("x") for line in lines) >= 200


def test_what_would_steer_a_terminal_is_written_as_escapes() -> None:
    text = "\n".join(shown(("1", "cam\x1b[2J", *ROW[2:]), width=80))
    assert "\x1b" not in text
    assert "cam" in text


def test_a_list_of_facts_is_no_table_with_a_head() -> None:
    table = plain_table("a", "b")
    table.show_header = False
    table.add_row("x" * 90, "y")
    assert not is_cut(table, 80)
    assert list(records(plain_table("a"), 80)) == []
