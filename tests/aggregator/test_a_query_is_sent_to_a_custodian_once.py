"""Custodians are sent a query once; those that do not hold it, or read no digests, get it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import protocol_samples as s
import pytest
from quiet_site import QuietSite

import aggregator.opening
from protocol.errors import MalformedMessage, ProtocolError, QueryNotHeld, UnsupportedVersion
from protocol.grant import GRANT_REQUEST_KIND, GrantRequest
from protocol.signing import Signed
from runtime.problems import PROBLEM, problem_of, problem_response

PORTIONS = 4


class Site(QuietSite):
    """Custodians that note how their query came, and refuse digests as a test says."""

    came: Counter[tuple[str, str]]
    refuses: ProtocolError | None = None

    def _serve(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.removesuffix(".test")
        asked = GrantRequest.parse(Signed.parse(request.content, kind=GRANT_REQUEST_KIND).payload)
        how = "in full" if asked.query_digest is None else "by digest"
        self.came[name, how] += 1
        if self.refuses is not None and asked.query_digest is not None:
            answer = problem_response(problem_of(self.refuses))
            return httpx.Response(
                answer.status_code,
                content=bytes(answer.body),
                headers={"content-type": PROBLEM},
            )
        return super()._serve(request)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """One query over four cameras, for which custodians are asked one after another."""
    monkeypatch.setattr(aggregator.opening, "ANNOUNCEMENTS_A_REQUEST", 1)
    Site.came = Counter()
    one = Site(tmp_path, monkeypatch, queries=1, cameras=PORTIONS)
    yield one
    one.close()


def came(site: Site, how: str) -> list[int]:
    return [site.came[name, how] for name in s.CUSTODIANS]


def state(site: Site) -> str:
    return site.desk.get(site.ids[0]).state


def test_the_query_goes_out_once_and_then_by_its_digest(site: Site) -> None:
    site.look()
    assert state(site) == "standing"
    assert came(site, "in full") == [1, 1, 1]
    assert came(site, "by digest") == [PORTIONS - 1] * 3


def test_a_custodian_that_does_not_hold_it_gets_it_again(site: Site) -> None:
    site.refuses = QueryNotHeld("send it in full")
    site.look()
    assert state(site) == "standing"
    assert came(site, "in full") == [PORTIONS] * 3
    assert came(site, "by digest") == [PORTIONS - 1] * 3


def test_a_custodian_of_an_older_version_is_asked_by_digest_once_and_never_again(
    site: Site,
) -> None:
    site.refuses = UnsupportedVersion("the request is of version 2 of the protocol, not 1")
    site.look()
    assert state(site) == "standing"
    assert came(site, "in full") == [PORTIONS] * 3
    assert came(site, "by digest") == [1] * 3


def test_any_other_refusal_is_one(site: Site) -> None:
    site.refuses = MalformedMessage("no")
    site.look()
    assert state(site) == "failed"
    assert came(site, "in full") == [1, 1, 1]
