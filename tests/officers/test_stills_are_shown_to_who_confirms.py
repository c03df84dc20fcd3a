"""A still is shown to officers who confirm hits, after its box and enough custodians agreed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import protocol_samples as s
import pytest
from still_site import BoxThatAnswers, picture, with_stills
from traced_query import ONE_CONFIRMS, TracedQuery, TracedSite, traced

from demo.ports import free_port
from officers import desk
from officers.desk.handing_over import hand_in_export
from officers.desk.jpeg_headers import picture_size
from officers.desk.still_export import check_exportable, still_to_hand_over
from officers.desk.stills import Still, no_still, show_still
from officers.trace_cli import app as trace_app
from protocol.about_queries import Withdrawal
from protocol.directory_forms import SECOND
from protocol.policy import parse_policy
from runtime.clock import system_ms
from runtime.errors import OperationError

NONE = ONE_CONFIRMS.replace(b"evidence_stills = 20", b"evidence_stills = 0")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TracedSite]:
    with closing(TracedSite(tmp_path, policy=ONE_CONFIRMS)) as one:
        yield one


@pytest.fixture
def query(site: TracedSite) -> TracedQuery:
    return with_stills(site)


@pytest.fixture
def box(site: TracedSite, query: TracedQuery) -> Iterator[BoxThatAnswers]:
    pictures = {query.rows[number]: picture() for number in (1, 2, 4)}
    one = BoxThatAnswers(site.aggregator.stills, site, pictures)
    with one.answering():
        yield one


@contextmanager
def looking(site: TracedSite, query: TracedQuery, name: str) -> Iterator[Looking]:
    officer, keys = site.person(name)
    with desk.connect(officer) as session:
        results = desk.open_results(session, desk.sealed_to_me(session, query.id), keys.sealing)
        yield Looking(session, results, keys)


class Looking:
    """An officer with a query's results open."""

    def __init__(self, session: desk.Session, results: desk.Results, keys: desk.Keys) -> None:
        self.session, self.results, self.keys = session, results, keys
        self.told: list[str] = []

    def still(self, number: int = 1, *, within_s: float = 20.0) -> Still:
        (item,) = desk.numbered(self.results, [number])
        return show_still(
            self.session, self.results, item, self.keys, tell=self.told.append, within_s=within_s
        )  # fmt: skip


@pytest.mark.slow
def test_both_who_confirm_see_the_still_and_each_step_is_told(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers
) -> None:
    for name in ("ana", "dan"):
        with looking(site, query, name) as officer:
            still = officer.still()
            assert still.absent is None
            assert bytes(still.jpeg) == picture()
            assert (still.opened, still.most) == (1, 2), "the same still costs nothing again"
            assert officer.told == [
                "Asking the box box-1 for the still",
                "Asking custodians for what opens it",
            ]
            still.close()
            assert still.jpeg == b""


@pytest.mark.slow
def test_a_still_that_is_on_its_way_is_not_asked_for_twice(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers
) -> None:
    with looking(site, query, "ana") as officer:
        assert officer.still().jpeg
        assert officer.still().jpeg
    assert len(box.heard) == 1


@pytest.mark.slow
def test_no_more_stills_open_than_the_query_asked_for(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers
) -> None:
    box.pictures = {**box.pictures, query.rows[3]: picture()}
    with looking(site, query, "ana") as officer:
        assert officer.still(1).jpeg
        assert officer.still(2).jpeg
        refused = officer.still(3)
    assert not refused.jpeg
    assert refused.final
    assert "evidence_stills permits 2" in str(refused.absent)


@pytest.mark.slow
def test_a_sighting_whose_row_was_not_opened_shows_nothing(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers
) -> None:
    with looking(site, query, "ana") as officer:
        refused = officer.still(4)
    assert not refused.jpeg
    assert "whose rows this custodian opened" in str(refused.absent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("none", "others-near"), "made no still of this sighting: other people could"),
        (("gone", "kept-no-longer"), "not on the box any more: it was older"),
        (("refused", "over-cap"), "does not send the still: the query's number"),
        (("refused", "new-reason"), "does not know (new-reason)"),
        (("refused", "no-such-query"), "no query stands that asks for stills here"),
        (("refused", "seen-before"), "it had answered this request before"),
        (("refused", "too-old"), "by its clock the request was too old"),
        (("later", "too-many"), "Try again in a minute"),
    ],
)
def test_a_box_that_sends_none_is_quoted_and_no_custodian_asked(
    site: TracedSite,
    query: TracedQuery,
    box: BoxThatAnswers,
    said: tuple[str, str],
    words: str,
) -> None:
    box.outcome = said
    with looking(site, query, "dan") as officer:
        absent = officer.still()
        assert officer.told == ["Asking the box box-1 for the still"]
    assert words in str(absent.absent)
    # What headquarters bring about, by keeping notices back or bringing a request again, is not.
    assert absent.final is (said[0] in {"none", "gone"} or said[1] == "over-cap")


@pytest.mark.slow
def test_a_silent_box_may_be_asked_again_and_waiting_can_be_stopped(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers
) -> None:
    box.silent = True
    with looking(site, query, "ana") as officer:
        absent = officer.still(within_s=0.3)
        assert "box-1 does not answer" in str(absent.absent)
        assert not absent.final
        (item,) = desk.numbered(officer.results, [1])
        stopped = show_still(
            officer.session, officer.results, item, officer.keys, cancelled=lambda: True
        )
        assert str(stopped.absent) == "Stopped waiting for the box."
        box.silent = False
        assert officer.still().jpeg


@pytest.mark.slow
def test_a_withdrawal_stops_stills(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers
) -> None:
    with looking(site, query, "ana") as officer:
        assert officer.still(1).jpeg
        gone = Withdrawal(query.digest, "found", system_ms()).sign(s.signing_key("bo"))
        site.aggregator.desk.withdraw(bytes.fromhex(query.id), gone.to_bytes())
        for custodian in site.custodians:
            custodian.withdrawals.submit(gone.to_bytes(), site.directory)
        refused = officer.still(2)
        assert "Headquarters does not ask the box" in str(refused.absent)
        assert not refused.final, "its word alone has nobody decide without a still"
        # What was sent before is with headquarters still, and opens no more.
        assert "Custodians do not open the still" in str(officer.still(1).absent)
    with looking(site, query, "ana") as officer:
        assert officer.still(1).absent == "The query is withdrawn, so nothing more opens for it."


@pytest.mark.slow
def test_custodians_that_are_away_may_come_back(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers
) -> None:
    with looking(site, query, "ana") as officer:
        away = replace(site.directory.principals["c2"], url=f"https://localhost:{free_port()}")
        principals = {**site.directory.principals, "c2": away}
        moved = replace(site.directory, principals=principals, version=site.directory.version + 1)
        officer.session.officer.take_directory(moved.sign(s.authority(), SECOND).to_bytes())
        absent = officer.still()
    assert "1 of 2 that must agree" in str(absent.absent)
    assert "c2: " in str(absent.absent)
    assert not absent.final


@pytest.mark.slow
@pytest.mark.parametrize(
    "data", [b"<svg onload=alert(1)>", picture() + b"more", picture(1200, 40), b""]
)
def test_what_is_no_plain_picture_is_not_shown(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers, data: bytes
) -> None:
    box.pictures = {query.rows[1]: data}
    with looking(site, query, "ana") as officer:
        still = officer.still()
    assert not still.jpeg
    assert "is no still" in str(still.absent)
    assert still.final


@pytest.mark.slow
def test_an_answer_that_is_another_officers_or_sightings_shows_nothing(
    site: TracedSite, query: TracedQuery, box: BoxThatAnswers
) -> None:
    box.change = lambda answer: replace(answer, sealed=answer.sealed[:-1] + b"\0")
    with looking(site, query, "ana") as officer:
        assert "does not open" in str(officer.still().absent)


def exported(query: TracedQuery, officer: Looking, number: int) -> bytes:
    (item,) = desk.numbered(officer.results, [number])
    prepared = still_to_hand_over(officer.session, officer.results, item, officer.still(number))
    signed = prepared.unsigned.by_key(officer.keys.identity)
    hand_in_export(officer.session, officer.results.case, prepared, signed)
    ((name, content),) = prepared.files.items()
    assert name == f"still-{query.id[:12]}-{number}.jpg"
    return content


@pytest.mark.slow
def test_a_still_leaves_as_a_file_where_the_policy_says_so_of_hits_alone_and_marked(
    tmp_path: Path,
) -> None:
    policy = ONE_CONFIRMS.replace(
        b"evidence_stills = 20", b"evidence_stills = 20\nevidence_export = true"
    )
    with closing(TracedSite(tmp_path, policy=policy)) as site:
        query = with_stills(site)
        box = BoxThatAnswers(site.aggregator.stills, site, {query.rows[1]: picture()})
        with box.answering():
            with (
                looking(site, query, "ana") as officer,
                pytest.raises(OperationError, match="no confirmed hit"),
            ):
                exported(query, officer, 1)
            query.decide("ana", "confirmed", 1)
            with looking(site, query, "ana") as officer:
                content = exported(query, officer, 1)
            to = tmp_path / "still.jpg"
            done = site.run(trace_app, "ana", "still", query.id[:8], "1", "--out", str(to))
            assert done.exit_code == 0, done.output
            refused = site.run(trace_app, "ana", "still", query.id, "2", "--out", f"{to}2")
    assert picture_size(to.read_bytes()) == picture_size(content)
    assert to.stat().st_mode & 0o777 == 0o600
    assert (refused.exit_code, "no confirmed hit" in refused.output) == (1, True)
    size = picture_size(content)
    assert size.height > 320, "the words stand beneath it too"
    before, after = (
        np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), int)
        for data in (picture(), content)
    )
    changed = np.abs(before - after[:320, :240]) > 60
    parts = [changed[y : y + 80, x : x + 80] for y in (0, 80, 160, 240) for x in (0, 80, 160)]
    assert all(part.mean() > 0.01 for part in parts), "no part is without the mark"


@pytest.mark.slow
def test_no_still_leaves_as_a_file_without_the_policy(site: TracedSite, query: TracedQuery) -> None:
    query.decide("ana", "confirmed", 1)
    with looking(site, query, "ana") as officer:
        (item,) = desk.numbered(officer.results, [1])
        with pytest.raises(OperationError, match="evidence_export"):
            check_exportable(item, officer.session.officer.policy)


@pytest.mark.slow
def test_what_can_have_no_still_asks_nobody(site: TracedSite, query: TracedQuery) -> None:
    plain = traced(site)
    plain.show("cam-1", 300, 310)
    with looking(site, plain, "ana") as officer:
        still = officer.still()
        assert still.absent == "The query asks for no stills."
        assert still.final
        assert officer.told == []
    with looking(site, query, "ana") as officer:
        (item,) = desk.numbered(officer.results, [1])
        none, some = parse_policy(NONE), officer.session.officer.policy
        assert no_still(officer.results, item, some) is None
        assert no_still(officer.results, item, none) == "The site's policy permits no stills."
        first = replace(item, candidate=replace(item.candidate, name=None))
        assert "of an earlier version" in str(no_still(officer.results, first, some))
