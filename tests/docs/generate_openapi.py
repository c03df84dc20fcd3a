"""Writes docs/openapi: the HTTP interfaces of aggregator and custodian as OpenAPI.

python tests/docs/generate_openapi.py          writes them
python tests/docs/generate_openapi.py --check  fails when one is stale
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI

from aggregator.api import Parts, create_app
from custodian.api import make_app
from custodian.config import LimitsSection
from custodian.service import Custodian
from runtime.http import peer_of
from runtime.log_api import log_router

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "openapi"


def applications() -> dict[str, FastAPI]:
    """The applications with their routes; what would answer a request is not there."""
    absent = cast("Any", None)
    router = log_router(absent, absent, directory=lambda: absent, allow=peer_of)
    parts = cast("Parts", SimpleNamespace(desk=None))
    custodian = SimpleNamespace(
        config=SimpleNamespace(limits=LimitsSection()),
        status=lambda: {"version": "1"},
        log=None,
        witness=None,
    )
    return {
        "aggregator": create_app(parts, router),
        "custodian": make_app(cast("Custodian", custodian)),
    }


def rendered() -> dict[Path, str]:
    """Every file of docs/openapi with its content."""
    return {
        FOLDER / f"{name}.json": json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"
        for name, app in applications().items()
    }


def stale() -> list[str]:
    """What is missing or differs."""
    return [
        path.name
        for path, text in rendered().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]


def main() -> int:
    """Write or check."""
    if "--check" in sys.argv[1:]:
        names = stale()
        for name in names:
            sys.stdout.write(f"stale: docs/openapi/{name}\n")
        return 1 if names else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in rendered().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
