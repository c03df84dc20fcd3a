"""Asks for a site step by step, for who does not want to write ``site.toml``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import available_timezones

import typer

from protocol.errors import MalformedMessage
from protocol.names import require_name
from provisioning.authority.consequences import agreement
from provisioning.formats.plan import BROKER_NAME, RESERVED_NAMES, SitePlan
from runtime import config
from runtime.terminal import Terminal
from runtime.zones import ZoneUnknown, machine_zone, zone

Answer = TypeVar("Answer")
_DEFAULT_BUNDLE = Path(".sealtrace/models")
_FIRST_PORT = 8441


def ask_plan(console: Terminal) -> SitePlan:
    """Ask until there is a plan that fits together.

    Raises:
        ConfigError: the answers contradict each other; the message says how.
        typer.Abort: the person gave up.
    """
    console.print(
        "A few questions; Enter takes what stands in [brackets]. Ctrl-C changes nothing.\n",
        markup=False,
        highlight=False,
    )
    values: dict[str, Any] = {"site": _ask("Name of the site", "demo", _name)}
    values["time_zone"] = _ask("Time zone of the site", _zone_here(), _zone)
    console.print("\n[bold]Custodians[/] hold the keys; each should be under another authority.")
    count = _ask("How many custodians", "3", _whole(1, 9))
    values["threshold"] = _ask("How many must agree", str(count // 2 + 1), _whole(1, count))
    console.print(agreement(count, values["threshold"]), highlight=False)
    values["custodians"] = [_custodian(number) for number in range(1, count + 1)]
    console.print("\n[bold]Headquarters[/]")
    host, port = _ask("Aggregator, host:port", "localhost:8440", _address)
    values["aggregator"] = {"host": host, "port": port}
    embedded = not typer.confirm("Use Mosquitto as broker (no: embedded, this machine only)", True)
    where = "localhost:1883" if embedded else f"{host}:8883"
    broker_host, broker_port = _ask("Broker, host:port", where, _address)
    values[BROKER_NAME] = {
        "kind": "embedded" if embedded else "mosquitto",
        "host": broker_host,
        "port": broker_port,
    }
    console.print("\n[bold]Officers[/], by duty; names with commas between.")
    values["officers"] = _officers()
    investigators = sum("investigator" in one["duties"] for one in values["officers"])
    if investigators < 2:
        console.print("With one investigator nobody else looks at whom they recognise.")
    values["policy"] = {
        "approvals": _ask("Approvals that a query needs", "2", _whole(1, 16)),
        "confirmations": _ask(
            "Investigators who must each confirm a hit (Article 14(5) of the EU AI Act asks for 2)",
            str(min(2, investigators)),
            _whole(1, max(1, min(8, investigators))),
        ),
    }
    console.print("\n[bold]Boxes[/] can also be added later with `sealtrace box add`.")
    values["boxes"] = _boxes()
    if _DEFAULT_BUNDLE.is_dir() and typer.confirm(
        f"Give out the models in {_DEFAULT_BUNDLE}", True
    ):
        values["bundle"] = _DEFAULT_BUNDLE
    return config.parse(values, SitePlan, source="what you answered", folder=Path.cwd())


def _custodian(number: int) -> dict[str, Any]:
    name = _ask(f"Custodian {number}, name", f"c{number}", _name)
    default = f"localhost:{_FIRST_PORT + number - 1}"
    host, port = _ask(f"Custodian {number}, host:port", default, _address)
    return {"name": name, "host": host, "port": port}


def _officers() -> list[dict[str, Any]]:
    duties: dict[str, list[str]] = {}
    for duty, default in (("investigator", "ana,dan"), ("approver", "bo,cy"), ("auditor", "eve")):
        for name in _ask(f"{duty.capitalize()}s", default, _names):
            duties.setdefault(name, []).append(duty)
    return [{"name": name, "duties": held} for name, held in duties.items()]


def _boxes() -> list[dict[str, Any]]:
    boxes = []
    count = _ask("How many boxes now", "1", _whole(0, 1000))
    camera_number = 1
    for number in range(1, count + 1):
        name = _ask(f"Box {number}, name", f"box-{number}", _name)
        cameras = []
        while True:
            camera = _ask(f"{name}, camera", f"cam-{camera_number}", _name)
            source = _ask(
                f"{camera}, source (rtsp://..., http://..., v4l2:/dev/video0, a file)", None, _text
            )
            cameras.append({"name": camera, "source": source})
            camera_number += 1
            if not typer.confirm(f"Another camera on {name}", False):
                break
        boxes.append({"name": name, "cameras": cameras})
    return boxes


def _ask(question: str, default: str | None, parse: Callable[[str], Answer]) -> Answer:
    while True:
        try:
            return parse(typer.prompt(question, default=default).strip())
        except ValueError as error:
            typer.echo(f"  {error}", err=True)


def _name(text: str) -> str:
    try:
        name = require_name(text, what="this")
    except MalformedMessage as error:
        raise ValueError(str(error)) from None
    if name in RESERVED_NAMES:
        raise ValueError(f"'{name}' is reserved; choose another")
    return name


def _zone_here() -> str:
    """Return this machine's time zone, by its name; UTC where it has none."""
    here = machine_zone().key
    return here if here in available_timezones() else "UTC"


def _zone(text: str) -> str:
    try:
        return zone(text).key
    except ZoneUnknown as error:
        raise ValueError(str(error)) from None


def _names(text: str) -> list[str]:
    return [_name(part.strip()) for part in text.split(",")]


def _text(text: str) -> str:
    if not text:
        raise ValueError("this is needed")
    return text


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError("write it as host:port, for example hq.example.org:8440")
    return host.strip("[]"), int(port)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse
