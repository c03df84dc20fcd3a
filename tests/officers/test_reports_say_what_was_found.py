"""A report says in its language what was found, asked and watched, and stands alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import protocol_samples as s
import pytest
import report_samples as r

from officers.desk.coverage_hours import CameraHour
from officers.desk.fit import Contradiction
from officers.desk.grading import grade
from officers.desk.grading_rules import preset_names, rules_of
from officers.desk.ground import AT_ONCE
from officers.desk.persons import persons_of
from officers.desk.receipts import Receipts
from officers.desk.report.account import account_text
from officers.desk.report.contents import document_of
from officers.desk.report.coverage_chart import MOST_ROWS, charts, spells_of
from officers.desk.report.document import Document, Facts, Heading, Paragraph, Picture, Table
from officers.desk.report.gathering import Gathered
from officers.desk.report.html import as_html
from officers.desk.report.making import set_pdf
from officers.desk.report.plan import PlanInvalid, read_plan
from officers.desk.report.words import LANGUAGES, Words
from runtime.errors import OperationError

HANGUL = re.compile("[가-힣]")
ENGLISH_WORD = re.compile(r"[A-Za-z]{3,}")


def needs_poppler(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that has a PDF read by poppler's program."""
    missing = shutil.which("pdftotext") is None
    skip = pytest.mark.skipif(missing, reason="needs pdftotext (Debian: poppler-utils)")
    marked: Callable[..., None] = pytest.mark.processes(skip(test))
    return marked


def document(language: str = "en", **changed: object) -> Document:
    return document_of(r.gathered(language=language, **changed), Words(language, r.SEOUL))


def texts(of: Document) -> Iterator[str]:
    for block in of.blocks:
        match block:
            case Heading(text) | Paragraph(text):
                yield text
            case Facts(rows):
                for about, said in rows:
                    yield f"{about}: {said}"
            case Table(columns, rows):
                yield " | ".join(columns)
                for row in rows:
                    yield " | ".join(row)
            case Picture(_, about):
                yield about


def told(language: str = "en", **changed: object) -> str:
    return "\n".join(texts(document(language, **changed)))


def test_it_says_way_contacts_coverage_what_was_asked_and_the_logs() -> None:
    text = told()
    for words in (
        "P-17: 6 confirmed sightings at 5 cameras",
        "City Hall, lobby > Station, line 2",
        "high (22.0)",
        "patient 17, measles, traced with consent",
        "bo, 2026-02-16",
        "2 were needed",
        "Bus stop (cam-5)",
        "partly watched",
        s.fixed("root a", 32).hex(),
        "c3 | – | not reached",
        s.query().query_id.hex(),
        "by appearance, identifies nobody",
    ):
        assert words in text


def test_times_are_the_sites_and_say_so() -> None:
    text = told()
    assert "Asia/Seoul, UTC+09:00" in text
    first = r.gathered().report.traces[0].hits[0]
    assert Words("en", r.SEOUL).span(first.from_ms, first.to_ms) in text
    assert "19:16:00–19:19:20" in text
    assert "10:16:00" not in text


def test_korean_is_korean_but_for_names_and_identifiers() -> None:
    text = told("ko")
    for words in ("접촉자 추적 보고서", "서울시청", "확인된 목격 6건", "매우 강한 지지", "홍역"):
        assert words in text or words == document("ko").title
    known = {
        "Asia", "Seoul", "UTC", "SHA", "aggregator", "ana", "dan", "cam", "sealtrace", "trace",
        "verify", "report", "FILE", "sig", "lobby", "vectors", "consent", "form", "measles",
        "patient", "traced", "with",
    }  # fmt: skip
    for line in text.splitlines():
        left = set(ENGLISH_WORD.findall(re.sub(r"[0-9a-f]{12,}", "", line))) - known
        assert not left, line


@pytest.mark.parametrize("preset", preset_names())
def test_every_line_of_an_account_is_translated(preset: str) -> None:
    rules, words = rules_of(preset), Words("ko", r.SEOUL)
    (trace,) = r.report().traces
    hour = 3_600_000
    windows = (None, (0, 1), (r.BEGIN_MS + 100 * hour, r.BEGIN_MS + 101 * hour),
               (r.BEGIN_MS + 120_000, r.BEGIN_MS + hour))  # fmt: skip
    for window in windows:
        for indoor in (None, True, False):
            here = dict.fromkeys(r.CAMERAS, indoor)
            for person in persons_of(trace):
                graded = grade(person, rules, indoor=here.__getitem__, window=window)
                for line in graded.lines:
                    said = account_text(line.words.partition(" within reach: ")[2] or line.words,
                                        words)  # fmt: skip
                    left = set(ENGLISH_WORD.findall(said)) - {"reach", "within", "cam"}
                    assert not left, said


def test_a_language_that_is_not_there_is_refused() -> None:
    with pytest.raises(OperationError, match="there are en, ko"):
        Words("tlh")


def test_a_trace_that_contradicts_itself_and_clothes_are_warned_of() -> None:
    made = r.report()
    (trace,) = made.traces
    against = Contradiction("P-17", (1,), (2,), AT_ONCE)
    made = replace(made, traces=(replace(trace, contradictions=(against,)),))
    for language, words in (("en", "contradicts itself"), ("ko", "모순")):
        warned = [
            block.text
            for block in document(language, report=made).blocks
            if isinstance(block, Paragraph) and block.warning
        ]
        assert len(warned) == 2
        assert words in warned[0]
    assert "1 and 2: on two cameras at one time" in told(report=made)
    late = replace(made, traces=(replace(made.traces[0], hits=trace.hits[1:]),))
    against = replace(against, numbers=(2,), others=(3,))
    late = replace(late, traces=(replace(late.traces[0], contradictions=(against,)),))
    assert "1 and 2: on two cameras at one time" in told(report=late)  # the rows, not candidates


def test_receipts_that_contradict_are_warned_of() -> None:
    made = replace(r.report(), receipts=Receipts(7, (), problems=("c1 counts more",)))
    assert "Do not act on this report" in told(report=made)
    assert "Do not act" not in told()


def test_without_a_hit_it_says_so_and_that_candidates_wait() -> None:
    made = r.report()
    (trace,) = made.traces
    empty = replace(made, traces=(replace(trace, hits=(), candidates=trace.hits),))
    text = told(report=empty, around=r.around(empty))
    assert "P-17: no confirmed sighting." in text
    assert "6 sightings that were found are not confirmed by as many officers" in text
    assert "City Hall, lobby >" not in text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "action", "data", "xlink:href"} or name.startswith("on"):
                self.links.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def read(page: bytes) -> _Reader:
    reader = _Reader()
    reader.feed(page.decode())
    return reader


HOSTILE = '</td><script>alert(1)</script><img src="http://x/y" onerror=z>&#x202e;\u202e"\''


def hostile() -> Gathered:
    query = r.query(purpose_kind=HOSTILE)
    query = replace(query, purpose=HOSTILE)
    place = replace(r.PLACES.cameras["cam-1"], place=HOSTILE, room=None)
    places = replace(r.PLACES, cameras={**r.PLACES.cameras, "cam-1": place})
    told = r.gathered()
    return replace(
        told,
        case=replace(told.case, query=query),
        report=replace(told.report, query=query),
        around=replace(told.around, places=places),
        officer=HOSTILE,
    )


@pytest.mark.slow
def test_the_page_has_no_script_fetches_nothing_and_shows_hostile_texts_as_texts() -> None:
    page = as_html(document_of(hostile(), Words("en", r.SEOUL)))
    reader = read(page)
    assert {"script", "img", "link", "iframe", "object", "a"}.isdisjoint(reader.tags)
    assert reader.links == []
    assert reader.tags.count("svg") >= 3
    assert any("<script>alert(1)</script>" in said for said in reader.said)
    assert "\u202e" not in page.decode()
    assert b"default-src 'none'" in page
    assert re.findall(rb"url\((.{16})", page) == [b"data:font/woff;b"]


@pytest.mark.slow
def test_tables_and_languages_are_told_to_who_cannot_see() -> None:
    page = as_html(document("ko")).decode()
    assert '<html lang="ko">' in page
    assert page.count("<svg") == page.count("<title>") - 1
    assert 'scope="col"' in page
    assert 'scope="row"' in page


@pytest.mark.slow
def test_the_mark_is_on_the_page() -> None:
    made = document()
    assert s.query().query_id.hex()[:12] in made.mark
    assert "ana" in made.mark
    assert read(as_html(made)).said.count(made.mark) >= 7


@needs_poppler
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pdf_can_be_copied_from(language: str) -> None:
    made = document(language)
    text = copied(set_pdf(made))
    flat = "".join(text.split())
    assert "".join(made.title.split()) in flat
    shown = replace(made, blocks=tuple(b for b in made.blocks if not isinstance(b, Picture)))
    for said in texts(shown):
        for word in said.split():
            assert word in flat or word == "|" or word.endswith(":")
    assert s.fixed("root a", 32).hex() in flat
    pages = text.count("\f")
    assert text.count(made.mark) == pages  # at the foot; across the page it is drawn


@needs_poppler
def test_what_the_font_lacks_is_named_and_hostile_texts_stay_texts() -> None:
    text = copied(set_pdf(document_of(hostile(), Words("en", r.SEOUL))))
    assert "alert(1)" in "".join(text.split())
    odd = r.gathered()
    odd = replace(odd, officer="Ана \U0001f600")
    assert "[U+1F600]" in copied(set_pdf(document_of(odd, Words("en", r.SEOUL))))


@needs_poppler
def test_what_stands_for_the_number_of_pages_is_a_text_where_somebody_writes_it() -> None:
    told = r.gathered()
    query = replace(told.case.query, purpose="ward {nb} and \ue000, then {total}")
    text = copied(
        set_pdf(
            document_of(replace(told, case=replace(told.case, query=query)), Words("en", r.SEOUL))
        )
    )
    assert "ward {nb} and [U+E000], then {total}" in text


def copied(pdf: bytes) -> str:
    """What a reader copies out of a PDF."""
    run = ["pdftotext", "-", "-"]
    return subprocess.run(run, input=pdf, capture_output=True, check=True).stdout.decode()


@pytest.mark.slow
def test_texts_as_long_as_they_may_be_and_many_cameras_are_set_all_the_same() -> None:
    query = r.query()
    query = replace(
        query, cameras=tuple(f"cam-{number}" for number in range(1, 800)), purpose="한" * 1900
    )
    made = r.gathered()
    made = replace(
        made, case=replace(made.case, query=query), report=replace(made.report, query=query)
    )
    assert set_pdf(document_of(made, Words("en", r.SEOUL))).startswith(b"%PDF-")


@pytest.mark.slow
def test_times_that_a_box_made_up_spoil_no_report() -> None:
    made = r.report()
    (trace,) = made.traces
    met = tuple(replace(one, to_ms=1 << 61) for one in trace.hits[0].contacts)
    wild = replace(trace.hits[0], to_ms=1 << 61, contacts=met)
    made = replace(made, traces=(replace(trace, hits=(wild, *trace.hits[1:])),))
    of = document_of(r.gathered(report=made, around=r.around(made)), Words("ko", r.SEOUL))
    assert "9999-12-31" in "\n".join(texts(of))
    assert set_pdf(of).startswith(b"%PDF-")


@pytest.mark.slow
def test_the_pdf_is_one_and_has_only_its_own_font() -> None:
    pdf = set_pdf(document("ko"))
    assert pdf.startswith(b"%PDF-")
    assert b"/JavaScript" not in pdf
    assert b"/URI" not in pdf
    assert pdf.count(b"/FontFile") == 1
    assert len(pdf) < 2_000_000


def hours(camera: str, *states: str) -> list[CameraHour]:
    return [
        CameraHour(camera, r.BEGIN_MS + at * 3_600_000, state, 0) for at, state in enumerate(states)
    ]


def test_hours_in_a_row_that_were_not_watched_are_one_spell() -> None:
    listed = [*hours("cam-1", "watched", "blind", "blind", "unwatched"), *hours("cam-2", "blind")]
    spells = list(spells_of(listed))
    assert [(one.camera, one.state) for one in spells] == [
        ("cam-1", "blind"), ("cam-1", "unwatched"), ("cam-2", "blind"),
    ]  # fmt: skip
    assert spells[0].to_ms - spells[0].from_ms == 2 * 3_600_000


def test_cameras_that_missed_the_same_hours_share_a_line() -> None:
    blind = replace(r.report(), watching=None)
    (line,) = [one for one in told(report=blind).splitlines() if "not granted" in one]
    assert "City Hall, lobby (cam-1); Station, line 2 (cam-2)" in line


def test_a_city_for_two_weeks_is_told_by_the_table_alone() -> None:
    words = Words("en", r.SEOUL)
    many = [one for n in range(MOST_ROWS + 1) for one in hours(f"cam-{n}", "blind")]
    assert list(charts(many, {}, words)) == []
    assert len(list(charts(many[:-1], {}, words))) == 1


def test_a_report_holds_nothing_biometric() -> None:
    template = s.template()
    page = as_html(document())
    for secret in (template.row.tobytes(), template.salt, template.digest):
        assert secret.hex().encode() not in page


def test_contacts_of_sightings_that_are_not_confirmed_are_not_in_it() -> None:
    made = r.report()
    (trace,) = made.traces
    some = replace(made, traces=(replace(trace, hits=trace.hits[:1], candidates=trace.hits[1:]),))
    text = told(report=some, around=r.around(some))
    assert "Clinic" not in text.split("What the cameras watched", maxsplit=1)[0]


@pytest.mark.parametrize(
    "text",
    [
        '{"type": ["LineString"], "coordinates": [[0, 0], [1, 1]]}',
        '{"type": {"a": 1}}',
        '{"type": "MultiLineString", "coordinates": [[], []]}',
        '{"type": "LineString", "coordinates": [[1e999, 0], [1, 1]]}',
        '{"type": "LineString", "coordinates": [[NaN, 0], [1, 1]]}',
        '{"type": "FeatureCollection", "features": ' + "[" * 100_000,
    ],
)
def test_what_is_no_plan_is_refused_whatever_stands_in_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.geojson").write_text(text)
    with pytest.raises(PlanInvalid):
        read_plan(tmp_path / "plan.geojson")
