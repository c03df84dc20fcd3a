"""An investigator asks by clothes in words; everyone reads which, and that they identify nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from officer_site import OfficerSite
from typer.testing import Result

from officers.desk.by_words import expected_by_words
from officers.query_cli import app
from officers.trace_cli import app as trace
from protocol import hpke
from protocol.enrolment import WitnessSheet
from protocol.names import CameraAddress
from protocol.policy import BY_WORDS
from protocol.query import Query
from protocol.results import Candidate
from protocol.templates import SubjectFile, Template
from runtime.officer import load_officer
from runtime.subject_files import sheet_path

CLOTHES = f"clothes-{s.DIMENSION}@0123456789abcdef"
WORDS = "red jacket, dark trousers"
FLOORS = f'[threshold_floor]\n"{CLOTHES}" = 0.6\n"{BY_WORDS}{CLOTHES}" = 0.12'.encode()
POLICY = (
    b'policy_schema = 2\nconfirmations = 1\npurposes = ["exercise"]\ncontinuation = true\n'
    b"continuation_minutes = 30\ncontinuation_cameras = 3\n" + s.POLICY_TEXT
).replace(b"[threshold_floor]", FLOORS)
NOTE = f"by words: {WORDS}; a ranking aid, identifies nobody"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"), policy=POLICY)
    yield made
    made.close()


def described(site: OfficerSite, pseudonym: str = "W-3", words: str = WORDS) -> Path:
    """A subject file of words (without: of a picture), its sheet signed by a second officer."""
    made = s.template(pseudonym)
    template = Template("appearance", CLOTHES, made.salt, made.row, made.scale)
    owner: hpke.PublicKey = s.sealing_key("ana").public
    subject = SubjectFile.enrol(
        pseudonym, "order 12/31", [template], owner, enrolled_at_ms=s.NOW_MS,
        consent_document=s.fixed("order", 32), investigator_name="ana", words=words,
    )  # fmt: skip
    path = site.folder / f"{pseudonym}.subject"
    path.write_bytes(subject.to_bytes())
    signed = WitnessSheet.of(subject).signed_by(s.signing_key("di"), witnessed_at_ms=s.NOW_MS)
    sheet_path(path).write_bytes(signed.to_bytes())
    return path


def file(site: OfficerSite, *more: str) -> Result:
    return site.run(
        app, "ana", "file", "--camera", "cam-1", "--from", "-2h", "--to", "now", "--purpose",
        "where they went", "--yes", "--json", "--legal-basis", "statutory-order", *more,
    )  # fmt: skip


def filed(site: OfficerSite, result: Result) -> Query:
    assert result.exit_code == 0, result.output
    query: Query = site.record(json.loads(result.stdout[result.stdout.index("{") :])["id"]).query
    return query


def said(result: Result) -> str:
    return " ".join(result.output.split())


@pytest.mark.slow
def test_words_are_in_the_query_in_the_facts_and_in_the_trace(site: OfficerSite) -> None:
    result = file(site, "--subject", str(described(site)))
    query = filed(site, result)
    assert "others rank among them and before them" in said(result)
    (subject,) = query.subjects
    assert subject.words == WORDS
    assert query.thresholds == {CLOTHES: 0.12}, "the policy's least for words"
    shown = site.run(app, "bo", "show", query.query_id.hex())
    assert NOTE in said(shown)
    assert "0.120 for clothes" in said(shown) and "the policy's least: 0.120" in said(shown)
    told = json.loads(site.run(app, "bo", "show", query.query_id.hex(), "--json").stdout)
    assert told["query"]["subjects"][0]["words"] == WORDS
    candidate = Candidate(
        subject="W-3", address=CameraAddress(s.SITE, "box-1", "cam-1"), sighting_id=b"12345678",
        row=v2.sighting("one").row, modality="appearance", model=CLOTHES, score=0.2, log10_lr=None,
        name=None, episode=b"episode!",
    )  # fmt: skip
    site.add_candidate(candidate, site.record(query.query_id.hex()).digest)
    found = said(site.run(trace, "ana", "show", query.query_id.hex()))
    assert NOTE in found
    assert "most alike first: a ranked list, which identifies nobody" in found
    assert "likeliest first" not in found
    values = json.loads(site.run(trace, "ana", "show", query.query_id.hex(), "--json").stdout)
    assert values["subjects"][0]["by_words"] == NOTE


def test_where_nobody_counted_everybody_in_scope_may_be_dressed_so(site: OfficerSite) -> None:
    config = load_officer(site.officer("ana"))
    assert config.bundle is None
    assert expected_by_words(100, 2, {CLOTHES: 0.12}, config) == 200


@pytest.mark.slow
def test_beside_words_nothing_else_is_filed(site: OfficerSite) -> None:
    words = described(site, "W-5")
    both = file(site, "--subject", str(words), "--subject", str(described(site, "P-7", "")))
    assert both.exit_code == 1
    assert "which nothing else can be compared beside" in said(both)
    followed = file(site, "--subject", str(words), "--continuation")
    assert followed.exit_code == 1
    assert "whoever is found is nobody known" in said(followed)


@pytest.mark.slow
def test_a_threshold_below_the_floor_for_words_is_refused(site: OfficerSite) -> None:
    refused = file(site, "--subject", str(described(site, "W-6")), "--threshold", "0.05")
    assert refused.exit_code == 1
    assert "below the policy's 0.120" in said(refused)
