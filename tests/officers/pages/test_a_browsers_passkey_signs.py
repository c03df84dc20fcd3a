"""A real browser makes a passkey, offers it to the office, and approves with it once listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import protocol_samples as s
import pytest
from browser import (
    NARROW,
    WIDE,
    Tab,
    browser_context,
    needs_chromium,
    open_desk,
    sideways,
    violations,
)
from desk_pages import served_desk
from filed_queries import approve, file_query, refuse
from officer_site import PASSPHRASE, OfficerSite
from playwright.sync_api import BrowserContext, Page

from demo.ports import free_port
from officers.pages.house import House
from officers.pages.signatures import Signing
from protocol.passkey_offers import open_offer
from protocol.passkeys import Passkey
from protocol.signing import Signed, Unsigned
from runtime.clock import system_ms

pytestmark = [pytest.mark.processes, needs_chromium]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    with browser_context(NARROW, accept_downloads=True) as made:
        yield made


@pytest.fixture(scope="module")
def house(site: OfficerSite) -> Iterator[House]:
    with served_desk(site, "bo", free_port()) as made:
        yield made


@pytest.fixture(scope="module")
def tab(context: BrowserContext, house: House) -> Tab:
    made = open_desk(context, house)
    authenticator(made.page)
    return made


def authenticator(page: Page) -> None:
    """Give the browser an authenticator of its own, whose user is always there and verified."""
    debugger: Any = page.context.new_cdp_session(page)
    debugger.send("WebAuthn.enable")
    debugger.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )


@pytest.fixture(scope="module")
def passkey(site: OfficerSite, tab: Tab, tmp_path_factory: pytest.TempPathFactory) -> Passkey:
    """The passkey that bo registers in the browser, as the office reads it from bo's file."""
    page = tab.open("/settings/passkeys")
    assert violations(page) == []
    page.click("[data-go]")
    page.wait_for_url("**/settings/passkeys/new")
    page.click("[data-go]")
    page.wait_for_url("**/sign/*")
    assert "shall be my word, as by my key file" in page.inner_text(".statement")
    page.fill('[name="passphrase"]', PASSPHRASE)
    page.click('button:has-text("Sign as bo")')
    page.wait_for_url("**/settings/passkeys/offered")
    with page.expect_download() as download:
        page.click('a:has-text("Download bo.passkey")')
    file = tmp_path_factory.mktemp("office") / download.value.suggested_filename
    download.value.save_as(file)
    name, made = open_offer(file.read_bytes(), site.directory, now_ms=system_ms())
    assert (name, file.name) == ("bo", "bo.passkey")
    return made


def list_it(site: OfficerSite, house: House, passkey: Passkey) -> None:
    """Have everybody hold a directory that lists it, as the office would."""
    known = site.aggregator.trust.directory
    bo = replace(known.principals["bo"], passkeys=(passkey,))
    newer = known.next_version({**known.principals, "bo": bo}, at_ms=s.NOW_MS)
    data = replace(newer, form=2).sign(s.authority(), 2).to_bytes()
    site.aggregator.trust.accept(data)
    for custodian in site.custodians:
        custodian.accept_directory(data)
    house.officer.take_directory(data)


def test_a_passkey_is_for_this_desks_page_alone(house: House, passkey: Passkey) -> None:
    assert (passkey.origin, passkey.rp_id) == (house.origin, "localhost")


def test_an_approval_is_signed_by_the_browsers_passkey_and_believed(
    site: OfficerSite, house: House, tab: Tab, passkey: Passkey
) -> None:
    list_it(site, house, passkey)
    query_id = file_query(site)
    page = tab.open("/settings/passkeys")
    assert "signs here" in page.inner_text("main")
    page = tab.open(f"/queries/{query_id}/decide")
    assert sideways(page) <= 0
    assert violations(page) == []
    page.click('button:has-text("Approve…")')
    page.wait_for_url("**/sign/*")
    page.click("[data-use-passkey]")
    page.wait_for_url(f"**/queries/{query_id}/approved")
    assert "by passkey" in page.inner_text("main")
    (approval,) = site.aggregator.desk.approvals(site.record(query_id).digest)
    assert (approval.signer, approval.by_passkey) == ("bo", True)
    approval.verify(site.aggregator.trust.directory.resolver("approver"))
    page.go_back()
    page.wait_for_url(f"**/queries/{query_id}/**")
    assert len(site.aggregator.desk.approvals(site.record(query_id).digest)) == 1
    assert tab.complaints == []


def test_several_things_are_signed_by_a_touch_each_and_handed_in_together(
    house: House, tab: Tab, passkey: Passkey
) -> None:
    taken: list[Sequence[Signed]] = []

    def hand_in(signed: Sequence[Signed]) -> str:
        taken.append(signed)
        return "/queries"

    acts = tuple(Unsigned("sample", "bo", f"sighting {n}".encode()) for n in range(3))
    page = tab.open(f"/sign/{house.signatures.add(Signing(acts, ('All of it.',), hand_in, '/'))}")
    assert "the passkey is asked 3 times" in page.inner_text("main")
    assert violations(page) == []
    page.click("[data-use-passkey]")
    page.wait_for_url("**/queries")
    (signed,) = taken
    assert [(one.payload, one.by_passkey) for one in signed] == [(a.payload, True) for a in acts]
    assert tab.complaints == []


def test_pages_of_queries_fit_a_phone_and_everybodys_eyes(
    site: OfficerSite, tab: Tab, passkey: Passkey
) -> None:
    name = "patient-with-a-very-long-name-" * 3
    open_one, approved, refused = (
        file_query(site, pseudonym=name, purpose="x" * 300) for _ in range(3)
    )
    approve(site, approved, "bo")
    refuse(site, refused, "bo", "y" * 300)
    for width, height in (WIDE, NARROW):
        tab.page.set_viewport_size({"width": width, "height": height})
        for path in (
            "/queries",
            f"/queries/{open_one}",
            f"/queries/{open_one}/decide",
            f"/queries/{open_one}/refuse",
            f"/queries/{approved}/approved",
            f"/queries/{approved}/withdraw",
            f"/queries/{refused}/refused",
        ):
            page = tab.open(path)
            assert sideways(page) <= 0, path
            assert violations(page) == [], path
    assert tab.complaints == []
