"""`sealtrace trace` against the real aggregator: opened here, decided by signature, exported."""

from __future__ import annotations

import csv
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import protocol_samples as s
import pytest
from candidates import candidate_of
from officer_site import OfficerSite
from store_file import altering
from typer.testing import Result

from officers import desk, query_cli
from officers.desk.handing_over import hand_over
from officers.trace_cli import app
from protocol.auditlog import Entry
from protocol.names import CameraAddress
from protocol.results import CONFIRMED, Candidate, Decision
from protocol.sightings import Encounter, MaskStatus
from protocol.signing import Signed
from runtime.http import ProblemError


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@dataclass
class Traced:
    """A query of ana's with four candidates: two in a row, one elsewhere, one unlikely."""

    site: OfficerSite
    id: str
    digest: bytes

    def run(self, *arguments: str, officer: str = "ana", answer: str | None = None) -> Result:
        return self.site.run(app, officer, *arguments, answer=answer)

    def values(self) -> dict[str, list[dict[str, object]]]:
        """The one subject's lists of stays."""
        (subject,) = json.loads(self.run("show", self.id, "--json").stdout)["subjects"]
        return {kind: subject[kind] for kind in ("hits", "candidates", "rejected")}

    def decisions(self) -> dict[bytes, Decision]:
        rows = self.site.aggregator.desk.results(self.site.record(self.id), reader="ana")
        return {
            number: Decision.parse(Signed.parse(signed, kind="decision").payload)
            for number, _, signed in rows
            if signed is not None
        }


def candidate(camera: str, from_s: int, to_s: int, *, log10_lr: float = 3.0) -> Candidate:
    return candidate_of(
        subject="P-17",
        address=CameraAddress(s.SITE, f"box-{camera[-1]}", camera),
        sighting_id=os.urandom(8),
        first_seen_ms=s.NOW_MS + from_s * 1000,
        last_seen_ms=s.NOW_MS + to_s * 1000,
        mask=MaskStatus.MASKED,
        mask_confidence=0.93,
        quality=0.8,
        modality="face",
        model=s.MODEL,
        score=0.7 + log10_lr / 100,
        log10_lr=log10_lr,
        encounters=(Encounter(b"stranger", 1.25, 4.0, MaskStatus.UNMASKED, 0.88),),
    )


@pytest.fixture
def traced(site: OfficerSite) -> Traced:
    path = str(site.subject_file("P-17"))
    printed = site.run(
        query_cli.app, "ana", "file", "--subject", path, "--all-cameras", "--from", "-2h",
        "--to", "now", "--purpose", "contact tracing", "--yes", "--json",
    )  # fmt: skip
    query_id = json.loads(printed.stdout)["id"]
    made = Traced(site, query_id, site.record(query_id).digest)
    for one in (
        candidate("cam-1", 0, 60),
        candidate("cam-1", 60, 75),
        candidate("cam-2", 300, 320, log10_lr=5.0),
        candidate("cam-1", 900, 905, log10_lr=0.5),
    ):
        site.add_candidate(one, made.digest)
    return made


def explained(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    for word in words:
        assert word in " ".join(result.output.split())


@pytest.mark.slow
def test_candidates_are_shown_likeliest_first_and_are_no_hits_yet(traced: Traced) -> None:
    shown = traced.run("show", traced.id)
    assert shown.exit_code == 0, shown.output
    numbers = re.findall(r"^ *([\d-]+)  cam-\d", shown.output, re.MULTILINE)
    assert numbers == ["3", "1-2", "4"]
    text = " ".join(shown.output.split())
    for words in ("no hits yet", "1 min 15 s", "mask 93%", "very strong for", "weak for",
                  "undecided", "1.2 m, 8.0 s, no mask 88%"):  # fmt: skip
        assert words in text


@pytest.mark.slow
def test_confirmed_candidates_make_the_trace_in_order_of_time(traced: Traced) -> None:
    result = traced.run("confirm", traced.id[:8], "3", "1-2", "--yes")
    assert result.exit_code == 0, result.output
    assert "confirmed: 1-3" in result.output
    values = traced.values()
    assert [hit["camera"] for hit in values["hits"]] == ["cam-1", "cam-2"]
    assert [hit["candidate_numbers"] for hit in values["hits"]] == [[1, 2], [3]]
    assert [stay["candidate_numbers"] for stay in values["candidates"]] == [[4]]
    assert {d.verdict for d in traced.decisions().values()} == {CONFIRMED}
    shown = traced.run("show", traced.id).output
    assert "2 hits" in shown
    assert "cam-1 > cam-2" in shown


@pytest.mark.slow
def test_numbers_stay_when_more_is_found(traced: Traced) -> None:
    traced.run("confirm", traced.id, "3", "--yes")
    traced.site.add_candidate(candidate("cam-2", 700, 710, log10_lr=5.5), traced.digest)
    (hit,) = traced.values()["hits"]
    assert hit["candidate_numbers"] == [3]
    assert traced.values()["candidates"][-1]["candidate_numbers"] == [4]
    assert len(traced.decisions()) == 1


@pytest.mark.slow
def test_confirming_all_refuses_two_places_at_once_and_does_it_anyway_if_told(
    traced: Traced,
) -> None:
    traced.site.add_candidate(candidate("cam-2", 0, 60, log10_lr=2.0), traced.digest)
    assert "not together with 1-2: on two cameras at one time" in " ".join(
        traced.run("show", traced.id).output.split()
    )
    explained(
        traced.run("confirm", traced.id, "--all", "--yes"),
        "on two cameras at one time", "--anyway",
    )  # fmt: skip
    register = traced.site.folder / "register.csv"
    register.write_text("camera,place\ncam-1,gate\ncam-2,gate\n")
    explained(
        traced.run("confirm", traced.id, "--all", "--yes", "--places", str(register)),
        "names none as the register of places",
    )
    assert traced.decisions() == {}
    assert traced.run("confirm", traced.id, "--all", "--anyway", "--yes").exit_code == 0
    assert "this trace is impossible as it stands" in traced.run("show", traced.id).output
    (subject,) = json.loads(traced.run("show", traced.id, "--json").stdout)["subjects"]
    (told,) = subject["cannot_all_be_true"]
    assert told["why"] == "on two cameras at one time"


@pytest.mark.slow
def test_a_decision_can_be_changed_and_rejected_ones_are_hidden(traced: Traced) -> None:
    traced.run("confirm", traced.id, "--all", "--yes")
    assert len(traced.values()["hits"]) == 3
    changed = traced.run("reject", traced.id, "4", "--yes")
    assert "rejected: 4" in changed.output
    assert [r["candidate_numbers"] for r in traced.values()["rejected"]] == [[4]]
    assert "1 rejected (--all shows them)" in traced.run("show", traced.id).output
    assert "weak for" in traced.run("show", traced.id, "--all").output
    assert "nothing to do" in traced.run("confirm", traced.id, "--all", "--yes").output


@pytest.mark.slow
def test_nothing_is_decided_without_a_yes_or_with_wrong_numbers(traced: Traced) -> None:
    explained(traced.run("confirm", traced.id, "1", answer="n\n"), "nothing was signed", "cam-1")
    explained(traced.run("confirm", traced.id, "7", "--yes"), "no candidate 7")
    explained(traced.run("confirm", traced.id, "x", "--yes"), "not a candidate's number")
    explained(traced.run("confirm", traced.id, "3-1", "--yes"), "not a candidate's number")
    explained(traced.run("confirm", traced.id, "--yes"), "--all")
    explained(traced.run("reject", traced.id, "1", "--all", "--yes"), "--all")
    assert traced.decisions() == {}


def test_results_open_for_the_investigator_who_asked_alone(traced: Traced) -> None:
    explained(traced.run("show", traced.id, officer="dan"), "ana's", "opens for nobody else")
    explained(traced.run("show", traced.id, officer="bo"), "takes an investigator")


def test_what_does_not_belong_to_the_query_is_left_out_and_told(traced: Traced) -> None:
    digest, own = traced.digest, s.sealing_key("ana").public
    traced.site.add_candidate(candidate("cam-1", 1, 2), digest, to=s.sealing_key("dan").public)
    traced.site.add_candidate(candidate("cam-9", 1, 2), digest, to=own)
    moved = candidate("cam-1", 1, 2).seal(own, query_digest=digest)
    with traced.site.aggregator.store.writing() as unit:
        unit.ledger.add_result(digest, os.urandom(16), {"ana": moved}, found_ms=0)
    shown = traced.run("show", traced.id)
    assert shown.exit_code == 0
    for number in (5, 6, 7):
        assert f"result {number} cannot be used" in shown.output
    assert sum(len(stays) for stays in traced.values().values()) == 3


@pytest.mark.slow
def test_a_forged_decision_confirms_nothing(traced: Traced) -> None:
    (number, _, _), *_ = traced.site.aggregator.desk.results(
        traced.site.record(traced.id), reader="ana"
    )
    forged = Decision(traced.digest, number, CONFIRMED, s.NOW_MS).sign(s.signing_key("dan"))
    with altering(traced.site.aggregator.store) as connection:
        connection.execute(
            "INSERT INTO decisions (query_digest, candidate_id, officer, signed, decided_ms)"
            " VALUES (?, ?, 'ana', ?, 0)",
            [traced.digest, number, forged.to_bytes()],
        )
    shown = traced.run("show", traced.id)
    assert "result 1 cannot be used" in shown.output
    assert traced.values()["hits"] == []


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "csv-line-list", "csv-contacts", "geojson"])
def test_an_export_is_private_whole_and_not_replaced_unasked(
    traced: Traced, form: str, tmp_path: Path
) -> None:
    traced.run("confirm", traced.id, "1", "2", "--yes")
    places = tmp_path / "places.csv"
    places.write_text("camera,lat,lon\ncam-1,48.2,16.3\n")
    out = tmp_path / "out"
    words = ["export", traced.id, "--format", form, "--out", str(out), "--cameras", str(places)]
    done = traced.run(*words, "--hits-only")
    assert done.exit_code == 0, done.output
    assert ": 1 hit\n" in done.output
    assert "no position is given for cam-2" in done.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    text = out.read_text()
    assert "undecided" not in text
    if form.startswith("csv"):
        (row,) = csv.DictReader(text.splitlines())
        assert row["subject"] == "P-17"
    else:
        json.loads(text)
    explained(traced.run(*words), "exists already")
    assert traced.run(*words, "--force").exit_code == 0
    assert out.read_text() != text


def exports(site: OfficerSite) -> int:
    entries = map(Entry.parse, site.aggregator.written_log.entries())
    return sum(entry.kind == "exported" for entry in entries)


def test_an_export_is_logged_before_there_is_a_file(traced: Traced, tmp_path: Path) -> None:
    before = exports(traced.site)
    words = ["export", traced.id, "--format", "json", "--out"]
    assert traced.run(*words, str(tmp_path / "a.json")).exit_code == 0
    assert exports(traced.site) == before + 1
    explained(traced.run(*words, str(tmp_path / "a.json")), "exists already")
    explained(traced.run(*words, str(tmp_path / "nowhere" / "a.json")), "is no folder")
    explained(traced.run(*words, str(tmp_path)), "is a folder")
    assert exports(traced.site) == before + 1


def test_nothing_is_written_that_the_aggregator_does_not_log(
    traced: Traced, tmp_path: Path
) -> None:
    out = tmp_path / "a.json"
    stranger = desk.Officer.load(traced.site.officer("dan"))
    with desk.connect(stranger) as session:
        case = session.case(traced.id)
        with pytest.raises(ProblemError, match="not sealed"):
            hand_over(session, case, "json", {out: b"{}"}, s.signing_key("dan"), overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_help_lists_the_forms_and_what_they_are(site: OfficerSite) -> None:
    shown = " ".join(site.run(app, "ana", "export", "--help").output.split())
    for words in ("csv-persons", "go-data-contacts", "go-data-cases", "fhir", "geojson"):
        assert words in shown


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv-persons", "go-data-contacts", "go-data-cases", "fhir"])
def test_a_contact_list_holds_confirmed_hits_alone(
    traced: Traced, form: str, tmp_path: Path
) -> None:
    traced.run("confirm", traced.id, "3", "--yes")
    out = tmp_path / "out"
    done = traced.run("export", traced.id, "--format", form, "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "not in it, since too few officers have confirmed them: " in done.output
    text = out.read_text()
    assert "cam-1" not in text
    assert "undecided" not in text


@pytest.mark.slow
def test_a_map_without_places_is_refused(traced: Traced, tmp_path: Path) -> None:
    result = traced.run("export", traced.id, "--format", "geojson", "--out", str(tmp_path / "x"))
    explained(result, "--cameras")
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_waiting_shows_what_there_is_when_time_runs_out(traced: Traced) -> None:
    shown = traced.run("show", traced.id, "--wait", "0")
    assert shown.exit_code == 0
    assert "awaiting-approvals" in shown.output
