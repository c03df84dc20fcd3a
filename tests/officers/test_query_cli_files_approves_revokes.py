"""`sealtrace query` against the real aggregator and custodians: what is seen, signed and sent."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace

import protocol_samples as s
import pytest
from officer_site import DOWN, OfficerSite
from store_file import altering
from typer.testing import Result

from officers.query_cli import app
from protocol.authorization import open_query, parse_signed_query
from protocol.directory import open_directory
from protocol.query import Query
from protocol.signing import SigningKey
from protocol.templates import Template

PURPOSE = "contact tracing of a confirmed patient"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


def file(site: OfficerSite, *more: str, subject: str = "P-17", **changes: str) -> Result:
    options = {
        "--camera": "cam-1",
        "--from": "-2h",
        "--to": "+1h",
        "--purpose": PURPOSE,
        "--legal-basis": "consent",
    } | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    path = subject if os.sep in subject else str(site.subject_file(subject))
    words = [word for option in options.items() for word in option if option[1]]
    return site.run(app, "ana", "file", "--subject", path, *words, *more)


def filed(site: OfficerSite, *more: str, **changes: str) -> str:
    result = file(site, "--yes", *more, **changes)
    assert result.exit_code == 0, result.output
    match = re.search(r"^filed: ([0-9a-f]{32})$", result.output, re.MULTILINE)
    assert match, result.output
    return match[1]


def signed_query(site: OfficerSite, query_id: str) -> Query:
    return open_query(parse_signed_query(site.record(query_id).signed), site.directory)[0]


def explained(result: Result, *words: str) -> None:
    """The command failed with one clear message and no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    said = " ".join(result.output.split())
    for word in words:
        assert word in said


# ---------------------------------------------------------------------- filing


@pytest.mark.slow
def test_what_is_signed_is_what_was_asked_and_shown(site: OfficerSite) -> None:
    result = file(site, "--camera", "cam-2", "--live", "--no-contacts", "--yes")
    assert result.exit_code == 0, result.output
    query = signed_query(site, re.findall(r"filed: ([0-9a-f]{32})", result.output)[0])
    assert query.cameras == ("cam-1", "cam-2")
    assert (query.purpose, query.legal_basis, query.modalities) == (PURPOSE, "consent", ("face",))
    assert (query.live, query.contacts) == (True, False)
    assert query.thresholds == site.thresholds
    assert query.subjects[0].pseudonym == "P-17"
    assert query.subjects[0].consent_reference == "consent 2026/17"
    assert query.policy_digest == s.POLICY.digest
    shown = " ".join(result.output.split())
    for text in ("cam-1, cam-2", "consent 2026/17", PURPOSE, "widened to whole quarter hours",
                 "0.550", "false candidates", "2 needed"):  # fmt: skip
        assert text in shown
    assert shown.index("would open") < shown.index("filed:")


def test_nothing_is_filed_unless_the_investigator_says_yes(site: OfficerSite) -> None:
    before = len(site.aggregator.desk.everything())
    for answer in ("n\n", ""):
        explained(file_answering(site, answer), "nothing was signed")
    assert len(site.aggregator.desk.everything()) == before
    agreed = file_answering(site, "y\n")
    assert agreed.exit_code == 0, agreed.output
    assert len(site.aggregator.desk.everything()) == before + 1


def file_answering(site: OfficerSite, answer: str) -> Result:
    return site.run(
        app, "ana", "file", "--subject", str(site.subject_file("P-17")), "--all-cameras",
        "--from", "-2h", "--to", "now", "--purpose", PURPOSE, answer=answer,
    )  # fmt: skip


def test_the_templates_arrive_sealed_and_are_those_of_the_query(site: OfficerSite) -> None:
    record = site.record(filed(site))
    assert record.state == "awaiting-approvals"
    (probes,) = site.aggregator.desk.probes(record)
    assert probes.subjects == ("P-17",)


def test_json_on_standard_output_is_for_programs(site: OfficerSite) -> None:
    result = file(site, "--yes", "--json")
    summary = json.loads(result.stdout)
    assert summary["state"] == "awaiting-approvals"
    assert summary["query"]["cameras"] == ["cam-1"]
    assert "would open" in result.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threshold": "0.3"}, "below the policy's 0.400"),
        ({"camera": "cam-3"}, "did you mean"),
        ({"camera": ""}, "--all-cameras"),
        ({"from": "+2h"}, "--to"),
        ({"from": "10:00"}, "time zone"),
        ({"from": "-60h"}, "the policy permits 48"),
        ({"legal_basis": "statutory-order"}, "the policy permits appearance"),
        ({"legal_basis": "because"}, "knows no legal basis"),
        ({"purpose": " "}, "--purpose"),
        ({"valid_days": "30"}, "days of validity; the policy permits 14"),
        ({"modality": "appearance"}, "holds no template"),
        ({"max_candidates": "500"}, "the policy permits 100"),
    ],
)
def test_what_the_policy_or_the_site_refuses_is_said_before_signing(
    site: OfficerSite, changes: dict[str, str], said: str
) -> None:
    before = len(site.aggregator.desk.everything())
    explained(file(site, "--yes", **changes), said)
    assert len(site.aggregator.desk.everything()) == before


def test_a_subject_of_another_investigator_does_not_open(site: OfficerSite) -> None:
    path = str(site.subject_file("P-17", owner="dan"))
    explained(file(site, "--yes", subject=path), "another investigator")
    explained(file(site, "--yes", subject=str(site.officer("ana"))), "not a subject file")
    explained(file(site, "--yes", subject="/nowhere/p.subject"), "/nowhere/p.subject")


def test_a_subject_of_another_model_needs_a_threshold_in_words(site: OfficerSite) -> None:
    known = s.template("P-17")
    other = Template("face", "other-16@11111111", known.salt, known.row, known.scale)
    path = str(site.write_subject("P-17", [other]))
    explained(file(site, "--yes", subject=path), "other-16@11111111", "Enrol anew")


def test_an_approver_cannot_file(site: OfficerSite) -> None:
    path = str(site.subject_file("P-17", owner="ana"))
    result = site.run(
        app, "bo", "file", "--subject", path, "--camera", "cam-1", "--from", "-1h",
        "--to", "now", "--purpose", "x",
    )  # fmt: skip
    explained(result, "takes an investigator", "bo")


def test_a_wrong_passphrase_and_a_wrong_key_are_explained(site: OfficerSite) -> None:
    query_id = filed(site)
    wrong = site.folder / "wrong.txt"
    wrong.write_text("not this one\n")
    result = site.run(app, "bo", "approve", query_id, "--yes", "--passphrase-file", str(wrong))
    explained(result, "passphrase does not open")
    text = site.officer("bo").read_text()
    identity = site.officer("cy").parent / "identity.secret"
    site.officer("bo").write_text(f'identity = "{identity}"\n{text}')
    try:
        explained(site.run(app, "bo", "approve", query_id, "--yes"), "not the key", "'bo'")
    finally:
        site.officer("bo").write_text(text)
    assert site.aggregator.desk.approvals(site.record(query_id).digest) == []


# ---------------------------------------------------------------------- approving


@pytest.mark.slow
def test_an_approver_sees_all_of_it_then_signs(site: OfficerSite) -> None:
    query_id = filed(site, "--camera", "cam-2", "--live")
    declined = site.run(app, "bo", "approve", query_id, answer="n\n")
    explained(declined, "cam-1, cam-2", PURPOSE, "each quarter hour is opened while it still runs",
              "ana", "0 of 2", "nothing was signed")  # fmt: skip
    agreed = site.run(app, "bo", "approve", query_id[:10], answer="y\n")
    assert agreed.exit_code == 0, agreed.output
    assert "1 of 2 approvals (bo)" in agreed.output
    again = site.run(app, "bo", "approve", query_id, "--yes")
    assert "approved it already" in again.output
    second = site.run(app, "cy", "approve", query_id, "--yes")
    assert "2 of 2 approvals (bo, cy)" in second.output
    approvals = site.aggregator.desk.approvals(site.record(query_id).digest)
    assert [a.signer for a in approvals] == ["bo", "cy"]


def test_nobody_approves_without_the_duty(site: OfficerSite) -> None:
    query_id = filed(site)
    explained(site.run(app, "ana", "approve", query_id, "--yes"), "takes an approver")
    explained(site.run(app, "eve", "approve", query_id, "--yes"), "takes an approver")


def test_show_is_for_everybody_and_tells_where_it_stands(site: OfficerSite) -> None:
    query_id = filed(site)
    shown = site.run(app, "eve", "show", query_id)
    assert shown.exit_code == 0, shown.output
    assert "awaiting-approvals" in shown.output
    assert "live queries; asking that somebody was near" in shown.output
    values = json.loads(site.run(app, "eve", "show", query_id, "--json").stdout)
    assert values["query"]["purpose"] == PURPOSE
    assert values["query"]["policy_objection"] is None
    assert (values["policy"]["schema"], values["policy"]["contacts"]) == (1, "near")
    assert values["status"]["id"] == query_id


def test_an_unknown_id_is_explained(site: OfficerSite) -> None:
    explained(site.run(app, "bo", "show", "f" * 32), "No such query")
    explained(site.run(app, "bo", "show", "ffff"), "no query begins")
    explained(site.run(app, "bo", "show", "x"), "not a query's id")


@pytest.mark.slow
def test_a_query_that_an_aggregator_has_changed_is_not_believed(site: OfficerSite) -> None:
    query_id = filed(site)
    record = site.record(query_id)
    genuine = parse_signed_query(record.signed)
    wider = replace(Query.parse(genuine.payload), cameras=("cam-1", "cam-2"))
    forged = wider.sign(SigningKey("ana", bytes(32)))
    spliced = replace(genuine, payload=forged.payload)
    other = parse_signed_query(site.record(filed(site)).signed)
    for changed, said in ((forged, "does not verify"), (spliced, "does not verify"),
                          (other, "handed out")):  # fmt: skip
        put_signed(site, query_id, changed.to_bytes())
        explained(site.run(app, "bo", "approve", query_id, "--yes"), said)
    put_signed(site, query_id, record.signed)
    assert site.run(app, "bo", "approve", query_id, "--yes").exit_code == 0


def put_signed(site: OfficerSite, query_id: str, signed: bytes) -> None:
    with altering(site.aggregator.store) as connection:
        connection.execute(
            "UPDATE queries SET signed = ? WHERE query_id = ?", [signed, bytes.fromhex(query_id)]
        )


# ---------------------------------------------------------------------- revoking


@pytest.mark.slow
def test_a_withdrawal_goes_to_every_custodian_and_says_who_has_it(site: OfficerSite) -> None:
    query_id = filed(site)
    site.run(app, "bo", "approve", query_id, "--yes")
    result = site.run(app, "bo", "revoke", query_id, "--reason", "consent taken back", "--yes")
    explained(result, f"{DOWN} could not be told", "✓ c1", "✓ c2", "✓ aggregator",
              "your approval counts no longer")  # fmt: skip
    digest = site.record(query_id).digest
    for custodian in site.custodians:
        assert [w.signer for w in custodian.withdrawals.known(digest)] == ["bo"]
    assert [w.signer for w in site.aggregator.desk.withdrawals(digest)] == ["bo"]


def test_an_aggregator_that_hides_a_query_cannot_hide_its_withdrawal(site: OfficerSite) -> None:
    query_id = filed(site)
    digest = site.record(query_id).digest
    with altering(site.aggregator.store) as connection:
        connection.execute(
            "UPDATE queries SET query_id = ? WHERE digest = ?", [os.urandom(16), digest]
        )
    result = site.run(app, "ana", "revoke", query_id, "--reason", "wrong patient", "--yes")
    explained(result, "copy kept here", "✗ aggregator", "✓ c1", "nothing more can be opened")
    for custodian in site.custodians:
        assert [w.signer for w in custodian.withdrawals.known(digest)] == ["ana"]


def swapped(site: OfficerSite, query_id: str) -> bytes:
    """Put another, wider query of ana's in the place of one; return the digest of the first."""
    record = site.record(query_id)
    with altering(site.aggregator.store) as connection:
        connection.execute(
            "UPDATE queries SET query_id = ? WHERE digest = ?", [os.urandom(16), record.digest]
        )
    wider = replace(record.query, purpose="everybody, everywhere")
    site.aggregator.desk.file(wider.sign(s.signing_key("ana")).to_bytes())
    assert site.record(query_id).digest != record.digest
    return record.digest  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_second_query_under_one_id_does_not_draw_the_withdrawal_away(site: OfficerSite) -> None:
    query_id = filed(site)
    site.run(app, "bo", "approve", query_id, "--yes")
    digest = swapped(site, query_id)
    result = site.run(app, "bo", "revoke", query_id, "--reason", "not that one", "--yes")
    explained(result, "hands out another query", "copy kept here", "✓ c1")
    for custodian in site.custodians:
        assert [w.signer for w in custodian.withdrawals.known(digest)] == ["bo"]


@pytest.mark.slow
@pytest.mark.parametrize("command", [("show",), ("approve", "--yes")])
def test_a_second_query_under_one_id_is_not_taken_for_the_one_that_was_signed(
    site: OfficerSite, command: tuple[str, ...]
) -> None:
    query_id = filed(site)
    site.run(app, "bo", "approve", query_id, "--yes")
    swapped(site, query_id)
    result = site.run(app, "bo", command[0], query_id, *command[1:])
    explained(result, "hands out another query", "tell the auditors")


def test_who_has_no_part_in_a_query_has_nothing_to_withdraw(site: OfficerSite) -> None:
    query_id = filed(site)
    for officer in ("cy", "dan"):
        result = site.run(app, officer, "revoke", query_id, "--reason", "no", "--yes")
        explained(result, "nothing to withdraw")
    explained(site.run(app, "ana", "revoke", query_id, "--reason", " ", "--yes"), "--reason")


def test_a_withdrawal_without_a_reason_is_refused_before_anything_is_asked(
    site: OfficerSite,
) -> None:
    result = site.run(app, "ana", "revoke", filed(site), "--reason", "", answer="y\n")
    explained(result, "--reason must be a text")
    assert "for good?" not in result.output


# ---------------------------------------------------------------------- the rest


def test_a_query_is_resumed_with_the_same_subject_file(site: OfficerSite) -> None:
    path = str(site.subject_file("P-17"))
    query_id = filed(site, subject=path)
    site.aggregator.desk.interrupt_open_queries()
    assert site.record(query_id).state == "interrupted"
    other = str(site.subject_file("P-17", template="somebody else"))
    explained(site.run(app, "ana", "resume", query_id, "--subject", other), "not the one")
    stranger = str(site.subject_file("P-18"))
    explained(site.run(app, "ana", "resume", query_id, "--subject", stranger), "does not name")
    explained(site.run(app, "dan", "resume", query_id, "--subject", path), "ana")
    resumed = site.run(app, "ana", "resume", query_id, "--subject", path)
    assert resumed.exit_code == 0, resumed.output
    assert site.record(query_id).state == "awaiting-approvals"


def test_waiting_ends_with_the_query_or_with_the_time(site: OfficerSite) -> None:
    query_id = filed(site)
    late = site.run(app, "ana", "wait", query_id, "--timeout", "0")
    explained(late, "awaiting-approvals", "not reached within 0 s")
    digest = site.record(query_id).digest
    site.aggregator.desk.set_state(digest, "running")
    site.aggregator.desk.set_state(digest, "complete")
    assert site.run(app, "ana", "wait", query_id).exit_code == 0
    explained(site.run(app, "ana", "wait", query_id, "--candidates", "1"), "ended without")
    explained(site.run(app, "bo", "approve", query_id, "--yes"), "has ended")


def test_the_list_is_filtered_by_state(site: OfficerSite) -> None:
    query_id = filed(site)
    listed = json.loads(site.run(app, "bo", "list", "--json").stdout)
    assert query_id in {one["id"] for one in listed}
    waiting = json.loads(
        site.run(app, "bo", "list", "--json", "--state", "awaiting-approvals").stdout
    )
    assert {one["state"] for one in waiting} == {"awaiting-approvals"}
    output = site.run(app, "bo", "list").output
    assert query_id[:8] in output
    assert query_id not in output, "the first digits name it"
    assert "no queries in state lost" in site.run(app, "bo", "list", "--state", "lost").output


def test_a_newer_directory_is_taken_and_an_older_one_is_not(site: OfficerSite) -> None:
    kept = site.officer("bo").parent / "state" / "directory.cbor"
    newer = site.directory.next_version(site.directory.principals, at_ms=s.NOW_MS)
    site.aggregator.trust.accept(newer.sign(s.authority()).to_bytes())
    assert site.run(app, "bo", "list").exit_code == 0
    authority = s.authority().verify_key
    assert open_directory(kept.read_bytes(), authority).version == newer.version
    newest = newer.next_version(newer.principals, at_ms=s.NOW_MS)
    kept.write_bytes(newest.sign(s.authority()).to_bytes())
    assert site.run(app, "bo", "list").exit_code == 0
    assert open_directory(kept.read_bytes(), authority).version == newest.version


@pytest.mark.slow
def test_an_officer_who_is_not_named_is_told_how(
    site: OfficerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    monkeypatch.chdir(site.folder)
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)
    explained(CliRunner().invoke(app, ["list"]), "--officer", "SEALTRACE_OFFICER")
    explained(CliRunner().invoke(app, ["list", "--officer", "none.toml"]), "none.toml")


@pytest.mark.slow
def test_all_cameras_says_which_are_left_out(site: OfficerSite) -> None:
    assert "left out" not in file_answering(site, "n\n").stderr
    principals = dict(site.directory.principals)
    name = next(name for name, held in principals.items() if held.cameras)
    principals[name] = replace(principals[name], revoked_at_ms=s.NOW_MS)
    kept = site.officer("ana").parent / "state" / "directory.cbor"
    newer = site.directory.next_version(principals, at_ms=s.NOW_MS)
    newer = newer.next_version(principals, at_ms=s.NOW_MS)
    newer = newer.next_version(principals, at_ms=s.NOW_MS)
    kept.write_bytes(newer.sign(s.authority()).to_bytes())
    shown = file_answering(site, "n\n").stderr
    assert f"left out, because their boxes are revoked: {principals[name].cameras[0]}" in shown
