"""What was found of a person: the way, whom they met, and what leaves the desk as files."""

from __future__ import annotations

from fastapi import APIRouter

from officers.pages.traces import contacts, files, trace, verifying

router = APIRouter()
for _page in (trace, contacts, files, verifying):
    router.include_router(_page.router)

LARGE_BODIES = {"/reports/verify": verifying.MOST_BYTES}
