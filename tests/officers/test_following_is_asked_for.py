"""Following by clothes is asked for by name, told to approvers, and believed of what was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import protocol_samples as s
import pytest
import query_samples_v2 as q2
from candidates import opened_candidate
from officer_site import PASSPHRASE, OfficerSite
from opened_rows import row_name

from officers import desk
from officers.desk.api_client import StoredResult
from officers.desk.case import Case, open_case
from officers.desk.results import open_candidates
from officers.desk.subjects import DraftInvalid
from officers.query_cli import app
from protocol.query import Asked
from protocol.results import Candidate
from protocol.sightings import MaskStatus, quantise_template
from protocol.templates import SALT_BYTES, Template
from protocol.v2.sightings import Row

CLOTHES = "clothes-256@0123456789abcdef"
PERMITTED = b"""policy_schema = 2
confirmations = 1
purposes = ["exercise"]
enrolment_without_witness = true
continuation = true
continuation_minutes = 45
continuation_cameras = 2
"""
FLOOR = b'[threshold_floor]\n"%s" = 0.6' % CLOTHES.encode()
POLICY = PERMITTED + s.POLICY_TEXT.replace(b"[threshold_floor]", FLOOR)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("following"), policy=POLICY)
    yield made
    made.close()


@pytest.mark.slow
def test_a_query_that_follows_opens_clothes_at_the_policys_least_threshold_and_says_so(
    site: OfficerSite,
) -> None:
    filed = site.run(
        app, "ana", "file", "--subject", str(site.subject_file("P-17")), "--camera", "cam-1",
        "--from", "-2h", "--to", "now", "--purpose", "contact tracing", "--continuation", "--yes",
        "--json",
    )  # fmt: skip
    assert filed.exit_code == 0, filed.output
    summary = json.loads(filed.stdout)
    assert summary["approvals_needed"] == 3
    query = site.record(summary["id"]).query
    assert query.asks == Asked(continuation=True)
    assert query.modalities == ("appearance", "face")
    assert dict(query.thresholds) == {s.MODEL: 0.55, CLOTHES: 0.6}
    told = " ".join(site.run(app, "bo", "show", summary["id"]).output.split())
    assert "45 minutes before and after, over these cameras" in told
    assert "identifies nobody" in told
    assert "1 for continuation" in told


@pytest.mark.slow
def test_where_the_policy_knows_no_model_of_clothes_nothing_is_signed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    bare = OfficerSite(tmp_path_factory.mktemp("bare"), policy=PERMITTED + s.POLICY_TEXT)
    try:
        officer = desk.Officer.load(bare.officer("ana"))
        with desk.connect(officer) as session:
            now = datetime.now(UTC)
            scope = desk.scope(session, ["cam-1"], now - timedelta(hours=2), now)
            asked = desk.Request(
                scope, (bare.subject_file("P-17"),), purpose="x", asks=Asked(continuation=True)
            )
            sealing = desk.unlock(officer, PASSPHRASE.encode()).sealing
            with pytest.raises(DraftInvalid, match="threshold_floor for 0 models"):
                closing(desk.draft(session, asked, sealing))
    finally:
        bare.close()


def test_clothes_beside_a_face_are_compared_only_where_that_is_asked_for(
    site: OfficerSite,
) -> None:
    row, scale = quantise_template(np.eye(1, 256)[0])
    worn = Template("appearance", CLOTHES, bytes(SALT_BYTES), row, scale)
    both = site.write_subject("P-18", [s.template("P-18"), worn])
    file = (
        "file", "--subject", str(both), "--camera", "cam-1", "--from", "-2h", "--to", "now",
        "--purpose", "contact tracing", "--threshold", "0.7", "--yes", "--json",
    )  # fmt: skip
    filed = site.run(app, "ana", *file)
    assert filed.exit_code == 0, filed.output
    assert site.record(json.loads(filed.stdout)["id"]).query.modalities == ("face",)
    asked = site.run(app, "ana", *file, "--modality", "face", "--modality", "appearance")
    assert asked.exit_code == 0, asked.output
    query = site.record(json.loads(asked.stdout)["id"]).query
    assert query.modalities == ("appearance", "face")


START_MS = s.query().window_from_ms


def case_of(**changes: object) -> Case:
    query = replace(q2.query(asks=Asked(continuation=True)), **changes)  # type: ignore[arg-type]
    signed = query.sign(s.signing_key("ana"))
    return open_case(signed.to_bytes(), s.query().query_id.hex(), s.directory())


def found(number: int, *, follows: int | None = None) -> Candidate:
    """A candidate by face, or one that goes on from another."""
    row = Row(START_MS + number * 60_000, START_MS + number * 60_000 + 10, MaskStatus.MASKED, 1, 1)
    one = opened_candidate(row_name(number, at_ms=START_MS), row, site=s.SITE)
    if follows is None:
        return one
    hit = row_name(follows, at_ms=START_MS)
    return replace(one, modality="appearance", log10_lr=None, follows=hit)


def opened(case: Case, *candidates: Candidate) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """Return the hit that each candidate goes on from, and what cannot be used."""
    stored = [
        StoredResult(
            one.candidate_id(case.digest),
            one.seal(s.sealing_key("ana").public, query_digest=case.digest),
            None,
        )
        for one in candidates
    ]
    items, problems = open_candidates(stored, case, s.sealing_key("ana"), s.directory())
    return tuple(item.follows for item in items), problems


def test_who_was_followed_is_told_by_the_number_of_the_hit() -> None:
    assert opened(case_of(), found(1), found(2), found(3, follows=1)) == ((None, None, 1), ())


def test_who_goes_on_from_nobody_that_is_listed_is_not_used() -> None:
    follows, problems = opened(case_of(), found(2), found(3, follows=1))
    assert follows == (None,)
    assert "a hit that is not among the results" in problems[0]
    follows, problems = opened(case_of(), found(1), found(2, follows=1), found(3, follows=2))
    assert follows == (None, 1)
    assert len(problems) == 1


@pytest.mark.slow
def test_who_was_followed_for_a_query_that_follows_nobody_is_not_used() -> None:
    follows, problems = opened(case_of(asks=Asked()), found(1), found(3, follows=1))
    assert follows == (None,)
    assert "the query follows nobody" in problems[0]


@pytest.mark.slow
def test_a_likelihood_ratio_of_somebody_who_was_followed_is_not_believed() -> None:
    lying = replace(found(3, follows=1), log10_lr=6.0)
    follows, problems = opened(case_of(), found(1), lying)
    assert follows == (None,)
    assert "by something else than clothes" in problems[0]
