"""What `sealtrace doctor` looks at where a cluster's scheduler or a match worker runs."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path

from aggregator.cluster.config import SchedulerConfig, WorkerConfig
from aggregator.store import open_reader
from aggregator.store.condition import EMBEDDED_SCHEMA, packed_days, require_objects, server_schema
from runtime.config import TlsConfig, load
from runtime.doctor.certificates import look_at_certificate
from runtime.doctor.databases import Known, look_at_databases
from runtime.doctor.files import look_at_secrets
from runtime.doctor.findings import Findings
from runtime.doctor.monitoring import look_at_metrics
from runtime.tls import client_context

RENEW = "at the office: sealtrace site cluster SITE, then install it here and restart"
_WITHIN_S = 5.0


def examine_scheduler(path: Path, found: Findings) -> str:
    """Look at a scheduler, from its configuration; return what it is.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = load(path, SchedulerConfig)
    _look_at_all(found, config.tls)
    if config.port:
        _look_at_scheduler(found, f"{config.host}:{config.port}", config.tls, "sealtrace-scheduler")
    look_at_metrics(found, config.metrics)
    return "scheduler of a match cluster"


def examine_worker(path: Path, found: Findings) -> str:
    """Look at a match worker, from its configuration; return what it is.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = load(path, WorkerConfig)
    given = (config.store.password_file, config.objects.credentials)
    _look_at_all(found, config.tls, *(one for one in given if one is not None))
    _look_at_scheduler(found, config.scheduler, config.tls, "sealtrace-scheduler, at its machine")
    look_at_metrics(found, config.metrics)
    place = config.store_place
    if place.url and not found.network:
        return "match worker"
    with found.looking("store", next="[store] in the configuration, and the database's own state"):
        if place.url:
            schema = server_schema(place)
            found.well("store", f"{place.url} answers, schema {schema.has} of {schema.known}")
        else:
            look_at_databases(found, [Known(place.database, EMBEDDED_SCHEMA)], restored="")
        open_reader(place).newest()
    with found.looking("packed segments"):
        if packed_days(place):
            found.well("packed segments", f"{require_objects(place)}: there")
    return "match worker"


def _look_at_all(found: Findings, tls: TlsConfig, *secrets: Path) -> None:
    keys = [tls.private_key] if tls.private_key is not None else []
    look_at_secrets(found, [*keys, *secrets], state_dir=None)
    look_at_certificate(found, "certificate for the cluster", tls, renewed_by=RENEW)
    with found.looking("software"):
        if find_spec("distributed") is None:
            found.wrong("software", "distributed is missing", "install sealtrace[cluster]")


def _look_at_scheduler(found: Findings, place: str, tls: TlsConfig, unit: str) -> None:
    """See whether somebody listens whom the cluster's CA certified; nothing is asked of it."""
    if not found.network:
        return
    host, _, port = place.rpartition(":")
    with found.looking("scheduler", next=f"systemctl status {unit}"):
        context = client_context(tls)
        context.check_hostname = False  # the cluster tells its machines by their duties
        with (
            socket.create_connection((host.strip("[]"), int(port)), _WITHIN_S) as connection,
            context.wrap_socket(connection),
        ):
            found.well("scheduler", f"{place} answers, certified by the cluster's CA")
