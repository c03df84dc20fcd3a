"""An investigator names an earlier sighting in place of photographs; approvers read which one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from officer_site import OfficerSite
from typer.testing import Result

from officers.desk.by_example import Shown
from officers.desk.example_names import example_text, parse_example
from officers.desk.subjects import DraftInvalid
from officers.query_cli import app
from protocol.names import CameraAddress, SightingName, epoch_of, slot_of
from protocol.policy import parse_policy
from protocol.query import Query
from protocol.results import Candidate

CLOTHES = f"clothes-{s.DIMENSION}@0123456789abcdef"
POLICY = (
    b'policy_schema = 2\nconfirmations = 1\npurposes = ["exercise"]\n' + s.POLICY_TEXT
).replace(b"[threshold_floor]", b'[threshold_floor]\n"%s" = 0.6' % CLOTHES.encode())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"), policy=POLICY)
    yield made
    made.close()


def an_hour_ago() -> SightingName:
    moment_ms = int((datetime.now(UTC) - timedelta(hours=1)).timestamp()) * 1000
    return SightingName(
        "box-1",
        "cam-1",
        epoch_of(moment_ms),
        7,
        slot_of(moment_ms),
        b"\x00\xa1\xb2\xc3\xd4\xe5\xf6\x07",
    )


def file(site: OfficerSite, *more: str, camera: str = "cam-1") -> Result:
    return site.run(
        app, "ana", "file", "--camera", camera, "--from", "-2h", "--to", "now", "--purpose",
        "where they went", "--yes", "--json", *more,
    )  # fmt: skip


def by_order(site: OfficerSite, *more: str) -> Result:
    return file(site, "--legal-basis", "statutory-order", *more)


def filed(site: OfficerSite, result: Result) -> Query:
    assert result.exit_code == 0, result.output
    start = result.stdout.index("{")
    query: Query = site.record(json.loads(result.stdout[start:])["id"]).query
    return query


def said(result: Result) -> str:
    return " ".join(result.output.split())


def test_a_name_is_written_and_read_in_one_word() -> None:
    name = SightingName("box-1", "cam-1", s.EPOCH, 7, 41, bytes.fromhex("00a1b2c3d4e5f607"))
    assert example_text(name) == "box-1/cam-1/2026-02-16T10:15Z/7/00a1b2c3d4e5f607"
    assert parse_example(f" {example_text(name)} ") == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "box-1/cam-1/2026-02-16T10:15Z/7",
        "box-1/cam-1/2026-02-16T10:16Z/7/00a1b2c3d4e5f607",
        "box-1/cam-1/2026-02-30T10:15Z/7/00a1b2c3d4e5f607",
        "box-1/cam-1/2026-02-16T10:15/7/00a1b2c3d4e5f607",
        "box-1/cam-1/2026-02-16T10:15Z/-7/00a1b2c3d4e5f607",
        "box-1/cam-1/2026-02-16T10:15Z/7/00a1",
        "box 1/cam-1/2026-02-16T10:15Z/7/00a1b2c3d4e5f607",
        "box-1/cam-1/1926-02-16T10:15Z/7/00a1b2c3d4e5f607",
    ],
)
def test_what_names_no_sighting_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(DraftInvalid, match="write BOX/CAMERA/QUARTER-HOUR/GENERATION/ID"):
        parse_example(text)


@pytest.mark.slow
def test_on_an_order_somebody_is_looked_for_by_a_sighting_alone(site: OfficerSite) -> None:
    name = an_hour_ago()
    more = ("--example", example_text(name), "--pseudonym", "W-3", "--reference", "order 12/31")
    query = filed(site, by_order(site, *more))
    (subject,) = query.subjects
    assert (subject.pseudonym, subject.consent_reference) == ("W-3", "order 12/31")
    assert (subject.templates, subject.examples) == ((), (name,))
    assert query.modalities == ("appearance",), "the only one that the policy permits on an order"
    assert query.thresholds == parse_policy(POLICY).threshold_floor
    shown = site.run(app, "bo", "show", query.query_id.hex())
    assert "1 earlier sighting in place of photographs" in said(shown)
    assert example_text(name) in said(shown)
    assert "for the matching process alone, once that quarter hour is opened" in said(shown)
    assert "the earlier sightings are W-3's is ana's word alone" in said(shown)
    assert "3 needed: 2 of every query, 1 for statutory-order" in said(shown)
    resumed = site.run(app, "ana", "resume", query.query_id.hex())
    assert f"resumed: {query.query_id.hex()}" in said(resumed), "without a subject file"
    told = json.loads(site.run(app, "bo", "show", query.query_id.hex(), "--json").stdout)
    assert told["query"]["subjects"][0]["examples"] == [example_text(name)]


@pytest.mark.slow
def test_a_candidate_of_a_query_that_the_officer_reads_is_an_example(site: OfficerSite) -> None:
    first = filed(site, file(site, "--subject", str(site.witnessed_file("P-17"))))
    digest = site.record(first.query_id.hex()).digest
    name = an_hour_ago()
    found = Candidate(
        subject="P-17", address=CameraAddress(s.SITE, name.box, name.camera),
        sighting_id=name.sighting_id, row=v2.sighting("one").row, modality="appearance",
        model=CLOTHES, score=0.8, log10_lr=None, name=name, episode=b"episode!",
    )  # fmt: skip
    site.add_candidate(found, digest)
    of = f"{first.query_id.hex()[:8]}:1"
    query = filed(site, by_order(site, "--example-of", of, "--reference", "order 12/31"))
    (subject,) = query.subjects
    assert (subject.pseudonym, subject.consent_reference) == ("P-17", "order 12/31")
    assert subject.examples == (name,)
    assert query.thresholds == {CLOTHES: 0.6}, "the space in which it was compared"
    again = filed(
        site, by_order(site, "--example-of", of, "--threshold", "0.8", "--pseudonym", "W-4")
    )
    assert (again.subjects[0].pseudonym, again.thresholds) == ("W-4", {CLOTHES: 0.8})
    assert again.subjects[0].consent_reference == "consent 2026/17"
    nobody = by_order(site, "--example-of", f"{first.query_id.hex()[:8]}:9")
    assert "there is no candidate 9" in said(nobody)
    old = replace(found, sighting_id=b"of old!!", name=None, episode=None)
    site.add_candidate(old, digest)
    refused = by_order(site, "--example-of", f"{first.query_id.hex()[:8]}:2")
    assert "was sealed in version 1, which gives no examples" in said(refused)


def test_beside_a_subject_file_an_example_is_of_that_subject(site: OfficerSite) -> None:
    name = an_hour_ago()
    subject_file = str(site.witnessed_file("P-17"))
    query = filed(
        site,
        file(
            site, "--subject", subject_file, "--example", example_text(name), "--modality", "face",
            "--modality", "appearance",
        ),
    )  # fmt: skip
    (subject,) = query.subjects
    assert (subject.pseudonym, len(subject.templates), subject.examples) == ("P-17", 1, (name,))
    assert query.modalities == ("appearance", "face")
    assert query.thresholds[s.MODEL] == 0.55, "the usual one of its templates' model"
    assert query.thresholds[CLOTHES] == 0.6


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "say whom to look for"),
        (("--example", "somebody"), "names no sighting"),
        (("--example-of", "3f2a91"), "is not ID:NUMBER"),
        (("--example", "NAME"), "--pseudonym must be a text"),
        (("--example", "NAME", "--pseudonym", "W-3"), "--reference must be a text"),
        (
            ("--example", "NAME", "--pseudonym", "W-3", "--reference", "x", "--camera", "cam-2"),
            "",
        ),
    ],
)
def test_what_makes_no_query_by_example_is_said(
    site: OfficerSite, more: tuple[str, ...], words: str
) -> None:
    options = [example_text(an_hour_ago()) if one == "NAME" else one for one in more]
    result = by_order(site, *options)
    assert (result.exit_code == 0) == (not words), result.output
    assert words in said(result)


def test_an_example_elsewhere_than_the_query_looks_is_refused_before_it_is_signed(
    site: OfficerSite,
) -> None:
    before = len(site.aggregator.desk.everything())
    result = file(
        site, "--legal-basis", "statutory-order", "--example", example_text(an_hour_ago()),
        "--pseudonym", "W-3", "--reference", "order 12/31", camera="cam-2",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "does not ask to open" in said(result)
    assert len(site.aggregator.desk.everything()) == before


@pytest.mark.slow
def test_two_subjects_share_no_example_and_the_modality_has_to_be_said(
    site: OfficerSite, tmp_path: Path
) -> None:
    name = example_text(an_hour_ago())
    files = [str(site.witnessed_file(pseudonym)) for pseudonym in ("P-17", "P-18")]
    both = file(site, "--subject", files[0], "--subject", files[1], "--example", name)
    assert "examples are of one subject" in said(both)
    unsaid = file(site, "--example", name, "--pseudonym", "P-17", "--reference", "consent 1")
    assert "say with --modality by what the example is compared" in said(unsaid)


@pytest.mark.slow
def test_a_query_of_the_first_form_names_no_example(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    older = OfficerSite(tmp_path_factory.mktemp("older"))
    try:
        result = by_order(
            older,
            "--example",
            example_text(an_hour_ago()),
            "--pseudonym",
            "W-3",
            "--reference",
            "x",
        )
    finally:
        older.close()
    assert result.exit_code == 1
    assert "of the first schema, whose queries name no examples" in said(result)


@pytest.mark.slow
def test_without_a_floor_or_with_too_many_the_space_has_to_come_from_a_result() -> None:
    policy = parse_policy(POLICY)
    for floors in ({}, {f"m{number}-64@0123456789abcdef": 0.5 for number in range(9)}):
        with pytest.raises(DraftInvalid, match="--example-of, which knows its model"):
            Shown((an_hour_ago(),)).thresholds(
                None, replace(policy, threshold_floor=floors), ("face",)
            )
