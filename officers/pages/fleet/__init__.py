"""The pages of who looks after boxes and cameras: how all are, and how one was."""

from __future__ import annotations

from officers.pages.fleet.routes import router

__all__ = ["router"]
