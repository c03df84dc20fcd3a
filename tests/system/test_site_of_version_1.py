"""What the first version left on its disks is taken over: nothing is lost, everything opens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from desk_pages import page_desk, words_of
from running_site import SERVERS
from site_v1 import CUSTODIANS, SiteV1, opened

from demo.local_site import LocalSite
from demo.processes import run_command, sealtrace
from edge_agent.outbox import Outbox
from protocol import hpke
from protocol.policy import open_policy
from protocol.results import Candidate
from protocol.signing import VerifyKey
from provisioning.formats.plan import load_plan
from provisioning.registrar.config import RegistrarConfig
from provisioning.registrar.keys import open_keys
from provisioning.registrar.registrar import Registrar
from runtime.config import load
from runtime.keyfiles import PASSPHRASE_ENVIRONMENT, read_secret


@pytest.fixture
def old(tmp_path: Path) -> SiteV1:
    return SiteV1.unpack(tmp_path)


def test_the_directory_and_the_policy_still_verify(old: SiteV1) -> None:
    authority = VerifyKey(bytes.fromhex(old.paths.authority_public.read_text().strip()))
    assert old.directory.site == old.truth["site"]
    assert tuple(old.directory.custodians()) == CUSTODIANS
    folder = old.paths.policy.parent
    signature = (folder / "policy.toml.sig").read_bytes()
    policy = open_policy(old.paths.policy.read_bytes(), signature, authority)
    assert (policy.version, policy.approvals, policy.retention_days) == (1, 2, 14)


@pytest.mark.parametrize("name", CUSTODIANS)
def test_a_custodian_opens_with_all_its_keys_log_and_withdrawals(old: SiteV1, name: str) -> None:
    custodian = old.custodian(name)
    try:
        status = custodian.status()
        assert old.truth["epoch"] in custodian.ring.epochs()
        assert status["destroyed_before"] == 0
        assert custodian.log.size > 9  # what it had, and that it started
        assert status["withdrawals"] == 1
        assert status["clock_in_doubt"] is False
    finally:
        custodian.close()


def test_every_stored_envelope_opens_and_holds_whom_it_held(old: SiteV1) -> None:
    expected = {tuple(item["ids"]) for item in old.truth["envelopes"]}
    with closing(old.store()) as store:
        keys = {(a.address, a.epoch, a.generation): old.keys(a) for a in old.announcements(store)}
        found = {}
        for envelope in old.envelopes(store):
            header = envelope.header
            meta = opened(envelope, keys[header.address, header.epoch, header.generation])
            ids = tuple(bytes(row).hex() for row in meta.ids)
            found[ids] = meta
    assert expected < set(found)
    assert len(found) == len(expected) + 1  # one came last and alone, live
    for ids in expected:
        assert {float(found[ids].sighting(0).encounters[0].seconds)} == {2.5}


def test_queries_and_their_results_are_there_and_open_for_who_asked(old: SiteV1) -> None:
    queries = old.truth["queries"]
    secret = old.root / "officers" / "ana" / "sealing.secret"
    key = hpke.PrivateKey(read_secret(secret, old.passphrase, "sealing"))
    with closing(old.store()) as store:
        kept = store.ledger
        states = {record.query_id.hex(): record.state for record in kept.queries()}
        assert states == {
            queries["traced"]: "complete",
            queries["waiting"]: "awaiting-approvals",
            queries["withdrawn"]: "withdrawn",
        }
        traced = kept.query(bytes.fromhex(queries["traced"]))
        assert traced is not None
        results = kept.results(traced.digest, "ana")
        candidates = [
            Candidate.open(sealed, key, query_digest=traced.digest) for _, sealed, _ in results
        ]
        assert sorted(c.sighting_id.hex() for c in candidates) == queries["candidates"]
        assert all(decision is not None for _, _, decision in results)


def test_the_fetched_logs_still_pass_the_audit(old: SiteV1) -> None:
    eve = old.root / "officers" / "eve"
    done = run_command(
        sealtrace("audit", "verify", str(eve / "logs"), "--json"),
        folder=old.root,
        environment={
            PASSPHRASE_ENVIRONMENT: old.truth["passphrase"],
            "SEALTRACE_OFFICER": str(eve / "officer.toml"),
        },
        expect=0,
    )
    report = json.loads(done.stdout)
    logs = {log["origin"].rpartition("/")[2]: log["entries"] for log in report["logs"]}
    assert set(logs) == {*CUSTODIANS, "aggregator"}
    assert min(logs.values()) >= 9
    wrong = [finding for finding in report["findings"] if finding["severity"] == "wrong"]
    assert wrong == []


def test_a_box_keeps_what_it_had_not_delivered(old: SiteV1) -> None:
    path = old.root / "boxes" / "box-1" / "state" / "outbox.sqlite"
    with closing(Outbox(path, max_bytes=1 << 24, memory_bytes=1 << 20)) as outbox:
        kept = outbox.take(100)
        assert [[message.camera, message.sequence] for message in kept] == old.truth["outbox"]
        assert outbox.next_sequence("cam-1") == kept[-1].sequence + 1


def test_the_registrar_knows_whom_it_admitted_and_revoked(old: SiteV1) -> None:
    config = load(old.paths.registrar, RegistrarConfig)
    registrar = Registrar(config, open_keys(config, old.passphrase))
    try:
        boxes = {record.name: record for record in registrar.store.boxes()}
        assert set(boxes) == {"box-8", "box-9"}
        assert set(registrar.store.revocations()) == {"box-9"}
    finally:
        registrar.close()


@pytest.fixture
def started(old: SiteV1) -> Iterator[LocalSite]:
    site = LocalSite(load_plan(old.root / "site.toml"), old.root.parent)
    site.list_services()
    (site.folder / "logs").mkdir()
    try:
        site.start(*SERVERS, "registrar")
        yield site
    finally:
        site.stop()


def test_the_processes_start_on_it_and_the_officers_find_their_cases(
    old: SiteV1, started: LocalSite
) -> None:
    assert started.crashed() == []
    query = old.truth["queries"]["traced"]
    (subject,) = started.run_json("ana", "trace", "show", query)["subjects"]
    assert {hit["camera"] for hit in subject["hits"]} == {"cam-2", "cam-3"}
    with page_desk(started, "ana", unlocked=False) as desk:  # pages came since
        desk.house.unlock(old.passphrase)
        told = words_of(desk.get(f"/queries/{query}/trace", follow=True))
        assert "cam-2" in told
        assert "cam-3" in told
