"""A desk whose disk is full says so; what was entered before stays, and nothing is filed twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import protocol_samples as s
import pytest
from desk_pages import PageDesk, hidden, words_of
from officer_site import OfficerSite
from small_disk import CannotMount, fill, mounted

from officers.desk.drafts import drafts, new_draft, read_draft
from officers.desk.patients import patients, take_in
from officers.desk.session import connect

POLICY = (
    b"""policy_schema = 2
confirmations = 1
purposes = ["tracing"]
enrolment_without_witness = true
"""
    + s.POLICY_TEXT
)
KEY = s.sealing_key("ana")
pytestmark = pytest.mark.processes


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[PageDesk, Path]]:
    """Ana's desk with everything of hers on a disk of 2 MB that is full; and what fills it."""
    site = OfficerSite(tmp_path, policy=POLICY)
    folder = site.officer("ana").parent
    aside = folder.with_name("ana-before")
    shutil.copytree(folder, aside)
    try:
        with mounted(folder, 2):
            shutil.copytree(aside, folder, dirs_exist_ok=True)
            with closing(PageDesk(site, "ana")) as ana:
                take_in(ana.house.officer, site.subject_file("p-1").read_bytes(), KEY)
                at = datetime.now(UTC).astimezone() - timedelta(hours=3)
                draft = new_draft(
                    ana.house.officer,
                    patients=("p-1",),
                    cameras=("cam-1",),
                    from_day=f"{at:%Y-%m-%d}",
                    from_time=f"{at:%H:%M}",
                    purpose="where p-1 was",
                    purpose_kind="tracing",
                )
                assert draft.id
                yield ana, fill(folder)
    except CannotMount as why:
        pytest.skip(str(why))
    finally:
        site.close()


def filed(ana: PageDesk) -> list[str]:
    with connect(ana.house.officer) as session:
        return [one.id for one in session.queries()]


def test_a_full_disk_is_said_and_what_was_there_before_stays(full: tuple[PageDesk, Path]) -> None:
    ana, filler = full
    (draft,) = drafts(ana.house.officer, KEY)
    refused = ana.post(
        f"/drafts/{draft.id}/why", {"purpose": "x" * 6000, "purpose_kind": "tracing"}
    )
    assert refused.status_code == 409
    assert "No space left on device" in words_of(refused)
    filler.unlink()
    assert read_draft(ana.house.officer, draft.id, KEY).purpose == "where p-1 was"
    assert [one.pseudonym for one in patients(ana.house.officer, KEY)] == ["p-1"]


def test_nothing_is_filed_that_cannot_be_kept_and_once_there_is_room_it_is_filed_once(
    full: tuple[PageDesk, Path],
) -> None:
    ana, filler = full
    (draft,) = drafts(ana.house.officer, KEY)
    shown = ana.get(f"/drafts/{draft.id}/check")
    assert shown.status_code == 200, words_of(shown)
    answer = ana.sign(ana.post(f"/drafts/{draft.id}/check", hidden(shown)))
    assert answer.status_code == 422
    assert "No space left on device" in words_of(answer)
    assert filed(ana) == []
    filler.unlink()
    once_more = ana.get(f"/drafts/{draft.id}/check")
    receipt = ana.sign(ana.post(f"/drafts/{draft.id}/check", hidden(once_more)))
    (query_id,) = filed(ana)
    assert query_id in str(receipt.url)
