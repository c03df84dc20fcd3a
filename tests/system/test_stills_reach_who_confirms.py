"""Stills over real processes: asked by who confirms, opened by custodians, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from puppet_box import person, slots_ago
from puppet_still_box import PuppetStillBox
from query_desk import Case, QueryDesk, template_of
from running_site import SERVERS, RunningSite, plan_with_dan
from still_site import picture

from demo.local_site import PASSPHRASE
from demo.wiretap import Wiretap
from officers import desk
from protocol.names import SLOT_MS
from protocol.query import Asked
from protocol.sightings import quantise_template
from protocol.signing import Signed
from protocol.v2.stills import STILL_ANSWER_KIND, StillAnswer, StillRequest
from runtime.http import ProblemError

PICTURE = picture()
SUBJECT = person(1)


@dataclass
class Watched:
    """A site whose one box keeps stills, everything that crosses its broker, and a query."""

    site: RunningSite
    box: PuppetStillBox
    tap: Wiretap
    queries: QueryDesk
    case: Case

    @contextmanager
    def results(self, name: str) -> Iterator[tuple[desk.Session, desk.Results, desk.Keys]]:
        """Open the results as an officer does."""
        officer = desk.Officer.load(self.site.local.officer(name))
        keys = desk.unlock(officer, PASSPHRASE.encode())
        with desk.connect(officer) as session:
            case = desk.sealed_to_me(session, self.case.id)
            yield session, desk.open_results(session, case, keys.sealing), keys

    def still(self, name: str, number: int) -> desk.Still:
        """Have an officer look at a candidate's still."""
        with self.results(name) as (session, results, keys):
            (item,) = desk.numbered(results, [number])
            return desk.show_still(session, results, item, keys)

    def asked(self, by: str = "ana") -> bytes:
        """Return a signed request for a still of the box."""
        request = StillRequest(
            self.site.plan.site, self.case.signed.digest, "box-1",
            tuple(self.box.stills)[:1], bytes(16), self.box.now_ms,
        )  # fmt: skip
        return request.sign(self.site.signing(by)).to_bytes()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("stills")
    plan = plan_with_dan(
        {"cam-1": {"source": "file:none.mp4"}}, bundle=None, policy={"evidence_stills": 5}
    )
    site = RunningSite(plan, folder)
    try:
        site.start(*SERVERS)
        box = PuppetStillBox(site, "box-1")
        with site.tapped() as tap, box:
            slot_ms = slots_ago(3)
            box.watch(slot_ms, PICTURE, SUBJECT, SUBJECT, SUBJECT, person(2))
            site.wait_stored("cam-1", 2)
            queries = QueryDesk(site)
            case = queries.draft(
                [template_of(*quantise_template(SUBJECT))], ["cam-1"], slot_ms, slot_ms + SLOT_MS,
                confirmers=("dan",), asks=Asked(evidence_stills=2),
            )  # fmt: skip
            queries.file(case)
            queries.approve(case)
            queries.wait(case, "complete")
            yield Watched(site, box, tap, queries, case)
    finally:
        site.stop()


def test_nothing_leaves_unasked_and_each_who_confirms_sees_the_still(watched: Watched) -> None:
    assert watched.tap.messages("/stills") == []
    assert watched.tap.messages("/still-requests") == []
    for name in ("ana", "dan"):
        still = watched.still(name, 1)
        assert still.absent is None
        assert bytes(still.jpeg) == PICTURE
        assert (still.opened, still.most) == (1, 2)
        still.close()
    answers = [
        StillAnswer.parse(Signed.parse(one.payload, kind=STILL_ANSWER_KIND).payload)
        for one in watched.tap.messages("/stills")
    ]
    assert [one.officer for one in answers] == ["ana", "dan"]


def test_no_more_open_than_were_approved(watched: Watched) -> None:
    assert watched.still("dan", 2).jpeg
    third = watched.still("ana", 3)
    assert not third.jpeg
    assert "evidence_stills permits 2" in str(third.absent)


def test_nobody_else_has_the_box_asked(watched: Watched) -> None:
    path, heard = f"/v1/queries/{watched.case.id}/stills", len(watched.box.heard)
    for caller, signer, problem in (
        ("bo", "bo", "not-a-reader"),
        ("eve", "ana", "not-a-reader"),
        ("dan", "ana", "not-authorized"),
        ("ana", "aggregator", "unknown-signer"),
    ):
        data = watched.asked(by=signer)
        assert watched.site.problem(caller, "aggregator", path, data) == problem
    for name in ("bo", "eve"):
        with pytest.raises(ProblemError):
            watched.site.call(name, "aggregator", "GET", path)
    assert len(watched.box.heard) == heard


def test_the_picture_stands_plain_on_no_wire_and_no_disk(watched: Watched) -> None:
    assert watched.still("ana", 1).jpeg
    part = PICTURE[600:664]
    assert not [one.topic for one in watched.tap.messages() if part in one.payload]
    files = [path for path in watched.site.local.files() if part in _read(path)]
    assert files == []


def test_the_audit_counts_what_was_sent_and_names_a_box_that_did_not_count(
    watched: Watched, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        watched.still("ana", number).close()
    run, logs = watched.site.local.run, str(tmp_path / "logs")
    run("eve", "audit", "fetch", "--out", logs)
    told = run("eve", "audit", "verify", logs)
    assert "stills-unasked" not in told
    assert "boxes sent stills of 3 sightings; the query permits 2" in told
    assert told.splitlines()[-1].startswith("sound")  # its last entries may not be cosigned yet


def test_a_withdrawal_stops_stills_at_headquarters_and_at_custodians(watched: Watched) -> None:
    site, gone = watched.site, watched.queries.withdrawal(watched.case, "bo").to_bytes()
    path = f"/v1/queries/{watched.case.id}"
    site.post("bo", "aggregator", f"{path}/withdrawals", gone)
    for custodian in site.directory.custodians():
        site.post("bo", custodian, "/v1/withdrawals", gone)
    assert site.problem("ana", "aggregator", f"{path}/stills", watched.asked()) == "query-withdrawn"
    absent = watched.still("dan", 1)
    assert not absent.jpeg
    assert absent.final


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone meanwhile
        return b""
