"""Enrolled patients: photographs, consent, witness. What was dropped here stays in memory."""

from __future__ import annotations

from fastapi import APIRouter

from officers.desk.consent_documents import MAX_DOCUMENT_BYTES
from officers.desk.photographs import MAX_PHOTO_BYTES
from officers.pages.patients import clothing, enrolling, listing, witnessing
from officers.pages.patients.memory import photo_path

LARGE_BODIES = {"/patients": max(MAX_PHOTO_BYTES, MAX_DOCUMENT_BYTES) + (1 << 20)}

router = APIRouter()
for part in (enrolling, clothing, witnessing, listing):  # the last has a path for any id
    router.include_router(part.router)

__all__ = ["LARGE_BODIES", "photo_path", "router"]
