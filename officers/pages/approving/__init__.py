"""An approver before a query: what it costs, what changed, approve, refuse, or later."""

from __future__ import annotations

from fastapi import APIRouter

from officers.pages.approving import deciding, receipts, refusing

router = APIRouter()
for part in (deciding, refusing, receipts):
    router.include_router(part.router)
