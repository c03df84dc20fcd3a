"""The aggregator takes in, asks custodians for, and matches a query of either form alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from answered_query import Site

from aggregator.views import query_view
from protocol.enrolment import WitnessSheet
from protocol.query import Subject, TemplateReference
from protocol.results import Candidate

REFERENCE = TemplateReference("face", s.MODEL, s.template("person 1").digest)
SHEET = WitnessSheet("P-17", "a form", q2.DOCUMENT, (REFERENCE,), s.NOW_MS, "ana")
WITNESSED = SHEET.signed_by(s.signing_key("di"), witnessed_at_ms=s.NOW_MS)
FIRST: dict[str, object] = {}
SECOND: dict[str, object] = {
    "policy": q2.POLICY,
    "version": 2,
    "purpose_kind": "exercise",
    "subjects": (Subject("P-17", "a form", (REFERENCE,), witnessed=WITNESSED.statement),),
}


def candidates(site: Site) -> list[Candidate]:
    record = site.step()
    assert record.progress["sightings"] == 3
    return [
        Candidate.open(sealed, s.sealing_key("ana"), query_digest=record.digest)
        for _, sealed, _ in site.desk.results(record, reader="ana")
    ]


def test_a_query_of_the_second_form_finds_whom_one_of_the_first_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for version, form in enumerate((FIRST, SECOND), 1):
        folder = tmp_path / str(version)
        folder.mkdir()
        site = Site(folder, monkeypatch, s.CUSTODIANS, 2, people={"P-17": "person 1"}, **form)  # type: ignore[arg-type]
        try:
            assert site.record.query.version == version
            found.append(candidates(site))
            shown = query_view(site.desk, site.record, site.policy)
            assert shown["query"]["pseudonyms"] == ["P-17"]
        finally:
            site.close()
    assert [one.subject for one in found[0]] == ["P-17"]
    assert [replace(one, log10_lr=None) for one in found[0]] == [
        replace(one, log10_lr=None) for one in found[1]
    ]
