"""What `sealtrace doctor` looks at on the registrar's machine. No passphrase is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from protocol.directory import AGGREGATOR, CUSTODIAN, REGISTRAR
from provisioning.registrar.config import RegistrarConfig
from provisioning.registrar.store import SCHEMA
from runtime.certificates import end_of
from runtime.config import load
from runtime.doctor.certificates import look_at_certificate
from runtime.doctor.databases import Known, look_at_databases
from runtime.doctor.files import look_at_secrets
from runtime.doctor.findings import Findings
from runtime.doctor.machine import look_at_disk
from runtime.doctor.monitoring import look_at_metrics
from runtime.doctor.site import ask_all, compare, look_at_directory, look_at_itself
from runtime.peers import with_address

RENEW = "at the office: sealtrace site renew SITE, then install tls/ here and restart"
RESTORE = "stop the service, put the file aside, restore the whole state folder from its backup"
UNIT = "sealtrace-registrar"
_CA_WARN_DAYS, _CA_WRONG_DAYS = 60, 1


def examine(path: Path, found: Findings) -> str:
    """Look at a registrar, from its configuration; return who it is.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = load(path, RegistrarConfig)
    key = config.tls.private_key
    secrets = [config.identity, config.ca_files.key, *([key] if key is not None else [])]
    look_at_secrets(found, secrets, state_dir=config.state_dir)
    look_at_disk(found, config.state_dir)
    look_at_certificate(found, "certificate", config.tls, renewed_by=RENEW)
    with found.looking("boxes' CA"):
        ends = end_of(config.ca_files.certificate)
        left = (ends - datetime.now(UTC)) / timedelta(days=1)
        found.within(
            "boxes' CA",
            f"until {ends:%Y-%m-%d}, {left:.0f} days",
            "at the office: sealtrace site renew SITE",
            value=left,
            warn=_CA_WARN_DAYS,
            wrong=_CA_WRONG_DAYS,
        )
    look_at_databases(found, [Known(config.database, SCHEMA)], restored=RESTORE)
    look_at_metrics(found, config.metrics)
    trust = look_at_directory(found, config, REGISTRAR)
    if trust is not None:
        here = config.http.address_here if config.http.port else ""
        answer = look_at_itself(found, config, config.tls, [config.url, here], unit=UNIT)
        others = with_address(trust.directory, CUSTODIAN, AGGREGATOR)
        answers = ask_all(found, others, config.tls)
        compare(found, trust, None, [*([answer] if answer else []), *answers])
    folders = [config.broker.folder, *config.broker.further_folders]
    for folder in (one for one in folders if one is not None):
        with found.looking("broker's lists"):
            if (folder / "mosquitto.conf").exists():
                found.well("broker's lists", f"written to {folder}")
            elif not config.broker.push:
                found.warn(
                    "broker's lists",
                    f"{folder} holds no broker, and no command brings the lists to another machine",
                    "set [broker] folder or push in registrar.toml",
                )
    return f"registrar {config.name} of site {config.site}"
