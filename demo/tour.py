"""The demo from beginning to end: real processes, a patient traced, and every promise checked.

It adds no logic of its own to the system: officers' steps are commands (`demo.
officers`), services are processes (`demo.local_site`), and what an attacker tries is
tried with the protocol alone (`demo.intruder`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.checks import Checks
from demo.clips import compose
from demo.handed_over import check_handed_over
from demo.hard_cases import (
    FACELESS,
    MASKED,
    check_dark,
    check_followed,
    check_masked,
    check_turned_away,
    hard_scenario,
)
from demo.intruder import Answer, Intruder, plain_needles
from demo.local_site import CUSTODIANS, OFFICERS, LocalSite, plan_of
from demo.officers import Filed, Officers
from demo.processes import ProcessFailed
from demo.scenario import ClipTruth, Scenario, demo_scenario
from demo.wiretap import Wiretap, find_in_files, find_in_messages
from protocol.epoch import Announcement
from protocol.epoch_keys import EpochKeys
from protocol.errors import ProtocolError, ScopeExceeded
from protocol.keytree import COUNTS, COVER, META
from protocol.sealing import SEGMENT
from protocol.signing import Signed
from protocol.v2.envelopes import Envelope
from provisioning.authority import open_site
from provisioning.authority.policy_holders import services
from provisioning.authority.push import officer_tls
from runtime.config import MqttConfig
from runtime.policy_words import permitted_text, purposes_text

SUBJECT = "patient-17"
FLUSH_S = 2.0
LIVE_WITHIN_S = 3.0
_COSIGNING = {"cosignatures-missing", "not-yet-cosigned"}
Tell = Callable[[str], None]


@dataclass(slots=True)
class Tour:
    """One run of the demo in ``folder`` (emptied first).

    Args:
        folder: for the site, its logs and what is exported.
        bundle: the signed model bundle.
        photos: the photographs that `sealtrace models photos` fetched.
        tell: called with one line as each step begins.
    """

    folder: Path
    bundle: Path
    photos: Path
    tell: Tell
    checks: Checks = field(default_factory=Checks)
    trace: Any = None
    _site: LocalSite | None = None
    _tap: Wiretap | None = None
    _truth: list[ClipTruth] = field(default_factory=list)
    _of_the_clips: list[Envelope] = field(default_factory=list)  # segments, before a live hit

    STEPS = 17

    def run(self) -> None:
        """Do all of it; the processes still run afterwards (see :meth:`stop`).

        Raises:
            ProcessFailed: a process or command failed, so that nothing more could be shown.
        """
        self._compose()
        site = self._make_site()
        officers = Officers(site)
        self._start_services(site)
        subject = self._enrol(officers)
        filed = self._file_and_approve(officers, subject)
        self._await_trace(site, officers, filed)
        self._compare_with_truth(officers, filed)
        self._hand_over(officers, filed)
        self._follow(officers, subject)
        self._live_hit(site, officers, filed)
        self._audit(site)
        keys = self._without_approvals(site, officers, filed)
        self._outside_the_window(site, officers, subject)
        self._after_revocation(site, officers, filed)
        self._nothing_plain(site, keys)
        self._audit_again(site)
        crashed = site.crashed()
        self.checks.note(
            "every process is still up",
            not crashed,
            ", ".join(crashed)
            or f"{sum(one.running for one in site.services.values())} processes; box-3 is out",
        )

    def stop(self) -> None:
        """Stop every process."""
        if self._tap is not None:
            self._tap.stop()
        if self._site is not None:
            self._site.stop()

    # ------------------------------------------------------------------ the site

    def _compose(self) -> None:
        self.tell("composing clips of photographed faces walking past six cameras")
        for name, scenario in (("clips", demo_scenario()), ("hard-clips", hard_scenario())):
            self._truth += compose(scenario, self.photos, self.folder.parent / name)

    def _make_site(self) -> LocalSite:
        self.tell("making a site: CA, 3 custodians (2 must agree), 6 officers, 6 boxes")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        cameras = {clip.camera: {"source": f"file:{clip.path.resolve()}"} for clip in self._truth}
        policy = {"same_place_counts": True, "continuation": True, "confirmations": 2}
        more = {
            "dan": ["investigator"],  # two confirm each hit
            "di": ["approver"],  # counting, following: one approval more each
        }
        plan = plan_of(cameras, bundle=self.bundle, policy=policy, officers={**OFFICERS, **more})
        site = LocalSite.create(plan, self.folder)
        self._site = site
        return site

    def _start_services(self, site: LocalSite) -> None:
        self.tell("starting broker, custodians, aggregator and three boxes: 8 processes")
        site.start("broker")
        self._tap = Wiretap(MqttConfig(host="127.0.0.1", port=site.plan.broker.port))
        self._tap.start()
        site.start(*CUSTODIANS, "aggregator")
        site.start(*self._boxes(demo_scenario()))
        self._compare_policies(site)

    def _compare_policies(self, site: LocalSite) -> None:
        """Ask every custodian and the aggregator which policy they go by."""
        opened = open_site(site.paths.root)
        asked = services(opened, officer_tls(opened, site.officer("ana")))
        others = [one.name for one in asked if not one.holds(opened.policy.digest)]
        self.checks.note(
            "custodians and aggregator go by the policy that the authority signed",
            not others,
            ", ".join(others)
            or f"for {purposes_text(opened.policy)}; permits: {permitted_text(opened.policy)}",
        )

    # ------------------------------------------------------------------ the main job

    def _enrol(self, officers: Officers) -> Path:
        self.tell("the investigator enrols the patient from a photo")
        return officers.enrol(SUBJECT, self.photos / demo_scenario().enrolment_photo)

    def _file_and_approve(self, officers: Officers, subject: Path) -> Filed:
        self.tell("the investigator files a query that counts people too; three approvers sign it")
        cameras = [clip.camera for clip in self._truth]
        filed = officers.file(
            subject, cameras=cameras, begin="-15m", end="+30m", live=True, counts=True
        )
        officers.approve(filed, "bo", "cy", "di")
        return filed

    def _await_trace(self, site: LocalSite, officers: Officers, filed: Filed) -> None:
        self.tell("the cameras' clips play; custodians grant, the aggregator matches")
        self._await_matched(officers, filed, len(demo_scenario().scenes))
        self.tell("harder: a masked patient, somebody from behind, the dark, no face at all")
        site.start(*self._boxes(hard_scenario()))
        told = self._await_matched(officers, filed, len(self._truth))
        self._of_the_clips = self._segments()
        wanted = len(self._walks_of_subject())
        self.checks.note(
            "the patient is a candidate where they walked, nobody else is anywhere",
            told["candidates"] == wanted,
            f"{told['candidates']} candidates, {wanted} walks of the patient",
        )

    def _await_matched(self, officers: Officers, filed: Filed, cameras: int) -> dict[str, Any]:
        return officers.wait(
            filed,
            lambda told: (
                len(self._segments()) >= cameras and told["progress"].get("segments", 0) >= cameras
            ),
            timeout_s=60,
            what="all clips matched",
        )

    def _compare_with_truth(self, officers: Officers, filed: Filed) -> None:
        self.tell("two investigators confirm the candidates, each on their own machine")
        officers.confirm(filed, "ana")
        alone = [hit for subject in officers.shown(filed)["subjects"] for hit in subject["hits"]]
        officers.confirm(filed, "dan")
        self.trace = officers.trace(filed)
        self.checks.note(
            "what one investigator confirms is no hit before the other has",
            not alone and any(subject["hits"] for subject in self.trace["subjects"]),
            f"{len(alone)} hits by one word, "
            f"{sum(len(subject['hits']) for subject in self.trace['subjects'])} by two",
        )
        hits = [hit for subject in self.trace["subjects"] for hit in subject["hits"]]
        scenario = demo_scenario()
        for clip in self._truth[: len(scenario.scenes)]:
            here = [hit for hit in hits if hit["camera"] == clip.camera]
            walks = [seen for seen in clip.sightings if seen.who == scenario.subject]
            seen = [(hit["mask"], _contact_masks(hit)) for hit in here]
            expected = [
                (_mask(walk.masked), _expected_contacts(clip, scenario.subject)) for walk in walks
            ]
            self.checks.note(
                f"the trace at {clip.camera} is what happened there (mask, contacts' masks)",
                seen == expected,
                _said(seen) if seen else "the patient never came",
            )
        check_masked(self.checks, hits)
        check_turned_away(self.checks, hits, self._truth)

    def _hand_over(self, officers: Officers, filed: Filed) -> None:
        self.tell("the investigator hands over a signed report and the contact list")
        check_handed_over(self.checks, officers, filed)

    def _follow(self, officers: Officers, subject: Path) -> None:
        self.tell("a query that three approvers sign follows the patient by their clothes")
        cameras = [MASKED, FACELESS]
        filed = officers.file(
            subject, cameras=cameras, begin="-15m", end="+30m", live=True, follow=True
        )
        officers.approve(filed, "bo", "cy", "di")
        officers.wait(
            filed, lambda told: told["candidates"] >= 1, timeout_s=60, what="the hit to follow from"
        )
        officers.confirm_all(filed)
        officers.wait(
            filed, lambda told: told["candidates"] >= 2, timeout_s=60, what="who is dressed alike"
        )
        check_followed(self.checks, officers.trace(filed))

    def _live_hit(self, site: LocalSite, officers: Officers, filed: Filed) -> None:
        self.tell("the patient walks past camera 1 again while the query stands")
        before = int(officers.show(filed)["candidates"])
        box = site.services["box-1"]
        box.stop()
        box.start()
        officers.wait(
            filed, lambda told: told["candidates"] > before, timeout_s=60, what="a live hit"
        )
        officers.confirm_all(filed)
        hits = [
            hit
            for subject in officers.trace(filed)["subjects"]
            for hit in subject["hits"]
            if hit["camera"] == "cam-1"
        ]
        ended_ms = max(_ms(hit["to"]) for hit in hits)
        found = site.services["aggregator"].events("candidates_found")[-1]
        delay_s = (_ms(str(found["timestamp"])) - ended_ms) / 1000
        self.checks.note(
            f"a live hit shows within {LIVE_WITHIN_S:g} s and the {FLUSH_S:g} s of a batch",
            0 <= delay_s <= LIVE_WITHIN_S + FLUSH_S,
            f"{delay_s:.1f} s after the patient was last seen",
        )

    # ------------------------------------------------------------------ what must not work

    def _without_approvals(
        self, site: LocalSite, officers: Officers, filed: Filed
    ) -> Mapping[bytes, EpochKeys]:
        self.tell("a dishonest aggregator asks the custodians without enough approvals")
        intruder, announcements = Intruder(site), self._announcements()
        everybody = ("bo", "cy", "di")
        for count in range(len(everybody)):
            approvals = officers.signed_approvals(filed, *everybody[:count])
            answers = intruder.ask(filed.signed, approvals, announcements)
            self._note_refused(f"{count} of 3 approvals open nothing", answers)
        answers = intruder.ask(
            filed.signed, officers.signed_approvals(filed, *everybody), announcements
        )
        granted = [answer for answer in answers if answer.grant is not None]
        self.checks.note(
            "the same request with all approvals is granted (so the refusals meant something)",
            len(granted) == len(answers),
            f"{len(granted)} of {len(answers)} custodians",
        )
        keys = {raw: intruder.keys(answers, raw) for raw in announcements}
        self._look_into_segments(keys)
        self._look_into_the_dark(keys)
        try:
            intruder.keys(granted[:1], announcements[0])
        except ProtocolError as error:
            self.checks.note("one custodian alone opens nothing", True, str(error))
        else:
            self.checks.note("one custodian alone opens nothing", False, "it opened")
        return keys

    def _look_into_segments(self, keys: Mapping[bytes, EpochKeys]) -> None:
        """Count what was sealed, which nothing in the clear tells, and try to read what it says."""
        expected = sum(len(clip.sightings) for clip in self._truth)
        sealed, closed = 0, 0
        for envelope in self._of_the_clips:
            granted, slot = keys[self._announcement_of(envelope)], envelope.header.name.slot
            sealed += len(envelope.rows(granted.key(slot, COVER)))
            try:
                granted.key(slot, META)
            except ScopeExceeded:
                closed += 1
        self.checks.note(
            "everybody who walked past was sealed as a sighting",
            sealed == expected,
            f"{sealed} sightings of {expected} walks, on {len(self._truth)} cameras",
        )
        self.checks.note(
            "granted keys compare templates, and open nobody's metadata",
            0 < closed == len(self._of_the_clips),
            f"the metadata of {closed} segments of {len(self._of_the_clips)} stayed closed",
        )

    def _look_into_the_dark(self, keys: Mapping[bytes, EpochKeys]) -> None:
        """Read how many people each camera counted, which the query asks for."""
        counts = {}
        for envelope in self._of_the_clips:
            name, granted = envelope.header.name, keys[self._announcement_of(envelope)]
            counts[name.address.camera] = envelope.counts(granted.key(name.slot, COUNTS))
        hits = [hit for subject in self.trace["subjects"] for hit in subject["hits"]]
        check_dark(self.checks, hits, counts, self._truth)

    def _outside_the_window(self, site: LocalSite, officers: Officers, subject: Path) -> None:
        self.tell("an approved query for another hour tries what was seen just now")
        cameras = [clip.camera for clip in self._truth]
        early = officers.file(subject, cameras=cameras, begin="-2h", end="-1h")
        officers.approve(early, "bo", "cy")
        told = officers.wait(
            early, lambda told: told["state"] == "complete", timeout_s=30, what="the early query"
        )
        compared = told["progress"].get("sightings", 0)
        self.checks.note(
            "a query outside its window compares nothing",
            compared == 0 and told["candidates"] == 0,
            f"{compared} sightings compared, {told['candidates']} candidates",
        )
        intruder = Intruder(site)
        approvals = officers.signed_approvals(early, "bo", "cy")
        answers = intruder.ask(early.signed, approvals, self._announcements())
        opened, closed = 0, 0
        for envelope in self._envelopes():
            raw = self._announcement_of(envelope)
            try:
                plain_needles(envelope, intruder.keys(answers, raw))
                opened += 1
            except ProtocolError:
                closed += 1
        self.checks.note(
            "its keys open no envelope of another hour",
            opened == 0 and closed > 0,
            f"{closed} envelopes tried, {opened} opened",
        )

    def _after_revocation(self, site: LocalSite, officers: Officers, filed: Filed) -> None:
        self.tell("an approver revokes; then a box is stolen and revoked")
        officers.revoke(filed, "cy")
        told = officers.wait(
            filed, lambda told: told["state"] == "withdrawn", timeout_s=30, what="the withdrawal"
        )
        self.checks.note("a revoked query ends", True, told["reason"])
        answers = Intruder(site).ask(
            filed.signed, officers.signed_approvals(filed, "bo", "cy", "di"), self._announcements()
        )
        self._note_refused("after the revocation the same request opens nothing", answers)
        self._stolen_box(site)

    def _stolen_box(self, site: LocalSite) -> None:
        site.services["box-3"].stop()
        site.run(
            "ana", "box", "revoke", str(site.paths.root), "box-3", "--push",
            "--officer", str(site.officer("ana")),
        )  # fmt: skip
        site.services["box-3"].start()
        code = site.services["box-3"].wait(60)
        said = site.services["box-3"].tail()
        self.checks.note(
            "a revoked box notices and publishes nothing more",
            code != 0 and "revoked" in said,
            f"exit code {code}",
        )
        site.services["box-3"].process = None

    def _nothing_plain(self, site: LocalSite, keys: Mapping[bytes, EpochKeys]) -> None:
        self.tell("searching every file and all MQTT traffic for plain templates")
        needles: list[bytes] = []
        for envelope in self._envelopes():
            granted = keys.get(self._announcement_of(envelope))
            if granted is not None:
                needles += plain_needles(envelope, granted)
        files = list(site.files())
        on_disk = find_in_files(needles, files)
        on_wire = find_in_messages(needles, self._heard().messages())
        planted = self.folder.parent / "planted"
        planted.write_bytes(b"x" * 5000 + b"".join(needles[:1]) + b"x" * 5000)
        found_planted = bool(find_in_files(needles, [planted]))
        planted.unlink()
        self.checks.note(
            "no file of any process holds a plain template or sighting id",
            bool(needles) and not on_disk and found_planted,
            f"{len(needles)} byte strings, {len(files)} files: "
            + (str(on_disk[0][0]) if on_disk else "none found; a planted one was"),
        )
        self.checks.note(
            "the MQTT traffic holds none either",
            bool(needles) and not on_wire,
            f"{len(self._heard().messages())} messages, {self._heard().size_bytes():,} bytes: "
            + (on_wire[0] if on_wire else "none found"),
        )

    def _audit(self, site: LocalSite) -> None:
        self.tell("the auditor fetches all logs and verifies them offline")
        report = self._fetch_and_verify(site, "audit")
        wrong = [finding for finding in report["findings"] if finding["severity"] != "note"]
        self.checks.note(
            "the audit logs are whole, and every grant and match is backed",
            bool(report["sound"]) and not wrong,
            wrong[0]["message"] if wrong else self._audited(report),
        )

    def _audit_again(self, site: LocalSite) -> None:
        self.tell("the auditor looks again, after all that was tried")
        report = self._fetch_and_verify(site, "audit-again")
        names = {finding["kind"] for finding in report["findings"]}
        self.checks.note(
            "grants that an aggregator kept from its own log are noticed",
            "grant-not-received" in names,
            ", ".join(sorted(names)) or "nothing was found",
        )
        entries = sorted((self.folder / "audit-again").rglob("entries.cborseq"))[0]
        data = bytearray(entries.read_bytes())
        data[len(data) // 2] ^= 1
        entries.write_bytes(data)
        report = self._verify(site, "audit-again")
        self.checks.note(
            "one altered byte in a log is noticed",
            not report["sound"],
            next(
                (f["kind"] for f in report["findings"] if f["severity"] == "wrong"), "not noticed"
            ),
        )

    def _fetch_and_verify(self, site: LocalSite, name: str) -> Any:
        """Fetch until every log is cosigned by all others: that takes a few seconds."""
        deadline = time.monotonic() + 30
        while True:
            site.run("eve", "audit", "fetch", "--out", str(self.folder / name))
            report = self._verify(site, name)
            missing = {f["kind"] for f in report["findings"]} & _COSIGNING
            if not missing or time.monotonic() > deadline:
                return report

    def _verify(self, site: LocalSite, name: str) -> Any:
        return json.loads(
            site.run("eve", "audit", "verify", str(self.folder / name), "--json", expect=None)
        )

    @staticmethod
    def _audited(report: Any) -> str:
        logs = report["logs"]
        return f"{len(logs)} logs, {sum(log['entries'] for log in logs)} entries, all cosigned"

    # ------------------------------------------------------------------ looking

    def _note_refused(self, promise: str, answers: list[Answer]) -> None:
        refused = [answer for answer in answers if answer.grant is None and answer.problem]
        said = ", ".join(f"{answer.custodian}: {answer.problem or 'granted'}" for answer in answers)
        self.checks.note(promise, len(refused) == len(answers) == len(CUSTODIANS), said)

    def _heard(self) -> Wiretap:
        if self._tap is None:
            raise ProcessFailed("the wiretap was never started")
        return self._tap

    def _envelopes(self) -> list[Envelope]:
        return [Envelope.parse(message.payload) for message in self._heard().messages("/envelope")]

    def _segments(self) -> list[Envelope]:
        return [envelope for envelope in self._envelopes() if envelope.header.kind == SEGMENT]

    def _announcements(self) -> list[bytes]:
        return list(dict.fromkeys(m.payload for m in self._heard().messages("/epoch")))

    def _announcement_of(self, envelope: Envelope) -> bytes:
        header = envelope.header
        for raw in self._announcements():
            signed = Signed.parse(raw, kind="epoch")
            stated = Announcement.parse(signed.payload, box=signed.signer)
            if (stated.address, stated.epoch, stated.generation) == (
                header.name.address,
                header.name.epoch,
                header.name.generation,
            ):
                return raw
        raise ProcessFailed("an envelope's announcement was not heard")

    def _walks_of_subject(self) -> list[Any]:
        """Those on which the subject's face shows."""
        who = demo_scenario().subject
        return [
            seen
            for clip in self._truth
            for seen in clip.sightings
            if seen.who == who and seen.masked is not None
        ]

    @staticmethod
    def _boxes(scenario: Scenario) -> list[str]:
        return [scene.camera.replace("cam-", "box-") for scene in scenario.scenes]


def _mask(masked: bool | None) -> str:
    return "unknown" if masked is None else "masked" if masked else "unmasked"


def _contact_masks(hit: Mapping[str, Any]) -> list[str]:
    return sorted(str(contact["mask"]) for contact in hit["contacts"])


def _expected_contacts(clip: ClipTruth, subject: str) -> list[str]:
    return sorted(
        _mask(masked)
        for contact in clip.contacts
        for who, masked in zip(contact.who, contact.masked, strict=True)
        if subject in contact.who and who != subject
    )


def _said(seen: list[tuple[str, list[str]]]) -> str:
    return "; ".join(
        f"{mask}, with {' and '.join(contacts) if contacts else 'nobody'}"
        for mask, contacts in seen
    )


def _ms(moment: str) -> int:
    return int(datetime.fromisoformat(moment).astimezone(UTC).timestamp() * 1000)
