"""The desk lets in one browser by a one-time start, and does nothing that another page asks for."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
from desk_pages import PageDesk, links_of, words_of
from fastapi.testclient import TestClient
from officer_site import PASSPHRASE, OfficerSite

from officers.desk.officer import Officer
from officers.pages.door import START_S
from officers.pages.guard import MAX_BODY_BYTES, cookie_name, start_path
from officers.pages.house import House, Locked

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture
def desk(site: OfficerSite) -> Iterator[PageDesk]:
    made = PageDesk(site, "ana")
    yield made
    made.close()


def stranger(desk: PageDesk, **headers: str) -> TestClient:
    """Another browser, or another program, of this machine."""
    made = TestClient(desk.app, base_url=desk.house.origin, follow_redirects=False)
    made.headers.update(headers)
    return made


# ---------------------------------------------------------------------- whose name it is


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1:8765",
        "localhost",
        "localhost:8766",
        "localhost:8765.evil.example",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(desk: PageDesk, host: str) -> None:
    answer = desk.client.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert "http://localhost:8765" in answer.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:9000", "https://localhost:8765", "null"]
)
def test_what_another_origin_sends_is_not_done(desk: PageDesk, origin: str) -> None:
    headers = {"origin": origin, "sec-fetch-site": "same-site"}
    form = {"csrf": desk.form_token}
    assert desk.client.post("/lock", data=form, headers=headers).status_code == 403
    assert not desk.house.locked


def test_a_form_of_another_page_is_refused_whatever_origin_it_claims(desk: PageDesk) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    answer = desk.client.post("/lock", data={"csrf": desk.form_token}, headers=headers)
    assert answer.status_code == 403
    assert not desk.house.locked


def test_what_says_nothing_of_where_it_comes_from_is_not_done(desk: PageDesk) -> None:
    other = stranger(desk)
    other.cookies.update(desk.client.cookies)
    answer = other.post("/lock", data={"csrf": desk.form_token})
    assert answer.status_code == 403
    assert not desk.house.locked


def test_another_page_reads_nothing_but_may_link_here(desk: PageDesk) -> None:
    image = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert desk.client.get("/", headers=image).status_code == 403
    link = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert desk.client.get("/help", headers=link).status_code in {200, 404}


# ---------------------------------------------------------------------- the start


def test_without_a_session_nothing_is_shown(desk: PageDesk) -> None:
    other = stranger(desk)
    answer = other.get("/queries")
    assert (answer.status_code, answer.headers["location"]) == (303, "/start")
    shown = other.get("/start")
    assert "sealtrace desk" in words_of(shown)
    assert "ana" not in words_of(shown)
    assert other.get("/live").status_code == 401


def test_a_start_address_opens_the_desk_once(desk: PageDesk) -> None:
    path = start_path(desk.house.door.new_start())
    first, second = stranger(desk), stranger(desk)
    assert first.get(path).headers["location"] == "/"
    assert first.get("/", follow_redirects=True).status_code == 200
    refused = second.get(path)
    assert refused.status_code == 401
    assert "already" in words_of(refused)
    assert not second.cookies


def test_a_start_address_grows_old(site: OfficerSite) -> None:
    now = [0.0]
    desk = PageDesk(site, "ana", clock=lambda: now[0])
    path = start_path(desk.house.door.new_start())
    now[0] += START_S + 1
    assert stranger(desk).get(path).status_code == 401
    desk.close()


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", "x", "%00", "한국어", "A" * 5000])
def test_a_guessed_start_opens_nothing(desk: PageDesk, token: str) -> None:
    other = stranger(desk)
    assert other.get(f"/start?token={token}").status_code == 401
    assert not other.cookies


def test_a_page_that_is_only_fetched_ahead_uses_no_start_up(desk: PageDesk) -> None:
    path = start_path(desk.house.door.new_start())
    other = stranger(desk)
    assert other.get(path, headers={"sec-purpose": "prefetch;prerender"}).status_code == 503
    assert other.get(path).status_code == 303


def test_the_cookie_is_for_this_port_and_for_no_script_and_no_other_site(desk: PageDesk) -> None:
    answer = stranger(desk).get(start_path(desk.house.door.new_start()))
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{cookie_name(8765)}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Domain" not in cookie


def test_a_second_start_is_given_to_the_officers_own_process_alone(desk: PageDesk) -> None:
    other = stranger(desk)
    for secret in ("", "Bearer x", f"Bearer {desk.house.door.own_secret}x"):
        assert other.post("/door", headers={"authorization": secret}).status_code == 403
    own = {"authorization": f"Bearer {desk.house.door.own_secret}"}
    given = other.post("/door", headers=own)
    assert other.get(given.text).headers["location"] == "/"
    # Not to a page in a browser, even if it knew the secret.
    page = {**own, "origin": "http://evil.example"}
    assert stranger(desk).post("/door", headers=page).status_code == 403


# ---------------------------------------------------------------------- forms and bodies


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_without_this_sessions_token_does_nothing(desk: PageDesk, token: str) -> None:
    answer = desk.client.post("/lock", data={"csrf": token})
    assert answer.status_code == 403
    assert "nothing was done" in words_of(answer)
    assert not desk.house.locked


def test_the_token_of_another_session_does_nothing(desk: PageDesk) -> None:
    other = desk.house.door.form_token(desk.house.door.enter(desk.house.door.new_start()))
    assert desk.client.post("/lock", data={"csrf": other}).status_code == 403


def test_a_script_of_our_own_may_carry_the_token_in_a_header(desk: PageDesk) -> None:
    answer = desk.client.post("/stay", headers={"x-desk-token": desk.form_token})
    assert answer.status_code == 204


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_not_read_to_its_end(desk: PageDesk, declared: bool) -> None:
    body = b"csrf=" + b"x" * MAX_BODY_BYTES

    def parts() -> Iterator[bytes]:
        yield body

    answer = desk.client.post(
        "/unlock",
        content=body if declared else parts(),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413
    assert "at most 256 KiB" in answer.text


# ---------------------------------------------------------------------- what browsers are told


@pytest.mark.parametrize(
    "path", ["/", "/lock", "/start", "/nowhere", "/sign/0", "/queries/..%2f..", "/static/frame/x"]
)
def test_every_answer_forbids_scripts_frames_and_storing(desk: PageDesk, path: str) -> None:
    answer = desk.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    policy = answer.headers["content-security-policy"].split("; ")
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any("unsafe" in part or "http" in part for part in policy)
    assert answer.headers["cache-control"] == "no-store"


def test_files_of_pages_are_kept_by_digest_and_nothing_else_is_served(desk: PageDesk) -> None:
    styles = [path for path in links_of(desk.get("/")) if path.endswith("desk.css")]
    assert styles == ["/static/frame/desk.css"]
    page = desk.get("/").text
    address = page.partition('href="/static/frame/desk.css')[2].partition('"')[0]
    kept = desk.get(f"/static/frame/desk.css{address}")
    assert "immutable" in kept.headers["cache-control"]
    assert desk.get("/static/frame/desk.css?v=0").headers["cache-control"] == "no-cache"
    for path in ("frame/../app.py", "%2e%2e/app.py", "frame/templates/base.html", "vendor/../x"):
        assert desk.get(f"/static/{path}").status_code == 404


@pytest.mark.slow
def test_pages_have_no_script_or_style_in_line(desk: PageDesk) -> None:
    for path in ("/", "/nowhere"):
        page = desk.get(path).text
        assert "<script>" not in page
        assert "<style" not in page
        assert " style=" not in page
        assert " onclick" not in page


# ---------------------------------------------------------------------- the lock


def test_a_locked_desk_shows_only_its_lock_and_comes_back_where_it_was(desk: PageDesk) -> None:
    desk.post("/lock")
    answer = desk.get("/help?x=1")
    assert answer.headers["location"] == "/lock?back=%2Fhelp"
    shown = desk.get(answer.headers["location"])
    assert "locked" in words_of(shown)
    opened = desk.post("/unlock", {"passphrase": PASSPHRASE, "back": "/help"})
    assert opened.headers["location"] == "/help"
    assert not desk.house.locked


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "/\r\nx: y", "evil"]
)
def test_unlocking_leads_to_no_other_site(desk: PageDesk, back: str) -> None:
    desk.house.lock()
    opened = desk.post("/unlock", {"passphrase": PASSPHRASE, "back": back})
    assert opened.headers["location"] == "/"


def test_locking_forgets_keys_and_all_that_was_opened_with_them(desk: PageDesk) -> None:
    class Opened:
        forgotten = False

        def forget(self) -> None:
            self.forgotten = True

    opened = desk.house.kept("results", Opened)
    assert desk.house.kept("results", Opened) is opened
    desk.post("/lock")
    assert opened.forgotten
    with pytest.raises(Locked):  # a page that was at work meanwhile leaves nothing behind
        desk.house.kept("results", Opened)
    desk.house.unlock(PASSPHRASE.encode())
    assert desk.house.kept("results", Opened) is not opened
    desk.post("/lock")
    with pytest.raises(Exception, match="locked"):
        desk.house.keys  # noqa: B018


def test_a_desk_locks_itself_when_its_officer_is_away(site: OfficerSite) -> None:
    now = [0.0]
    desk = PageDesk(site, "ana", clock=lambda: now[0])
    live = desk.house.live
    now[0] += 599
    live.lock_if_idle()
    assert not desk.house.locked
    desk.post("/stay")
    now[0] += 599
    live.lock_if_idle()
    assert not desk.house.locked
    now[0] += 2
    live.lock_if_idle()
    assert desk.house.locked
    desk.close()


def test_an_absent_officers_keys_are_not_used_though_nobody_watches(site: OfficerSite) -> None:
    now = [0.0]
    desk = PageDesk(site, "ana", clock=lambda: now[0])
    now[0] += 601
    with pytest.raises(Locked):
        desk.house.keys  # noqa: B018
    assert desk.get("/").headers["location"].startswith("/lock")
    desk.close()


def test_hours_in_which_the_machine_sleeps_count_as_absence(
    monkeypatch: pytest.MonkeyPatch, site: OfficerSite
) -> None:
    if sys.platform != "linux":
        pytest.skip("another clock counts there")
    slept = {time.CLOCK_BOOTTIME: 5_000.0, time.CLOCK_MONOTONIC: 10.0}
    monkeypatch.setattr(time, "clock_gettime", slept.__getitem__)
    house = House(Officer.load(site.officer("ana")), 8765)
    house.unlock(PASSPHRASE.encode())
    slept[time.CLOCK_BOOTTIME] += 601  # the lid was closed; the other clock stood still
    assert house.locked
    house.close()


def test_each_wrong_passphrase_makes_the_next_try_wait_longer(site: OfficerSite) -> None:
    now = [0.0]
    desk = PageDesk(site, "ana", clock=lambda: now[0], unlocked=False)
    for waits_s in (1, 2, 4):
        assert desk.post("/unlock", {"passphrase": "wrong words"}).status_code == 422
        assert desk.post("/unlock", {"passphrase": PASSPHRASE}).status_code == 429
        now[0] += waits_s - 0.5
        assert desk.post("/unlock", {"passphrase": PASSPHRASE}).status_code == 429
        now[0] += 0.6
    assert desk.post("/unlock", {"passphrase": PASSPHRASE}).status_code == 303
    desk.close()


@pytest.mark.slow
def test_two_officers_work_at_two_desks_of_one_machine_at_once(site: OfficerSite) -> None:
    ana, bo = PageDesk(site, "ana"), PageDesk(site, "bo", port=8766)
    ana.client.cookies.update(bo.client.cookies)  # cookies know no ports
    assert "ana" in ana.get("/").text
    assert "bo" in bo.get("/").text
    ana.post("/lock")
    assert ana.house.locked
    assert not bo.house.locked
    assert bo.client.get("/", headers={"host": "localhost:8765"}).status_code == 421
    ana.close()
    bo.close()


# ---------------------------------------------------------------------- how long it took


@pytest.mark.slow
def test_every_answer_says_how_long_the_desk_took(desk: PageDesk) -> None:
    for path in ("/", "/settings", "/nowhere"):
        said = desk.get(path).headers["server-timing"]
        name, _, took_ms = said.partition(";dur=")
        assert name == "desk"
        assert 0 < float(took_ms) < 60_000
