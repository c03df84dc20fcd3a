"""A draft goes step by step from patient to signature, and opens what the command would open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import protocol_samples as s
import pytest
from desk_pages import PageDesk, hidden, words_of
from hostile_text import ALL_AT_ONCE, MARK, tampered
from httpx import Response
from officer_site import OfficerSite

from officers import desk as officers_desk
from officers.desk.draft_steps import request_of
from officers.desk.drafts import SavedDraft, discard, drafts, new_draft, read_draft
from officers.desk.patients import patients, take_in
from officers.query_cli import app as query_cli
from protocol.authorization import parse_signed_query
from protocol.places import CameraPlace, Places
from protocol.query import Query

HOSTILE_PLACE = f'"><{MARK} a="{{{{ {MARK} }}}}</script>'
LOBBY = CameraPlace(
    "cam-1", f"Lobby {HOSTILE_PLACE}", (37.5, 127.0), names={"ko": "로비"}, view=HOSTILE_PLACE
)
WARD = CameraPlace("cam-2", "Ward", (37.51, 127.01))
PLACES = Places(b"", ("lat", "lon"), {"cam-1": LOBBY, "cam-2": WARD}).to_bytes()
POLICY = (
    b"""policy_schema = 2
confirmations = 1
contacts = "linked"
live = true
same_place_counts = true
purposes = ["exercise", "tracing"]
enrolment_without_witness = true
"""
    + s.POLICY_TEXT
)
KEY = s.sealing_key("ana")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("drafting"), policy=POLICY, places=PLACES)
    yield made
    made.close()


@pytest.fixture
def ana(site: OfficerSite) -> Iterator[PageDesk]:
    with closing(PageDesk(site, "ana")) as made:
        officer = made.house.officer
        for one in drafts(officer, KEY):
            discard(officer, one.id)
        for name in ("p-1", "p-2"):
            if name not in {one.pseudonym for one in patients(officer, KEY)}:
                take_in(officer, site.subject_file(name).read_bytes(), KEY)
        yield made


def started() -> datetime:
    return datetime.now(UTC).astimezone() - timedelta(hours=3)


def where(response: Response) -> str:
    return str(response.headers["location"])


def drafted(ana: PageDesk, **changes: Any) -> SavedDraft:
    """A draft that makes a query."""
    at = started()
    entered: dict[str, Any] = {
        "patients": ("p-1",),
        "cameras": ("cam-1",),
        "from_day": f"{at:%Y-%m-%d}",
        "from_time": f"{at:%H:%M}",
        "purpose": "where p-1 was",
        "purpose_kind": "tracing",
    }
    return new_draft(ana.house.officer, **(entered | changes))


def filed(ana: PageDesk, query_id: str) -> Query:
    data = ana.house.officer.kept_query(bytes.fromhex(query_id))
    assert data is not None
    return Query.parse(parse_signed_query(data).payload)


@pytest.mark.slow
def test_a_draft_is_filed_as_the_command_files_it(site: OfficerSite, ana: PageDesk) -> None:
    at = started()
    begun = ana.post("/drafts", {"chosen": "yes", "case": "contacts", "patients": "p-1"})
    path = where(begun).rpartition("/")[0]
    assert where(begun).endswith("/where")
    ana.post(f"{path}/who", {"patients": "p-1"})
    assert where(ana.post(f"{path}/where", {"cameras": ["cam-2", "cam-1"]})).endswith("/when")
    days = {"from_day": f"{at:%Y-%m-%d}", "from_time": f"{at:%H:%M}"}
    assert where(ana.post(f"{path}/when", days)).endswith("/why")
    reasons = {
        "purpose_kind": "tracing",
        "purpose": "whom p-1 met",
        "legal_basis": "consent",
        "contacts": "linked",
        "valid_days": "3",
        "confirmers": "dan",
    }
    assert where(ana.post(f"{path}/why", reasons)).endswith("/check")
    shown = ana.get(f"{path}/check")
    assert "headquarters says" in words_of(shown)
    for step, rows in (("who", 2), ("where", 2), ("when", 4), ("why", 9)):
        assert shown.text.count(f'class="change"><a href="{path}/{step}"') >= rows, step
    receipt = ana.sign(ana.post(f"{path}/check", hidden(shown)))
    (query_id,) = re.findall(r"/queries/([0-9a-f]{32})", str(receipt.url))
    by_page = filed(ana, query_id)

    subject = next(p.path for p in patients(ana.house.officer, KEY) if p.pseudonym == "p-1")
    told = site.run(
        query_cli, "ana", "file", f"--subject={subject}", "--camera=cam-1", "--camera=cam-2",
        f"--from={at:%Y-%m-%d %H:%M}", "--to=now", "--purpose=whom p-1 met",
        "--purpose-kind=tracing", "--contacts=linked", "--valid-days=3", "--confirmer=dan", "--yes",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    (other,) = re.findall(r"filed: ([0-9a-f]{32})", told.output)
    by_command = filed(ana, other)
    of_its_own = {"query_id", "requested_at_ms", "not_after_ms"}
    for name in Query.__dataclass_fields__:
        if name not in of_its_own:
            assert getattr(by_page, name) == getattr(by_command, name), name
    assert drafts(ana.house.officer, KEY) == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "form", "field", "said"),
    [
        ("who", {}, "patients", "Choose whom to look for"),
        ("where", {}, "cameras", "at least one camera"),
        ("when", {"from_day": "yesterday", "from_time": "9"}, "from_day", "no day and time"),
        ("when", {"from_day": "2026-11-01"}, "from_time", "the day and the time"),
        ("why", {"legal_basis": "consent"}, "purpose", "in words why"),
        ("why", {"legal_basis": "consent", "purpose": "x"}, "purpose_kind", "which of the policy"),
        ("why", {"valid_days": "99", "purpose": "x"}, "valid_days", "from 1 to 14"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(
    ana: PageDesk, step: str, form: dict[str, str], field: str, said: str
) -> None:
    draft = drafted(ana)
    answer = ana.post(f"/drafts/{draft.id}/{step}", form)
    assert answer.status_code == 422
    assert f'href="#f-{field}"' in answer.text
    assert f'id="f-{field}"' in answer.text
    assert said in words_of(answer)
    assert "Error:" in answer.text.partition("</title>")[0]
    for value in form.values():
        assert value in answer.text


@pytest.mark.slow
def test_cameras_are_added_by_place_and_pattern(ana: PageDesk) -> None:
    path = f"/drafts/{drafted(ana, cameras=()).id}"
    added = ana.post(f"{path}/where", {"add": "yes", "place": "로비"})
    assert 'value="cam-1" checked' in added.text
    added = ana.post(f"{path}/where", {"add": "yes", "cameras": "cam-1", "pattern": "cam-*"})
    assert 'value="cam-2" checked' in added.text
    wrong = ana.post(f"{path}/where", {"add": "yes", "cameras": "cam-1", "place": "Nowhere"})
    assert wrong.status_code == 422
    assert 'href="#f-place"' in wrong.text
    assert 'value="Nowhere"' in wrong.text
    assert 'value="cam-1" checked' in wrong.text


def test_the_cost_follows_what_is_entered_and_says_whose_word_it_is(ana: PageDesk) -> None:
    draft = drafted(ana, cameras=())
    told = ana.post(f"/drafts/{draft.id}/where/cost", {"cameras": ["cam-1", "cam-2"]})
    assert told.status_code == 200
    text = " ".join(re.sub(r"<[^>]*>", " ", told.text).split())
    assert "2 cameras × 3 h" in text
    assert "0 sightings" in text
    assert "headquarters says" in text
    assert read_draft(ana.house.officer, draft.id, KEY).cameras == ("cam-1", "cam-2")


@pytest.mark.slow
def test_no_button_takes_all_cameras(ana: PageDesk) -> None:
    text = ana.get(f"/drafts/{drafted(ana).id}/where").text
    assert not re.search(r"<button[^>]*>[^<]*\b[Aa]ll\b", text)


@pytest.mark.slow
def test_what_changed_in_another_window_is_not_signed(ana: PageDesk) -> None:
    draft = drafted(ana)
    shown = ana.get(f"/drafts/{draft.id}/check")
    ana.post(f"/drafts/{draft.id}/where", {"cameras": ["cam-1", "cam-2"]})
    answer = ana.post(f"/drafts/{draft.id}/check", hidden(shown))
    assert answer.status_code == 422
    assert "Nothing was signed" in words_of(answer)
    assert hidden(answer)["digest"] != hidden(shown)["digest"]
    anew = ana.post(f"/drafts/{draft.id}/check", hidden(answer))
    assert where(anew).startswith("/sign/")


@pytest.mark.slow
def test_a_page_from_before_the_last_showing_signs_nothing(ana: PageDesk) -> None:
    draft = drafted(ana)
    first = ana.get(f"/drafts/{draft.id}/check")
    ana.get(f"/drafts/{draft.id}/check")
    assert ana.post(f"/drafts/{draft.id}/check", hidden(first)).status_code == 422


@pytest.mark.slow
def test_a_draft_is_signed_once_and_back_shows_the_receipt(ana: PageDesk) -> None:
    draft = drafted(ana)
    to_sign = ana.post(f"/drafts/{draft.id}/check", hidden(ana.get(f"/drafts/{draft.id}/check")))
    once = ana.sign(to_sign)
    back = ana.get(where(to_sign))
    assert urlsplit(where(back)).path == urlsplit(str(once.url)).path
    assert "not here any more" in ana.get(f"/drafts/{draft.id}/check").text


@pytest.mark.slow
def test_locking_in_the_middle_keeps_the_draft_sealed_and_asks_for_the_key(ana: PageDesk) -> None:
    draft = drafted(ana, purpose="typed before the lock")
    shown = ana.get(f"/drafts/{draft.id}/check")
    ana.house.lock()
    assert where(ana.get(f"/drafts/{draft.id}/why")).startswith("/lock")
    assert ana.post(f"/drafts/{draft.id}/check", hidden(shown)).status_code in {303, 403}
    ana.house.unlock(b"four words make one")
    assert "typed before the lock" in ana.get(f"/drafts/{draft.id}/why").text
    state = ana.house.officer.config.state_dir
    for path in (state / "drafts").iterdir():
        assert b"typed before" not in path.read_bytes()


@pytest.mark.slow
def test_what_others_wrote_is_shown_as_text(ana: PageDesk) -> None:
    draft = drafted(ana, purpose=ALL_AT_ONCE, cameras=("cam-1", ALL_AT_ONCE))
    for step in ("who", "where", "when", "why", "check"):
        page = ana.get(f"/drafts/{draft.id}/{step}").text
        assert tampered(page) == [], step
        assert MARK in page or step in {"who", "when"}
    whole = drafted(ana, purpose="".join(one for one in ALL_AT_ONCE if one.isprintable()))
    shown = ana.get(f"/drafts/{whole.id}/check").text
    assert shown.count(MARK) > 10
    assert tampered(shown) == []
    asked = drafted(ana, patients=(ALL_AT_ONCE,), from_day=ALL_AT_ONCE, confirmers=(ALL_AT_ONCE,))
    for path in ("/drafts", "/patients", f"/drafts/{asked.id}/who", f"/drafts/{asked.id}/when"):
        assert tampered(ana.get(path).text) == [], path


@pytest.mark.slow
def test_ten_patients_go_side_by_side(ana: PageDesk) -> None:
    draft = drafted(ana, patients=("p-1", "p-2"))
    assert where(ana.post(f"/drafts/{draft.id}/split")) == "/drafts"
    assert sorted(one.patients for one in drafts(ana.house.officer, KEY)) == [("p-1",), ("p-2",)]
    page = words_of(ana.get("/patients"))
    assert page.count("KST") + page.count("UTC") >= 2


@pytest.mark.slow
def test_a_draft_that_is_discarded_is_gone(ana: PageDesk) -> None:
    draft = drafted(ana)
    assert "cannot be brought back" in words_of(ana.get(f"/drafts/{draft.id}/discard"))
    ana.post(f"/drafts/{draft.id}/discard")
    assert ana.get(f"/drafts/{draft.id}/who").status_code == 409


@pytest.mark.slow
def test_who_is_no_investigator_drafts_nothing(site: OfficerSite) -> None:
    with closing(PageDesk(site, "bo")) as bo:
        assert bo.get("/drafts").status_code == 409
        assert bo.get("/patients").status_code == 409
        assert bo.post("/drafts", {"chosen": "yes"}).status_code == 409


@pytest.mark.slow
def test_templates_that_did_not_arrive_are_sent_from_the_page(ana: PageDesk) -> None:
    """As after a power cut between the two: the query is filed, and its templates are not."""
    draft, me, now = drafted(ana), ana.house.officer, datetime.now(UTC)
    with officers_desk.connect(me) as session:
        request = request_of(session, draft, patients(me, KEY), KEY, now=now)
        with closing(officers_desk.draft(session, request, KEY)) as made:
            signed = officers_desk.to_file(session, made).by_key(s.signing_key("ana"))
            me.keep_query(made.query.query_id, signed.to_bytes())
            session.client.file(signed.to_bytes())
            query_id = made.query.query_id.hex()
        assert session.client.query(query_id).state == "awaiting-templates"
        assert "templates are missing" in words_of(ana.get(f"/drafts/resume/{query_id}"))
        assert where(ana.post(f"/drafts/resume/{query_id}")) == f"/queries/{query_id}"
        assert session.client.query(query_id).state == "awaiting-approvals"
    assert ana.post(f"/drafts/resume/{'0' * 32}").status_code == 422
