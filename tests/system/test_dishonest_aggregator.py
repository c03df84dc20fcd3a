"""An aggregator that breaks the rules gets nothing: every custodian decides for itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import pytest
from protocol_samples import QueryChanges
from puppet_box import LABELS, PuppetBox, announced, now_ms, person, slots_ago
from query_desk import Case, QueryDesk, template_of
from running_site import RunningSite

from demo.intruder import Answer, Intruder
from demo.local_site import CUSTODIANS
from protocol.errors import KeyCommitmentMismatch, ScopeExceeded, SharesMissing
from protocol.keytree import FACE, META
from protocol.names import SLOT_MS, epoch_of, slot_of
from protocol.policy import parse_policy
from protocol.sealing import Envelope, open_block
from protocol.sightings import quantise_template
from protocol.signing import Signed
from protocol.templates import Template


@dataclass
class Heist:
    """An intruder, what boxes published, and a query over the middle one of five slots."""

    intruder: Intruder
    desk: QueryDesk
    announcements: dict[str, list[bytes]]
    envelopes: dict[int, Envelope]
    window: tuple[int, int]
    templates: list[Template]

    def case(self, *, requester: str = "ana", **changes: Unpack[QueryChanges]) -> Case:
        return self.desk.draft(
            self.templates, ["cam-1"], *self.window, requester=requester, **changes
        )

    def approved(self, case: Case) -> list[Signed]:
        return [self.desk.approval(case, name) for name in ("bo", "cy")]

    def announcement_of(self, slot_ms: int) -> bytes:
        made = self.announcements["cam-1"]
        return next(data for data in made if announced(data).epoch == epoch_of(slot_ms))

    def ask(self, case: Case, approvals: list[Signed], camera: str = "cam-1") -> list[Answer]:
        return self.intruder.ask(case.signed, approvals, self.announcements[camera])


@pytest.fixture(scope="module")
def heist(quiet_site: RunningSite) -> Iterator[Heist]:
    subject = person(1)
    begin = slots_ago(6)
    envelopes = {}
    announcements = {}
    for box in ("box-1", "box-2"):
        with PuppetBox(quiet_site, box) as puppet:
            slots = [begin + n * SLOT_MS for n in range(5)]
            announcements[puppet.camera] = puppet.announce(*slots, now_ms())
            for slot_ms in slots:
                shown = puppet.show(slot_ms, subject, person(2))
                if box == "box-1":
                    envelopes[slot_ms] = shown
    middle = begin + 2 * SLOT_MS
    yield Heist(
        Intruder(quiet_site.local),
        QueryDesk(quiet_site),
        announcements,
        envelopes,
        (middle, middle + SLOT_MS),
        [template_of(*quantise_template(subject))],
    )


def all_refuse(answers: list[Answer], problem: str) -> None:
    """Every custodian has refused, for this reason."""
    assert {a.custodian: a.problem for a in answers} == dict.fromkeys(CUSTODIANS, problem)


def test_without_approvals_every_custodian_refuses(heist: Heist) -> None:
    all_refuse(heist.ask(heist.case(), []), "approvals-missing")


def test_with_one_approval_every_custodian_refuses(heist: Heist) -> None:
    case = heist.case()
    all_refuse(heist.ask(case, heist.approved(case)[:1]), "approvals-missing")


def test_one_approver_twice_is_one_approval(heist: Heist) -> None:
    case = heist.case()
    once = heist.desk.approval(case, "bo")
    all_refuse(heist.ask(case, [once, heist.desk.approval(case, "bo"), once]), "approvals-missing")


def test_approvals_of_another_query_do_not_count(heist: Heist) -> None:
    asked, other = heist.case(), heist.case()
    all_refuse(heist.ask(asked, heist.approved(other)), "approval-invalid")


def test_the_requester_cannot_approve(heist: Heist) -> None:
    case = heist.case()
    approvals = [heist.desk.approval(case, name) for name in ("ana", "bo")]
    all_refuse(heist.ask(case, approvals), "approval-invalid")


def test_an_approval_signed_by_the_aggregator_does_not_count(heist: Heist) -> None:
    case = heist.case()
    genuine = heist.desk.approval(case, "bo")
    forged = replace(genuine, signature=heist.desk.approval(case, "aggregator").signature)
    all_refuse(heist.ask(case, [genuine, replace(forged, signer="cy")]), "approval-invalid")


def test_a_window_widened_after_the_approvals_is_another_query(heist: Heist) -> None:
    case = heist.case()
    wider = replace(case.query, window_from_ms=case.query.window_from_ms - SLOT_MS)
    widened = replace(case.signed, payload=wider.sign(heist.desk.site.signing("ana")).payload)
    answers = heist.intruder.ask(widened, heist.approved(case), heist.announcements["cam-1"])
    all_refuse(answers, "signature-invalid")


def test_a_query_signed_by_the_aggregator_is_nobodys(heist: Heist) -> None:
    case = heist.case(requester="aggregator")
    all_refuse(heist.ask(case, heist.approved(case)), "unknown-signer")


def test_a_camera_that_the_query_does_not_name_stays_closed(heist: Heist) -> None:
    case = heist.case()
    all_refuse(heist.ask(case, heist.approved(case), "cam-2"), "scope-exceeded")


def test_future_slots_stay_closed_even_with_approvals(heist: Heist) -> None:
    ahead = slots_ago(-2)
    case = heist.desk.draft(heist.templates, ["cam-1"], ahead, ahead + SLOT_MS)
    all_refuse(heist.ask(case, heist.approved(case)), "scope-exceeded")


def test_the_running_slot_opens_to_live_queries_only(heist: Heist) -> None:
    case = heist.desk.draft(heist.templates, ["cam-1"], slots_ago(0), slots_ago(-1))
    all_refuse(heist.ask(case, heist.approved(case)), "scope-exceeded")
    live = heist.desk.draft(heist.templates, ["cam-1"], slots_ago(0), slots_ago(-1), live=True)
    answers = heist.ask(live, heist.approved(live))
    assert [a.problem for a in answers] == ["", "", ""]


def test_a_matcher_key_made_for_another_query_opens_nothing(heist: Heist) -> None:
    case, other = heist.case(), heist.case()
    answers = heist.intruder.ask(
        case.signed,
        heist.approved(case),
        heist.announcements["cam-1"],
        key_for=other.signed.digest,
    )
    all_refuse(answers, "scope-exceeded")


def test_a_policy_that_the_aggregator_altered_is_no_policy(heist: Heist) -> None:
    site = heist.desk.site
    text = site.local.paths.policy.read_bytes()
    easier = parse_policy(text.replace(b"approvals = 2", b"approvals = 1"))
    assert easier.approvals == 1
    case = heist.case(policy_digest=easier.digest)
    approvals = [heist.desk.approval(case, "bo", policy_digest=easier.digest)]
    all_refuse(heist.ask(case, approvals), "policy-mismatch")


def test_after_a_withdrawal_that_it_hides_every_custodian_refuses(heist: Heist) -> None:
    case = heist.case()
    assert [a.problem for a in heist.ask(case, heist.approved(case))] == ["", "", ""]
    withdrawal = heist.desk.withdrawal(case, "cy").to_bytes()
    for custodian in CUSTODIANS:  # the officers' command tells each of them itself
        heist.desk.site.post("cy", custodian, "/v1/withdrawals", withdrawal)
    all_refuse(heist.ask(case, heist.approved(case)), "query-withdrawn")


def test_its_keys_for_one_slot_open_nothing_outside_it(heist: Heist) -> None:
    case = heist.case()
    answers = heist.ask(case, heist.approved(case))
    granted = {a.custodian for a in answers if a.grant is not None}
    assert granted == set(CUSTODIANS)
    inside = heist.window[0]
    keys = heist.intruder.keys(answers, heist.announcement_of(inside))
    assert list(keys.slots()) == [slot_of(inside)]
    opened = heist.envelopes[inside]
    for label, block in ((FACE, opened.blocks().templates[FACE]), (META, opened.blocks().meta)):
        key = keys.key(slot_of(inside), label)
        assert open_block(key, block, header=opened.header_bytes, label=label, nonce=opened.nonce)
    for slot_ms, envelope in heist.envelopes.items():
        if slot_ms == inside:
            continue
        for label in LABELS:
            with pytest.raises(ScopeExceeded):
                keys.key(slot_of(slot_ms), label)
        for label, block in (
            (FACE, envelope.blocks().templates[FACE]),
            (META, envelope.blocks().meta),
        ):
            with pytest.raises(KeyCommitmentMismatch):
                open_block(
                    keys.key(slot_of(inside), label),
                    block,
                    header=envelope.header_bytes,
                    label=label,
                    nonce=envelope.nonce,
                )


def test_one_custodians_share_alone_opens_nothing(heist: Heist) -> None:
    case = heist.case()
    announcement = heist.announcement_of(heist.window[0])
    for answer in heist.ask(case, heist.approved(case)):
        with pytest.raises(SharesMissing):
            heist.intruder.keys([answer], announcement)


def test_an_auditor_sees_what_it_obtained_and_hid(heist: Heist, tmp_path: Path) -> None:
    """With approvals it gets its grants; that its own log does not tell of them shows."""
    case = heist.case()
    assert [a.problem for a in heist.ask(case, heist.approved(case))] == ["", "", ""]
    local = heist.desk.site.local
    local.run("eve", "audit", "fetch", "--out", str(tmp_path / "logs"))
    printed = local.run("eve", "audit", "verify", str(tmp_path / "logs"), "--json", expect=None)
    found = {(f["kind"], f["query"]) for f in json.loads(printed)["findings"]}
    assert ("grant-not-received", case.id) in found
    assert ("query-not-filed", case.id) in found


def test_after_the_requesters_revocation_every_custodian_refuses(heist: Heist) -> None:
    case = heist.case(requester="dan")
    approvals = heist.approved(case)
    assert [a.problem for a in heist.ask(case, approvals)] == ["", "", ""]
    site = heist.desk.site
    site.command(
        "site", "revoke", str(site.local.paths.root), "dan", "--push",
        "--officer", str(site.local.officer("eve")),
    )  # fmt: skip
    all_refuse(heist.ask(case, approvals), "principal-revoked")
