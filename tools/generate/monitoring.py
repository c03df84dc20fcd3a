"""Writes docs/grafana/sealtrace.json (a dashboard) and docs/metrics.md (what every metric means).

python -m tools.generate.monitoring          writes them
python -m tools.generate.monitoring --check  fails when one is stale

Alerts stand in docs/grafana/alerts.yml, which is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aggregator.cluster.metrics
import aggregator.metrics
import custodian.metrics
import edge_agent.metrics
import provisioning.registrar.metrics
from runtime.metrics import COMMON, SITE, Family
from tools.generate.monitoring_rows import Panel, rows

DOCS = Path(__file__).resolve().parents[2] / "docs"
DASHBOARD, REFERENCE = DOCS / "grafana" / "sealtrace.json", DOCS / "metrics.md"
PROCESS = (
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
)
"""What prometheus_client's own collector tells of a process (not of a board's)."""
SCRAPED = ("up",)
"""What Prometheus itself adds."""
ROLES: dict[str, tuple[Family, ...]] = {
    "every process": COMMON,
    "custodian, aggregator, registrar": SITE,
    "custodian": custodian.metrics.FAMILIES,
    "aggregator": aggregator.metrics.FAMILIES,
    "registrar": provisioning.registrar.metrics.FAMILIES,
    "scheduler and match worker": aggregator.cluster.metrics.FAMILIES,
    "board": edge_agent.metrics.FAMILIES,
}
SCHEMA_VERSION = 39
_NAME = re.compile(r"\b(?:sealtrace|process)_[a-z_]+\b")
_WIDTH, _HEIGHT = 8, 7


def names() -> set[str]:
    """Return the name of every metric that there is."""
    ours = {family.name for families in ROLES.values() for family in families}
    return ours | {*PROCESS, *SCRAPED}


def names_in(expression: str) -> set[str]:
    """Return the names of metrics in an expression of PromQL."""
    return set(_NAME.findall(expression))


# ---------------------------------------------------------------------- the dashboard


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's classic JSON model."""
    return {
        "uid": "sealtrace",
        "title": "Sealtrace",
        "description": "A site's services: counts and times alone. See docs/operations.md.",
        "tags": ["sealtrace"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                    "hide": 0,
                },
                {
                    "name": "job",
                    "label": "Job",
                    "type": "query",
                    "datasource": _DATASOURCE,
                    "query": "label_values(sealtrace_build_info, job)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "hide": 0,
                },
            ]
        },
        "panels": list(_panels()),
    }


_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in rows():
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
            "panels": [],
        }
        number, top = number + 1, top + 1
        for place, panel in enumerate(row.panels):
            across, down = place % 3, place // 3
            yield _panel(number, panel, x=across * _WIDTH, y=top + down * _HEIGHT)
            number += 1
        top += -(-len(row.panels) // 3) * _HEIGHT


def _panel(number: int, panel: Panel, *, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for place, (expression, legend) in enumerate(panel.queries)
        ],
    }


# ---------------------------------------------------------------------- the reference


def reference() -> str:
    """Return the page that says what each metric means."""
    lines = [
        "<!-- Made by tools/generate/monitoring.py from the services themselves: do not edit. -->",
        "",
        "# Metrics",
        "",
        "What `GET /metrics` tells, where `[metrics] listen` is set"
        " ([operations.md](operations.md#metrics) says how). Counts and times alone: why,",
        "and what may stand in a label, is in"
        " [decision 50](decisions/0050-a-doctor-and-metrics.md).",
        "",
    ]
    told: set[str] = set()
    for role, families in ROLES.items():
        lines += [
            f"## {role[0].upper()}{role[1:]}",
            "",
            "| metric | labels | means |",
            "| --- | --- | --- |",
        ]
        for family in families:
            if family.name not in told:
                labels = ", ".join(f"`{label}`" for label in family.labels)
                lines.append(f"| `{family.name}` | {labels} | {family.about} |")
                told.add(family.name)
        lines.append("")
        if families is COMMON:
            of = ", ".join(f"`{name}`" for name in PROCESS)
            lines += [f"Besides, but on a board: {of}.", ""]
    return "\n".join(lines)


def rendered() -> dict[Path, str]:
    """Every file with its content."""
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    return {DASHBOARD: text, REFERENCE: reference()}


def stale() -> list[str]:
    """Return the names of the files that are not as they would be written."""
    return [
        str(path.relative_to(DOCS))
        for path, text in rendered().items()
        if not path.exists() or path.read_text() != text
    ]


def main() -> int:
    """Write the files, or with ``--check`` name those that are stale and return 1."""
    if "--check" in sys.argv[1:]:
        found = stale()
        for name in found:
            print(f"docs/{name} is stale: python -m tools.generate.monitoring")  # noqa: T201
        return int(bool(found))
    for path, text in rendered().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
