"""One custodian of three that answers falsely keeps nothing closed that the other two opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import protocol_samples as s
import pytest

import aggregator.grants
from aggregator.grants import Custodians, Granted, TooFewGrants
from aggregator.store import Store, StoredAnnouncement
from aggregator.store.queries import QueryBook
from protocol.auditlog import origin_of
from protocol.directory import CUSTODIAN
from protocol.grant import (
    GRANT_REQUEST_KIND,
    Grant,
    GrantedKeys,
    GrantRequest,
    Scope,
    release,
    seal_grant,
)
from protocol.query import MATCHER_KEY_KIND, MatcherKey
from protocol.signing import Signed
from runtime.auditlog import AuditLog
from runtime.trust import Trust

SCOPE = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 38, 41)
LABELS = ("face", "live", "meta")
CASE = s.case()


def honest(name: str, scope: Scope = SCOPE, labels: tuple[str, ...] = LABELS) -> GrantedKeys:
    return release(s.announcement().open_share(name, s.day_key(name)), scope, labels)


def answer(name: str, request: bytes, keys: list[GrantedKeys], sealed: bytes | None) -> bytes:
    asked = GrantRequest.parse(Signed.parse(request, kind=GRANT_REQUEST_KIND).payload)
    matcher = MatcherKey.parse(Signed.parse(asked.matcher_key, kind=MATCHER_KEY_KIND).payload).key
    grant_id, digest = s.fixed(f"grant {name}", 16), CASE.query.digest
    grant = Grant(
        grant_id=grant_id,
        query_digest=digest,
        labels=tuple(keys[0].nodes),
        scopes=tuple(one.scope for one in keys),
        refused=(),
        entry_index=0,
        granted_at_ms=s.NOW_MS,
        sealed=sealed or seal_grant(keys, matcher, grant_id=grant_id, query_digest=digest),
    )
    return grant.sign(s.signing_key(name)).to_bytes()


class Desk:
    """The aggregator's side, with custodians whose answers a test chooses."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, tuple[list[GrantedKeys], bytes | None]] = {
            name: ([honest(name)], None) for name in s.CUSTODIANS
        }
        directory = s.directory()
        listed = {
            name: replace(p, url=f"https://{name}.test") if CUSTODIAN in p.duties else p
            for name, p in directory.principals.items()
        }
        installed = folder / "directory.cbor"
        signed = replace(directory, principals=listed).sign(s.authority())
        installed.write_bytes(signed.to_bytes())
        trust = Trust(
            site=s.SITE,
            authority=s.authority().verify_key,
            installed=installed,
            state_dir=None,
        )
        key = s.signing_key("aggregator")
        self.store = Store(folder / "aggregator.db")
        self.log = AuditLog(folder / "audit.db", origin_of(s.SITE, "aggregator"), key, {})
        self.custodians = Custodians(self.store, trust, self.log, key, None)

        def client(url: str, _tls: None, _timeout_s: float) -> httpx.Client:
            return httpx.Client(base_url=url, transport=httpx.MockTransport(self._serve))

        monkeypatch.setattr(aggregator.grants, "client", client)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.removesuffix(".test")
        keys, sealed = self.answers[name]
        return httpx.Response(200, content=answer(name, request.content, keys, sealed))

    def ask(self) -> Granted:
        query = CASE.query
        QueryBook(self.store).add(s.query(), query, now_ms=s.NOW_MS)
        record = QueryBook(self.store).find(s.fixed("query", 16))
        assert record is not None
        announced = s.announcement().sign(s.signing_key("box-1")).to_bytes()
        stored = StoredAnnouncement(s.ADDRESS, s.EPOCH, s.GENERATION, announced)
        return self.custodians.grant(record, CASE.approvals, [], s.sealing_key("m"), [stored])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    one = Desk(tmp_path, monkeypatch)
    yield one
    one.log.close()
    one.store.close()


LIES: Mapping[str, tuple[list[GrantedKeys], bytes | None]] = {
    "what does not open": ([honest("c3")], b"x" * 2000),
    "fewer slots": ([honest("c3", replace(SCOPE, last_slot=38))], None),
    "fewer slots, many times": ([honest("c3", replace(SCOPE, last_slot=38))] * 5, None),
    "later slots": ([honest("c3", replace(SCOPE, first_slot=40))], None),
    "other labels": ([honest("c3", labels=("meta",))], None),
}


@pytest.mark.parametrize("lie", LIES)
def test_two_that_agree_open_what_they_granted(desk: Desk, lie: str) -> None:
    desk.answers["c3"] = LIES[lie]
    (keys,) = desk.ask().keys
    assert keys.scope == SCOPE
    assert keys.key(s.SLOT, "face") == s.slot_keys()["face"]


def test_one_that_is_a_moment_behind_keeps_no_slot_closed(desk: Desk) -> None:
    desk.answers["c1"] = ([honest("c1", replace(SCOPE, last_slot=40))], None)
    assert desk.ask().keys[0].scope == SCOPE


def test_too_few_that_open_are_too_few(desk: Desk) -> None:
    for name in ("c2", "c3"):
        desk.answers[name] = ([honest(name)], b"x" * 2000)
    with pytest.raises(TooFewGrants, match="1 of 3 custodians granted") as caught:
        desk.ask()
    assert not caught.value.final
    assert desk.log.size == 3, "what came is logged all the same"
