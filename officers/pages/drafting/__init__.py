"""Drafts of queries: who, where, when, why, and all that it would open before it is signed."""

from __future__ import annotations

from fastapi import APIRouter

from officers.pages.drafting import checking, listing, resuming, steps
from officers.pages.drafting.waiting import home_tasks

LARGE_BODIES = {"/drafts": 4 << 20}
"""A site may have many cameras."""

router = APIRouter()
for part in (resuming, listing, steps, checking):
    router.include_router(part.router)

__all__ = ["LARGE_BODIES", "home_tasks", "router"]
