"""The auditor's pages: fetch and verify the logs, findings, each query's life, counts, one page."""

from __future__ import annotations

from officers.pages.audit.routes import router

__all__ = ["router"]
