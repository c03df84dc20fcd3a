"""What `sealtrace doctor` looks at on headquarters' machine. No passphrase is asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from aggregator.config import AggregatorConfig
from aggregator.processes.duties import Duty, words_of
from aggregator.store import StorePlace
from aggregator.store.condition import (
    EMBEDDED_SCHEMA,
    folder_of,
    packed_days,
    require_objects,
    server_schema,
)
from protocol.directory import AGGREGATOR, CUSTODIAN, REGISTRAR
from protocol.policy import Policy
from runtime import auditlog, witness
from runtime.bundle import load_bundle
from runtime.config import TlsConfig, load
from runtime.doctor.broker import look_at_brokers
from runtime.doctor.certificates import look_at_certificate
from runtime.doctor.databases import Known, look_at_databases, schema_of
from runtime.doctor.files import look_at_secrets
from runtime.doctor.findings import Findings
from runtime.doctor.machine import GIB, look_at_disk
from runtime.doctor.monitoring import look_at_metrics
from runtime.doctor.site import (
    TIMEOUT_S,
    Answer,
    ask_all,
    ask_day_keys,
    compare,
    look_at_day_keys,
    look_at_directory,
    look_at_itself,
    look_at_policy,
)
from runtime.http import client, json_of
from runtime.peers import at_once, with_address
from runtime.text import counted, quoted
from runtime.trust import Trust

RENEW = "at the office: sealtrace site renew SITE, then install tls/ here and restart"
RESTORE = "stop the service, put the file aside, restore the whole state folder from its backup"
UNIT = "sealtrace-aggregator"
_DAYS_LOOKED_AT = 7
_MAX_LIST_BYTES = 64 << 20


def examine(path: Path, found: Findings) -> str:
    """Look at an aggregator's process, from its configuration; return who it is.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = load(path, AggregatorConfig)
    _look_at_files(found, config)
    certificates = {"certificate": config.tls, "certificate for the broker": config.mqtt.tls}
    for about, tls in certificates.items():
        if tls is not None:
            look_at_certificate(found, about, tls, renewed_by=RENEW)
    if config.cluster.tls is not None:
        look_at_certificate(
            found,
            "certificate for the cluster",
            config.cluster.tls,
            renewed_by="at the office: sealtrace site cluster SITE, then install it here",
        )
    policy = look_at_policy(found, config)
    look_at_store(found, config, policy)
    if config.bundle is not None:
        with found.looking("models"):
            keys = [bytes.fromhex(key) for key in (config.authority, *config.bundle_keys)]
            load_bundle(config.bundle, keys, roles=())
            found.well("models", f"{config.bundle}: signed")
    look_at_metrics(found, config.metrics)
    look_at_brokers(found, config.mqtt)
    trust = look_at_directory(found, config, AGGREGATOR)
    if trust is not None:
        _look_at_others(found, config, path, trust, policy)
    return f"aggregator {config.name} of site {config.site} ({words_of(config.processes.duties)})"


def _look_at_files(found: Findings, config: AggregatorConfig) -> None:
    chains = (config.tls, config.mqtt.tls, config.cluster.tls)
    given = [tls.private_key for tls in chains if tls is not None and tls.private_key is not None]
    others = (config.store.password_file, config.objects.credentials)
    secrets = [config.identity, *given, *(one for one in others if one is not None)]
    look_at_secrets(found, secrets, state_dir=config.state_dir)
    look_at_disk(found, config.state_dir, most=config.limits.quarantine_mb << 20)


def look_at_store(found: Findings, config: AggregatorConfig, policy: Policy | None) -> None:
    """Look at the ledger, the logs beside it and the packed segments; nothing is written."""
    state, place = config.state_dir, config.store_place
    known = [] if place.url else [Known(place.database, EMBEDDED_SCHEMA)]
    if Duty.UPKEEP in config.processes.duties:
        known += [
            Known(state / "audit.db", auditlog.SCHEMA),
            Known(state / "witness.db", witness.SCHEMA),
        ]
    look_at_databases(found, known, restored=RESTORE)
    if _ledger_is_ready(found, place):
        with found.looking("packed segments"):
            _look_at_objects(found, config, policy)


def _ledger_is_ready(found: Findings, place: StorePlace) -> bool:
    """Tell whether the ledger is there, and has the tables of this version."""
    if place.url and not found.network:
        return False
    with found.looking("store", next="systemctl status postgresql; see [store]"):
        if not place.url:
            there = place.database.exists()
            return there and schema_of(place.database) == EMBEDDED_SCHEMA
        schema = server_schema(place)
        if schema.has > schema.known:
            found.wrong(
                "store",
                f"{place.url} has schema {schema.has}, and this program knows {schema.known}",
                "install the version that wrote it again, or restore the backup before it",
            )
            return False
        older = (
            f" (the next start brings it to {schema.known})" if schema.has < schema.known else ""
        )
        found.well("store", f"{place.url} answers, schema {schema.has}{older}")
        return schema.has == schema.known
    return False


def _look_at_objects(found: Findings, config: AggregatorConfig, policy: Policy | None) -> None:
    place = config.store_place
    days = packed_days(place)
    if not days:
        found.well("packed segments", "none yet")
        return
    where = require_objects(place) if found.network or folder_of(place) else "the place"
    size = sum(one.size for one in days)
    lately = days[:-1][-_DAYS_LOOKED_AT:] or days
    a_day = sum(one.size for one in lately) / len(lately)
    what = f"{where}: {size / GIB:.2f} GiB of {len(days)} days, {a_day / GIB:.3f} GiB a day"
    folder = folder_of(place)
    if folder is None or policy is None:
        found.well("packed segments", what)
        return
    look_at_disk(
        found,
        folder,
        "disk of packed segments",
        most=max(0, round(a_day * policy.retention_days) - size),
    )
    found.well("packed segments", f"{what}, kept {policy.retention_days} days")


def _look_at_others(
    found: Findings, config: AggregatorConfig, path: Path, trust: Trust, policy: Policy | None
) -> None:
    if config.tls is None:
        found.warn("certificate", "none: it serves and calls nobody but on this machine")
        return
    directory, tls = trust.directory, config.tls
    here = config.http.address_here if config.http.port else ""
    own = directory.principals[config.name].url or ""
    # Of several processes each has a port of its own; the directory's is that of those with `api`.
    urls = [own, here] if Duty.API in config.processes.duties else [here]
    answer = look_at_itself(found, config, tls, urls, unit=UNIT)
    others = with_address(directory, CUSTODIAN, REGISTRAR)
    answers = ask_all(found, others, tls)
    if answer is not None:
        _look_inside(found, path, tls, answer, next(url for url in urls if url))
    compare(found, trust, policy, [*([answer] if answer else []), *answers])
    silent = {one.name for one in answers if one.problem}
    custodians = with_address(directory, CUSTODIAN)
    if found.network and not silent & {one.name for one in custodians}:  # else it is said already
        found.tell("day keys")
        newest = at_once(custodians, partial(ask_day_keys, tls=tls, directory=directory))
        look_at_day_keys(found, directory, dict(newest))


def _look_inside(found: Findings, path: Path, tls: TlsConfig, answer: Answer, url: str) -> None:
    """Look at what the running aggregator says of custodians, its quarantine and boxes."""
    false = answer.status.get("false_grants")
    if isinstance(false, dict) and false:
        found.warn(
            "grants",
            f"false ones came from {', '.join(sorted(map(str, false)))[:200]}",
            "ask who runs that custodian; revoke it if it happens again",
        )
    with found.looking("quarantine"), client(url, tls, TIMEOUT_S) as http:
        waiting: Any = json_of(http.get("/v1/quarantine"))
        count = len(waiting) if isinstance(waiting, list) else 0
        if count:
            found.warn(
                "quarantine",
                f"{counted(count, 'message')} or more wait for your word",
                f"sealtrace aggregator quarantine -c {quoted(path)}",
            )
        else:
            found.well("quarantine", "empty")
    with (
        found.looking("boxes"),
        client(url, tls, TIMEOUT_S, max_answer_bytes=_MAX_LIST_BYTES) as http,
    ):
        look_at_boxes(found, json_of(http.get("/v1/boxes")))


def look_at_boxes(found: Findings, told: Any) -> None:
    """Note how boxes are, from what ``GET /v1/boxes`` answered."""
    listed = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    boxes = [one for one in listed if not one.get("revoked")]
    away = [one for one in boxes if one.get("state") != "online"]
    clocks = [one for one in boxes if one.get("clock_wrong")]
    gaps = [one for one in boxes if one.get("gaps")]
    parts = [
        f"{len(of)} {what}"
        for of, what in (
            (away, "not online"),
            (clocks, "with a wrong clock"),
            (gaps, "with gaps in what they sent"),
        )
        if of
    ]
    if parts:
        found.warn(
            "boxes",
            f"of {len(boxes)}: {', '.join(parts)}",
            "at the office: sealtrace box list SITE --live",
        )
    else:
        found.well("boxes", f"{counted(len(boxes), 'box', 'boxes')} in order")
