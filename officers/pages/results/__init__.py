"""The queue of candidates: one at a time, the officer's own look before any score."""

from __future__ import annotations

from fastapi import APIRouter

from officers.pages.results import candidates, stills

router = APIRouter()
router.include_router(stills.router)
router.include_router(candidates.router)
