"""What stands in each role's own TOML: the keys of its configuration, with the site's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provisioning.formats import layout
from provisioning.formats.plan import AGGREGATOR_NAME, REGISTRAR_NAME, OfficerPlan, SitePlan
from provisioning.formats.plan_boxes import BoxPlan
from provisioning.formats.plan_services import CustodianPlan, RegistrarPlan
from runtime import tomltext

_TLS = {
    "ca": f"{layout.TLS_FOLDER}/{layout.CA_FILE}",
    "certificate": f"{layout.TLS_FOLDER}/{layout.CERTIFICATE_FILE}",
    "private_key": f"{layout.TLS_FOLDER}/{layout.KEY_FILE}",
}
_POLICY = {"policy": layout.POLICY_FILE, "policy_signature": layout.POLICY_SIGNATURE_FILE}
_ABOUT = {
    "site": "Name of the site.",
    "authority": "Public key of the site's authority, which signs the directory and the policy.",
    "identity": "The signing key of this role.",
    "sealing": "The key that results and sealed log entries are opened with.",
    "directory": "Who may do what, signed by the authority.",
    "policy": "What a query may ask for, signed by the authority.",
    "time_zone": "The site's time zone; left out, this machine's.",
    "bundle": "Folder of the signed model bundle.",
    "state_dir": "Folder for what this role keeps.",
    "http": "Where the HTTP interface listens (mutual TLS 1.3).",
    "tls": "Certificates of HTTP.",
    "mqtt": "The broker.",
    "cameras": "The cameras of this box.",
    "url": "Where boxes reach this service.",
    "claims": "The one-time claims that boxes join with.",
    "certificates": "The certificates that boxes get.",
    "broker": "The broker, as boxes reach it; its folder, where it runs on this machine.",
    "box": "Keys and sections that are copied into every box's box.toml.",
}


def custodian_toml(plan: SitePlan, custodian: CustodianPlan, authority: str) -> str:
    """Return ``custodian.toml``."""
    content = {
        "site": plan.site,
        "name": custodian.name,
        "authority": authority,
        "identity": layout.IDENTITY_SECRET,
        "directory": layout.DIRECTORY_FILE,
        **_POLICY,
        "state_dir": "state",
        "http": {"host": custodian.listen_address, "port": custodian.port},
        "tls": _TLS,
    }
    return _text(
        f"The custodian '{custodian.name}'.", "custodian serve", content, custodian.settings
    )


def aggregator_toml(plan: SitePlan, authority: str, *, bundle: bool) -> str:
    """Return ``aggregator.toml``."""
    content = {
        "site": plan.site,
        "name": AGGREGATOR_NAME,
        "authority": authority,
        "identity": layout.IDENTITY_SECRET,
        "directory": layout.DIRECTORY_FILE,
        **_POLICY,
        "bundle": layout.MODELS_FOLDER if bundle else None,
        "state_dir": "state",
        "http": {"host": plan.aggregator.listen_address, "port": plan.aggregator.port},
        "tls": _TLS,
        "mqtt": mqtt_table(plan, headquarters=True),
    }
    return _text("The aggregator.", "aggregator serve", content, plan.aggregator.settings)


def scheduler_toml(address: str) -> str:
    """Return ``scheduler.toml`` of a cluster whose scheduler is at ``address`` (host:port)."""
    host, _, port = address.rpartition(":")
    content = {"host": host.strip("[]"), "port": int(port), "tls": _TLS}
    return _text("The cluster's scheduler.", "aggregator scheduler", content, {})


def match_worker_toml(address: str, name: str) -> str:
    """Return ``match-worker.toml`` for the machine ``name`` of a cluster."""
    content = {"scheduler": address, "tls": _TLS}
    return _text(f"A match worker on '{name}'.", "aggregator match-worker", content, {})


def registrar_toml(plan: SitePlan, registrar: RegistrarPlan, authority: str) -> str:
    """Return ``registrar.toml``."""
    mosquitto = plan.broker.kind == "mosquitto"
    content = {
        "site": plan.site,
        "name": REGISTRAR_NAME,
        "authority": authority,
        "identity": layout.IDENTITY_SECRET,
        "directory": layout.DIRECTORY_FILE,
        "ca_dir": "ca",
        "state_dir": "state",
        "url": registrar.url,
        "http": {"host": registrar.listen_address, "port": registrar.port},
        "tls": _TLS,
        "claims": {"hours": registrar.claim_hours},
        "certificates": {"days": plan.certificates.box_days},
        "broker": {
            "host": plan.broker.host,
            "port": plan.broker.port,
            "tls": mosquitto,
            "aggregator": AGGREGATOR_NAME,
            "folder": "../broker" if mosquitto else None,
            "further": [{"host": one.host, "port": one.port} for one in plan.broker.further]
            or None,
            "further_folders": [
                f"../broker-{number}" for number in range(2, len(plan.broker.further) + 2)
            ]
            or None,
        },
        "box": {"time_zone": plan.time_zone},
    }
    return _text("The registrar.", "registrar serve", content, registrar.settings)


def officer_toml(plan: SitePlan, officer: OfficerPlan, authority: str, *, bundle: bool) -> str:
    """Return ``officer.toml``."""
    content = {
        "site": plan.site,
        "name": officer.name,
        "authority": authority,
        "identity": layout.IDENTITY_SECRET,
        "sealing": layout.SEALING_SECRET,
        "directory": layout.DIRECTORY_FILE,
        **_POLICY,
        "time_zone": plan.time_zone,
        "bundle": layout.MODELS_FOLDER if bundle else None,
        "tls": _TLS,
    }
    about = f"The officer '{officer.name}': {', '.join(officer.duties)}."
    return _text(about, None, content, officer.settings)


def box_toml(plan: SitePlan, box: BoxPlan, authority: str) -> str:
    """Return ``box.toml``."""
    own = {camera.name for camera in box.cameras}
    content = {
        "site": plan.site,
        "box": box.name,
        "authority": authority,
        "identity": layout.BOX_IDENTITY,
        "directory": layout.DIRECTORY_FILE,
        "time_zone": plan.time_zone,
        "bundle": layout.MODELS_FOLDER,
        "state_dir": "state",
        "mqtt": mqtt_table(plan),
        "cameras": [camera.table() for camera in box.cameras],
        "recordings": [{"name": name} for name in box.recordings if name not in own],
    }
    about = {"box": "Name of this box.", "recordings": "Cameras whose films it imports."}
    return _text(f"The edge box '{box.name}'.", "edge run", content, box.settings, about)


def mqtt_table(plan: SitePlan, *, headquarters: bool = False) -> dict[str, Any]:
    """Return ``[mqtt]`` of boxes, or of those who come in at headquarters' ports."""
    first = plan.broker
    ports = [(first.host, first.port, first.headquarters)]
    ports += [(one.host, one.port, one.headquarters) for one in first.further]
    places = [{"host": host, "port": ours if headquarters else port} for host, port, ours in ports]
    table: dict[str, Any] = dict(places[0])
    if len(places) > 1:
        table["further"] = places[1:]
    if plan.broker.kind == "mosquitto":
        table["tls"] = _TLS
    return table


def _text(
    title: str,
    command: str | None,
    content: Mapping[str, Any],
    settings: Mapping[str, Any],
    about: Mapping[str, str] | None = None,
) -> str:
    head = f"# {title} Paths count from this file's folder.\n"
    if command is not None:
        head += f"# Every other key and its default: sealtrace {command} --print-config\n"
    meanings = {**_ABOUT, **(about or {})}
    return head + "\n" + tomltext.table(_merged(content, settings), about=meanings)


def _merged(content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(content)
    for name, item in settings.items():
        inner = result.get(name)
        if isinstance(item, Mapping) and isinstance(inner, Mapping):
            result[name] = _merged(inner, item)
        else:
            result[name] = item
    return result
