"""Queries: all in a list, one as it was signed and where it stands, consent, custodians."""

from __future__ import annotations

from fastapi import APIRouter

from officers.desk.consent_documents import MAX_DOCUMENT_BYTES
from officers.pages.cases import custodians, document, listing, one

LARGE_BODIES = {"/documents/": MAX_DOCUMENT_BYTES + (1 << 20)}

router = APIRouter()
router.include_router(listing.router)
router.include_router(one.router)
router.include_router(document.router)
router.include_router(custodians.router)
