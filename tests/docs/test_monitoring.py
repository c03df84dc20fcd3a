"""Dashboard and alerts name what the services tell, and are what Grafana and Prometheus read."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from tools.generate import monitoring

ALERTS = monitoring.DOCS / "grafana" / "alerts.yml"
DURATION = r"^\d+(ms|[smhdwy])$"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(Strict):
    type: Literal["prometheus"]
    uid: Literal["${datasource}"]


class Place(Strict):
    x: Annotated[int, Field(ge=0, lt=24)]
    y: Annotated[int, Field(ge=0)]
    w: Annotated[int, Field(ge=1, le=24)]
    h: Annotated[int, Field(ge=1)]


class Target(Strict):
    refId: Annotated[str, Field(pattern="^[A-Z]$")]
    datasource: Source
    expr: Annotated[str, Field(min_length=1)]
    legendFormat: str


class Panel(BaseModel):
    id: Annotated[int, Field(ge=1)]
    type: Literal["row", "timeseries", "stat"]
    title: Annotated[str, Field(min_length=1)]
    gridPos: Place
    targets: list[Target] = []


class Rule(Strict):
    alert: Annotated[str, Field(pattern="^Sealtrace[A-Za-z]+$")]
    expr: Annotated[str, Field(min_length=1)]
    for_: Annotated[str, Field(pattern=DURATION, alias="for")] = "0s"
    labels: dict[Literal["severity"], Literal["warning", "critical"]]
    annotations: dict[Literal["summary", "next"], str]


class Group(Strict):
    name: str
    rules: list[Rule]


class Rules(Strict):
    groups: list[Group]


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(monitoring.DASHBOARD.read_text())
    return read


def panels() -> list[Panel]:
    return [Panel.model_validate(panel) for panel in dashboard()["panels"]]


def rules() -> list[Rule]:
    read = Rules.model_validate(yaml.safe_load(ALERTS.read_text()))
    return [rule for group in read.groups for rule in group.rules]


def expressions() -> list[str]:
    return [target.expr for panel in panels() for target in panel.targets] + [
        rule.expr for rule in rules()
    ]


def test_the_dashboard_and_the_reference_are_what_the_services_say() -> None:
    assert monitoring.stale() == [], "run: python -m tools.generate.monitoring"


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_that_is_named_exists(expression: str) -> None:
    named = monitoring.names_in(expression)
    assert named or expression.startswith("up{")
    assert named <= monitoring.names()


def test_every_label_that_is_named_is_one_of_the_metrics_beside_it() -> None:
    labels = {
        family.name: {*family.labels, "job", "instance"}
        for families in monitoring.ROLES.values()
        for family in families
    }
    for expression in expressions():
        for name, within in re.findall(r"(sealtrace_[a-z_]+)\{([^}]*)\}", expression):
            named = set(re.findall(r"([a-z_]+)\s*[=!]~?", within))
            assert named <= labels[name], expression
        grouped = {
            one.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for one in by.split(",")
        }
        for name in monitoring.names_in(expression) & labels.keys():
            assert grouped <= labels[name], expression


def test_the_dashboard_is_a_classic_one_that_can_be_imported_anywhere() -> None:
    read = dashboard()
    assert {"uid", "title", "schemaVersion", "templating", "time", "panels"} <= read.keys()
    assert "id" not in read, "Grafana gives it one"
    variables = [one["name"] for one in read["templating"]["list"]]
    assert variables == ["datasource", "job"]


def test_panels_have_numbers_of_their_own_and_lie_beside_one_another() -> None:
    laid = panels()
    assert len({panel.id for panel in laid}) == len(laid)
    for one, other in combinations((panel.gridPos for panel in laid), 2):
        beside = one.x + one.w <= other.x or other.x + other.w <= one.x
        below = one.y + one.h <= other.y or other.y + other.h <= one.y
        assert beside or below
    assert all(panel.targets or panel.type == "row" for panel in laid)


def test_every_metric_of_ours_is_shown_or_alerted_on_but_for_those_that_are_told_only() -> None:
    shown = {name for expression in expressions() for name in monitoring.names_in(expression)}
    ours = {name for name in monitoring.names() if name.startswith("sealtrace_")}
    assert ours - shown == {
        "sealtrace_edge_camera_dropped_total",
        "sealtrace_edge_camera_frames_total",
        "sealtrace_edge_camera_generation_timestamp_seconds",
        "sealtrace_edge_camera_waiting_for_keys",
        "sealtrace_edge_counted",
        "sealtrace_edge_figure",
        "sealtrace_edge_outbox_bytes",
    }


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    assert len({rule.alert for rule in rules()}) == len(rules())
    assert [rule.alert for rule in rules() if rule.annotations.keys() != {"summary", "next"}] == []


def test_a_metric_that_does_not_exist_would_be_noticed() -> None:
    assert not monitoring.names_in("rate(sealtrace_patients_total[5m])") <= monitoring.names()
