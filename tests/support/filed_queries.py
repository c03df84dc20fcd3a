"""Queries that were filed, approved and refused by their officers' key files, for pages to show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import protocol_samples as s
from officer_site import OfficerSite

from officers import desk


def file_query(
    site: OfficerSite,
    *,
    pseudonym: str = "P-17",
    cameras: Sequence[str] = ("cam-1",),
    hours: float = 1.0,
    purpose: str = "contact tracing",
) -> str:
    """File a query of ana's; return its id."""
    now = datetime.now(UTC).replace(minute=40, second=0)
    with desk.connect(desk.Officer.load(site.officer("ana"))) as session:
        scope = desk.scope(session, cameras, now - timedelta(hours=hours), now)
        asked = desk.Request(scope, (site.subject_file(pseudonym),), purpose=purpose)
        with closing(desk.draft(session, asked, s.sealing_key("ana"))) as draft:
            signed = desk.to_file(session, draft).by_key(s.signing_key("ana"))
            return desk.file(session, draft, signed).id


def approve(site: OfficerSite, query_id: str, name: str) -> None:
    """Approve a query as an officer."""
    with desk.connect(desk.Officer.load(site.officer(name))) as session:
        reviewed = desk.review(session, query_id)
        signed = desk.to_approve(session, reviewed).by_key(s.signing_key(name))
        desk.approve(session, reviewed, signed)


def refuse(site: OfficerSite, query_id: str, name: str, reason: str) -> None:
    """Refuse a query as an officer."""
    with desk.connect(desk.Officer.load(site.officer(name))) as session:
        reviewed = desk.review(session, query_id)
        signed = desk.to_refuse(session, reviewed, reason).by_key(s.signing_key(name))
        desk.refuse(session, reviewed, signed)
