"""What `sealtrace doctor` looks at on a custodian's machine. No passphrase is asked for."""

from __future__ import annotations

from pathlib import Path

from custodian.config import CustodianConfig
from custodian.store import SCHEMA
from protocol.directory import AGGREGATOR, CUSTODIAN, REGISTRAR
from protocol.names import epoch_of
from runtime import auditlog, witness
from runtime.clock import system_ms
from runtime.config import load
from runtime.doctor.certificates import look_at_certificate
from runtime.doctor.databases import Known, look_at_databases
from runtime.doctor.files import look_at_secrets
from runtime.doctor.findings import Findings
from runtime.doctor.machine import look_at_disk
from runtime.doctor.monitoring import look_at_metrics
from runtime.doctor.site import (
    Answer,
    ask_all,
    compare,
    look_at_directory,
    look_at_itself,
    look_at_policy,
)
from runtime.peers import with_address
from runtime.text import quoted

RENEW = "at the office: sealtrace site renew SITE, then install tls/ here and restart"
RESTORE = "stop the service, put the file aside, restore the whole state folder from its backup"
UNIT = "sealtrace-custodian"


def examine(path: Path, found: Findings) -> str:
    """Look at a custodian, from its configuration; return who it is.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = load(path, CustodianConfig)
    secrets = [config.identity, *([config.tls.private_key] if config.tls.private_key else [])]
    look_at_secrets(found, secrets, state_dir=config.state_dir, optional=[config.key_file])
    look_at_disk(found, config.state_dir)
    look_at_certificate(found, "certificate", config.tls, name=config.name, renewed_by=RENEW)
    state = config.state_dir
    look_at_databases(
        found,
        [
            Known(config.database, SCHEMA),
            Known(state / "audit.db", auditlog.SCHEMA),
            Known(state / "witness.db", witness.SCHEMA),
        ],
        restored=RESTORE,
    )
    look_at_metrics(found, config.metrics)
    trust, policy = look_at_directory(found, config, CUSTODIAN), look_at_policy(found, config)
    if trust is not None:
        own = trust.directory.principals[config.name].url or ""
        urls = [own, config.http.address_here if config.http.port else ""]
        answer = look_at_itself(found, config, config.tls, urls, unit=UNIT)
        others = [
            one
            for one in with_address(trust.directory, CUSTODIAN, AGGREGATOR, REGISTRAR)
            if one.name != config.name
        ]
        answers = ask_all(found, others, config.tls)
        if answer is not None:
            _look_inside(found, config, path, answer)
        compare(found, trust, policy, [*([answer] if answer else []), *answers])
    return f"custodian {config.name} of site {config.site}"


def _look_inside(found: Findings, config: CustodianConfig, path: Path, answer: Answer) -> None:
    """Look at what the running custodian says of its keys and its clock."""
    confirm = f"compare clocks, then: sealtrace custodian confirm-clock -c {quoted(path)}"
    if answer.status.get("clock_in_doubt"):
        found.wrong(
            "clock",
            "it has leapt ahead of what this custodian can believe: no key is destroyed",
            confirm,
        )
    destined = answer.status.get("to_be_destroyed")
    if isinstance(destined, list) and len(destined) > 1:
        found.warn(
            "day keys",
            f"of {len(destined)} days will be destroyed after a day of running",
            "if that is not as it should be, set the clock right: docs/operations.md, Clocks",
        )
    keys = answer.status.get("day_keys")
    last = keys.get("last") if isinstance(keys, dict) else None
    if not isinstance(last, int):
        found.wrong("day keys", "there are none: boxes cannot seal to us", "see the log")
        return
    ahead = last - epoch_of(system_ms())
    found.within(
        "day keys",
        f"for {ahead} days ahead of today, {config.days_ahead} wanted",
        f"see the log: journalctl -u {UNIT} -g day_keys -n 20",
        value=ahead,
        warn=config.days_ahead - 1,
        wrong=1,
    )
