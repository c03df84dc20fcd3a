"""The pages of passkeys: which are listed, and nothing half made goes to the office."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator

import pytest
from desk_pages import PageDesk, page_desk, words_of
from officer_site import OfficerSite

BASE = "/settings/passkeys"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture
def bo(site: OfficerSite) -> Iterator[PageDesk]:
    with page_desk(site, "bo") as made:
        yield made


@pytest.mark.slow
def test_who_has_none_reads_how_to_get_one(bo: PageDesk) -> None:
    said = words_of(bo.get(BASE))
    assert "lists no passkey of yours" in said
    assert f"It will work at {bo.house.origin} alone" in said
    assert "It works once the office has listed it." in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        "",
        "garbage",
        "[]",
        json.dumps({"attestationObject": "AAAA"}),
        json.dumps({"attestationObject": 5, "clientDataJSON": None}),
        json.dumps(
            {"attestationObject": "oA", "clientDataJSON": urlsafe_b64encode(b"{}").decode()}
        ),
    ],
)
def test_what_no_browser_makes_is_told_and_nothing_goes_on(bo: PageDesk, answer: str) -> None:
    bo.get(BASE)
    page = bo.post(BASE, {"answer": answer})
    assert page.status_code == 422
    assert "ry again" in words_of(page)
    assert bo.get(f"{BASE}/new").headers["location"] == BASE


@pytest.mark.slow
def test_no_step_can_be_taken_before_the_one_before_it(bo: PageDesk) -> None:
    for path in (f"{BASE}/new", f"{BASE}/offered"):
        assert bo.get(path).headers["location"] == BASE
    assert bo.post(f"{BASE}/new", {"answer": "{}"}).headers["location"] == BASE
    missing = bo.get(f"{BASE}/file")
    assert missing.status_code == 409
    assert "Make it anew" in words_of(missing)
    assert missing.headers["cache-control"] == "no-store"
