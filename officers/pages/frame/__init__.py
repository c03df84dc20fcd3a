"""The frame around all pages: start, lock, home, signing, settings, help, errors."""

from fastapi import APIRouter

from officers.pages.frame import entry, help_page, home, settings_page, signing, streams

router = APIRouter()
for part in (entry, home, help_page, settings_page, signing, streams):
    router.include_router(part.router)

__all__ = ["router"]
