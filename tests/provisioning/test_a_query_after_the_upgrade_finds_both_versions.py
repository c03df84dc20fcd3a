"""After a site of version 1 was upgraded, one query finds whom its boxes saw before and since.

All in this process, on the folders that version 0.1.0 left: its custodians, of whom two agree, its
aggregator, and a box of it that has gone on to version 2 and seals under keys made since.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from boxes_v2 import BoxOfVersion2
from boxes_v2 import person as seen
from puppet_box import person
from query_desk import template_of
from running_site import PUPPET_MODEL
from site_v1 import CUSTODIANS, PURPOSE, SiteV1
from typer.testing import CliRunner

import aggregator.circle
from aggregator.config import AggregatorConfig
from aggregator.ingest.messages import Incoming
from aggregator.service import Aggregator
from custodian.custodian import Custodian
from protocol.about_queries import MATCHER_KEY_KIND, Approval, MatcherKey
from protocol.daykeys import DayKeys
from protocol.epoch import announce
from protocol.keytree import FACE
from protocol.names import ENVELOPE, EPOCH, SLOT_MS, CameraAddress, epoch_of, slot_of
from protocol.query import Query, Subject, TemplateReference
from protocol.results import Candidate, Opening
from protocol.sealing import SEGMENT
from protocol.sightings import quantise_template
from protocol.signing import Signed
from protocol.templates import seal_templates
from protocol.v2.blocks import Space
from provisioning.authority import changes, open_site
from provisioning.authority.policy_cli import app as policy_app
from runtime.config import load
from runtime.http import PeerUnreachable
from runtime.keyfiles import read_secret

DOWN = "c3"
"""The custodian that nobody reaches: two of three are enough."""


@dataclass(slots=True)
class GoneOn(BoxOfVersion2):
    """A box of the old site after its update."""

    @property
    def address(self) -> CameraAddress:
        return CameraAddress("demo", self.name, self.camera)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteV1:
    """The old site, its directory and policy brought to what version 2 needs."""
    site = SiteV1.unpack(tmp_path)
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", site.passphrase.decode())
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)
    changes.sign_again(site.root, site.passphrase)
    done = CliRunner().invoke(policy_app, ["upgrade", str(site.root), "--yes"])
    assert done.exit_code == 0, done.output
    changes.change_policy(site.root, site.upgraded_policy_opened().encode(), site.passphrase)
    return site


@pytest.fixture
def custodians(old: SiteV1) -> Iterator[dict[str, Custodian]]:
    opened = {name: old.custodian(name) for name in CUSTODIANS}
    yield opened
    for custodian in opened.values():
        custodian.close()


@pytest.fixture
def headquarters(
    old: SiteV1, custodians: dict[str, Custodian], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Aggregator]:
    """The old site's aggregator at the time of the fixture, with its custodians beside it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("aggregator") and hasattr(module, "system_ms"):
            monkeypatch.setattr(module, "system_ms", lambda: old.now_ms)
    urls = {one.url: name for name, one in open_site(old.root).directory.principals.items()}

    def serve(request: httpx.Request) -> httpx.Response:
        name = urls[f"https://{request.url.host}:{request.url.port}"]
        if name == DOWN:
            raise PeerUnreachable("nobody there")
        custodian = custodians[name]
        answer = custodian.rows.open if request.url.path == "/v1/rows" else custodian.granter.grant
        return httpx.Response(200, content=answer(request.content))

    monkeypatch.setattr(
        aggregator.circle,
        "client",
        lambda url, *_, **__: httpx.Client(base_url=url, transport=httpx.MockTransport(serve)),
    )
    secret = old.folder("aggregator") / "identity.secret"
    config = load(old.paths.aggregator, AggregatorConfig)
    made = Aggregator(config, read_secret(secret, old.passphrase, "identity"))
    with closing(made):
        yield made


def see_in_version_2(
    old: SiteV1, headquarters: Aggregator, custodians: dict[str, Custodian], who: int
) -> bytes:
    """Have box-3 announce a generation of version 2 and seal a sighting; return its id."""
    begins_ms = old.now_ms // SLOT_MS * SLOT_MS - SLOT_MS
    epoch, slot = epoch_of(begins_ms), slot_of(begins_ms)
    box = GoneOn("box-3", "cam-3", old.signing("box-3"), generation=old.now_ms // 1000)
    position = headquarters.intake.position(box.address)
    assert position is not None
    box.sequence = position[0] + 1
    announced = announce(
        box.roots(epoch),
        address=box.address,
        epoch=epoch,
        generation=box.generation,
        sequence=box.next_sequence(),
        threshold=2,
        custodians=CUSTODIANS,
        day_keys={
            name: DayKeys.parse(
                Signed.parse(one.rounds.day_keys_2, kind="day-keys").payload, custodian=name
            ).keys[epoch]
            for name, one in custodians.items()
        },
        models={FACE: PUPPET_MODEL},
        announced_at_ms=old.now_ms,
        version=2,
    )
    sighting = seen(person(who), at_ms=begins_ms + 60_000)
    sealed = box.sealed(
        [seen(person(7), at_ms=begins_ms + 30_000), sighting], kind=SEGMENT, slot=slot,
        epoch=epoch, sealed_at_ms=begins_ms + SLOT_MS, spaces={FACE: Space(PUPPET_MODEL)},
    )  # fmt: skip
    messages = [(EPOCH, announced.sign(box.key).to_bytes()), (ENVELOPE, sealed.to_bytes())]
    taken = headquarters.intake.process(
        [Incoming(box.address.topic(kind), data, old.now_ms) for kind, data in messages]
    )
    assert taken.stored == 2
    return sighting.sighting_id


def ask(old: SiteV1, headquarters: Aggregator, who: int) -> bytes:
    """File ana's query for somebody's face on both cameras, approved twice; return its id."""
    policy, now_ms = headquarters.policy, old.now_ms
    template = template_of(*quantise_template(person(who)), model=PUPPET_MODEL)
    reference = TemplateReference(FACE, PUPPET_MODEL, template.digest)
    query = Query(
        query_id=os.urandom(16),
        site=policy.site,
        subjects=(Subject("patient-17", "consent 17", (reference,)),),
        purpose="contact tracing of a confirmed patient",
        legal_basis="consent",
        cameras=("cam-2", "cam-3"),
        window_from_ms=min(int(item["slot_ms"]) for item in old.truth["envelopes"]),
        window_to_ms=now_ms // SLOT_MS * SLOT_MS,
        modalities=(FACE,),
        live=False,
        thresholds={PUPPET_MODEL: 0.6},
        contacts=True,
        max_candidates=50,
        expected_false=0.001,
        requested_at_ms=now_ms,
        not_after_ms=now_ms + 86_400_000,
        policy_digest=policy.digest,
        version=2,
        purpose_kind=PURPOSE,
        confirmers=("dan",),
    )
    signed = query.sign(old.signing("ana"))
    desk = headquarters.desk
    record = desk.file(signed.to_bytes())
    stated = Signed.parse(desk.matcher_key(record.query_id), kind=MATCHER_KEY_KIND)
    key = MatcherKey.parse(stated.payload).key
    sealed = seal_templates({"patient-17": (template,)}, key, query_digest=signed.digest)
    desk.put_templates(record.query_id, sealed)
    for name in ("bo", "cy"):
        approval = Approval(signed.digest, policy.digest, now_ms).sign(old.signing(name))
        desk.approve(record.query_id, approval.to_bytes())
    return record.query_id


@pytest.mark.slow
def test_one_query_finds_whom_the_site_saw_before_its_upgrade_and_since(
    old: SiteV1, headquarters: Aggregator, custodians: dict[str, Custodian]
) -> None:
    patient = int(old.truth["patient_seed"])
    new = see_in_version_2(old, headquarters, custodians, patient)
    query_id = ask(old, headquarters, patient)
    assert headquarters.runner is not None
    headquarters.runner.step(headquarters.desk.get(query_id))
    record = headquarters.desk.get(query_id)
    assert (record.state, record.reason) == ("complete", "")
    ledger = headquarters.store.ledger
    for officer in ("ana", "dan"):
        key = old.sealing(officer)
        found = [
            Candidate.open(sealed, key, query_digest=record.digest)
            for _, sealed, _ in ledger.results(record.digest, officer)
        ]
        before = {one.sighting_id.hex(): one for one in found if one.episode is None}
        assert sorted(before) == old.truth["queries"]["candidates"]
        assert {one.address.camera for one in before.values()} == {"cam-2", "cam-3"}
        assert all(len(one.encounters) == 1 for one in before.values()), "who was near, too"
        (since,) = [one for one in found if one.episode is not None]
        assert (since.sighting_id, since.address.box) == (new, "box-3")
        openings = [
            Opening.open(sealed, key, query_digest=record.digest)
            for sealed in headquarters.desk.openings(record, reader=officer)
        ]
        assert [[row.sighting_id for row in one.rows] for one in openings] == [[new]]
        assert [set(one.receipts) for one in openings] == [{"c1", "c2"}]
