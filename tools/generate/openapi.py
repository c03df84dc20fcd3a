"""Writes docs/openapi: the HTTP interfaces of aggregator, custodian and registrar as OpenAPI.

python -m tools.generate.openapi          writes them
python -m tools.generate.openapi --check  fails when one is stale
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI

import aggregator.api
import custodian.api
import provisioning.registrar.api

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "openapi"


class Absent:
    """Stands where the parts of a running service are: what describes an interface needs none."""

    def __getattr__(self, name: str) -> Absent:
        return self

    def __call__(self, *_: object, **__: object) -> Absent:
        """Answer whatever is asked with itself."""
        return self

    def __getitem__(self, _: object) -> Absent:
        return self

    def __float__(self) -> float:
        return 1.0

    def __str__(self) -> str:
        return "1"


def applications() -> dict[str, FastAPI]:
    """The applications with their routes; nothing is there that could answer a request."""
    absent = cast("Any", Absent())
    return {
        "aggregator": aggregator.api.make_app(absent),
        "custodian": custodian.api.make_app(absent),
        "registrar": provisioning.registrar.api.make_app(absent),
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
