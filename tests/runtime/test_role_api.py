"""What every role's interface does alike: callers, status, directory, its machine's errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import protocol_samples as s
import pytest
from serving import DEADLINE_S, Serving
from structlog.testing import capture_logs
from throwaway_ca import ThrowawayCa

from protocol.directory import DIRECTORY_KIND
from protocol.directory_forms import sign_forms
from protocol.encoding import Fields, decode
from protocol.signing import Signed
from runtime.errors import OperationError
from runtime.http import CBOR, client
from runtime.peers import News, Told, tell
from runtime.role_api import Callers, role_app, site_routes
from runtime.trust import Trust

SECRET_PATH = "/var/lib/role/state"


@dataclass
class Role:
    """A role that is nothing but its skeleton."""

    trust: Trust
    url: str = ""
    broken: OperationError | None = None
    reads: int = 2
    accepted: list[bytes] = field(default_factory=list)

    def status(self) -> dict[str, object]:
        if self.broken is not None:
            raise self.broken
        return {"site": self.trust.site}

    def accept(self, data: bytes) -> bool:
        self.accepted.append(data)
        if self.reads == 1:  # as software of version 1 reads it
            payload = Signed.parse(data, kind=DIRECTORY_KIND).payload
            Fields(decode(payload, what="directory"), what="directory").version(1)
        return self.trust.accept(data)


@pytest.fixture(params=[False, True], ids=["officers-alone", "boxes-too"])
def boxes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def role(tmp_path: Path, authority: ThrowawayCa, boxes: bool) -> Iterator[Role]:
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(s.directory().sign(s.authority()).to_bytes())
    trust = Trust(
        site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
    )
    made = Role(trust)
    callers = Callers(lambda: trust.directory, boxes=boxes)
    app = role_app("witness", "outside witness", version="1")
    app.include_router(
        site_routes(
            trust,
            tell_status=made.status,
            about_status="How it is.",
            accept=made.accept,
            known=callers.listed if boxes else callers.known,
            bringer=callers.bringer,
        )
    )

    with Serving(app, authority.issue("witness")) as serving:
        made.url = serving.url
        yield made


def ask(
    role: Role,
    authority: ThrowawayCa,
    who: str,
    path: str = "/v1/status",
    body: bytes | None = None,
) -> tuple[int, str, bytes]:
    """Return the answer's status, its problem's short name and its body."""
    with client(role.url, authority.issue(who), DEADLINE_S) as http:
        if body is None:
            answer = http.get(path)
        else:
            answer = http.put(path, content=body, headers={"content-type": CBOR})
    kind = answer.json().get("type", "") if "json" in answer.headers["content-type"] else ""
    return answer.status_code, kind.rpartition(":")[2], answer.content


def test_everybody_in_force_reads_what_the_role_believes(
    role: Role, authority: ThrowawayCa
) -> None:
    for who in ("ana", "c2", "aggregator", "eve"):
        assert ask(role, authority, who)[0] == 200
    assert ask(role, authority, "ana", "/v1/directory")[2] == role.trust.signed
    assert ask(role, authority, "ana", "/v1/admissions")[:2] == (404, "no-admissions")


def test_the_unknown_and_the_revoked_are_told_apart(role: Role, authority: ThrowawayCa) -> None:
    assert ask(role, authority, "mallory")[:2] == (403, "unknown-signer")
    role.trust.accept(s.directory().revoke("bo", at_ms=s.NOW_MS).sign(s.authority()).to_bytes())
    assert ask(role, authority, "bo")[:2] == (403, "principal-revoked")


def test_a_box_reads_only_where_boxes_call(role: Role, authority: ThrowawayCa, boxes: bool) -> None:
    assert ask(role, authority, "box-1")[0] == (200 if boxes else 403)


def test_who_may_not_bring_a_directory_is_refused_before_it_is_looked_at(
    role: Role, authority: ThrowawayCa
) -> None:
    newer = s.directory().revoke("bo", at_ms=s.NOW_MS).sign(s.authority()).to_bytes()
    assert ask(role, authority, "box-1", "/v1/directory", newer)[:2] == (403, "duty-required")
    assert not role.accepted
    assert ask(role, authority, "mallory", "/v1/directory", newer)[0] == 200
    assert role.trust.directory.principals["bo"].revoked_at_ms == s.NOW_MS


def test_what_only_the_operator_can_mend_is_logged_and_not_told(
    role: Role, authority: ThrowawayCa
) -> None:
    role.broken = OperationError(f"{SECRET_PATH} is full")
    with capture_logs() as logged:
        status, kind, body = ask(role, authority, "ana")
    assert (status, kind) == (503, "witness-unable")
    assert SECRET_PATH.encode() not in body
    assert b"outside witness cannot do that now" in body
    assert f"{SECRET_PATH} is full" in {entry.get("reason") for entry in logged}


def test_no_page_of_a_library_is_served(role: Role, authority: ThrowawayCa) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert ask(role, authority, "ana", path)[0] == 404


def test_each_caller_is_given_the_directory_in_the_form_that_it_reads(
    role: Role, authority: ThrowawayCa
) -> None:
    forms = sign_forms(s.directory().revoke("bo", at_ms=s.NOW_MS), s.authority())
    assert ask(role, authority, "ana", "/v1/directory", forms[2])[0] == 200
    assert ask(role, authority, "ana", "/v1/directory?form=2")[2] == forms[2]
    assert ask(role, authority, "ana", "/v1/directory", forms[1])[0] == 200
    assert ask(role, authority, "ana", "/v1/directory")[2] == forms[1], "who says nothing is old"
    for form, signed in ((1, forms[1]), (2, forms[2]), (3, forms[2])):
        assert ask(role, authority, "ana", f"/v1/directory?form={form}")[2] == signed


def test_news_of_a_directory_reach_roles_of_either_version(
    role: Role, authority: ThrowawayCa
) -> None:
    newer = s.directory().revoke("bo", at_ms=s.NOW_MS)
    forms = sign_forms(newer, s.authority())
    peer = replace(newer.principals["aggregator"], url=role.url)
    news = News.of_directory(forms[1], forms[2])
    assert tell(peer, news, authority.issue("ana")) == Told("aggregator")
    assert role.trust.signed == forms[2]
    assert role.trust.signed_in(1) == forms[1]


def test_a_role_that_reads_no_second_form_is_told_the_first_and_named(
    role: Role, authority: ThrowawayCa
) -> None:
    newer = s.directory().revoke("bo", at_ms=s.NOW_MS)
    forms = sign_forms(newer, s.authority())
    role.reads = 1
    peer = replace(newer.principals["aggregator"], url=role.url)
    told = tell(peer, News.of_directory(forms[1], forms[2]), authority.issue("ana"))
    assert not told.problem
    assert "needs its update" in told.note
    assert role.trust.signed == forms[1]
    assert role.trust.directory.principals["bo"].revoked_at_ms == s.NOW_MS
    alone = tell(peer, News.of_directory(None, forms[2]), authority.issue("ana"))
    assert "needs its update" in alone.problem, "with nothing in its form it was not told"
