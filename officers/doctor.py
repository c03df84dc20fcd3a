"""What `sealtrace doctor` looks at on an officer's machine. No passphrase is asked for."""

from __future__ import annotations

from pathlib import Path

from officers.pages.assets import Vendor
from protocol.directory import AGGREGATOR, APPROVER, AUDITOR, CUSTODIAN, INVESTIGATOR
from runtime.bundle import load_bundle
from runtime.config import load
from runtime.doctor.certificates import look_at_certificate
from runtime.doctor.files import look_at_secrets
from runtime.doctor.findings import Findings
from runtime.doctor.machine import look_at_disk
from runtime.doctor.site import ask_all, compare, look_at_directory, look_at_policy
from runtime.officer import OfficerConfig
from runtime.peers import with_address

RENEW = "ask whoever keeps the site: sealtrace site renew SITE; then install tls/ here"


def examine(path: Path, found: Findings) -> str:
    """Look at an officer's folder, from its configuration; return whose it is.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = load(path, OfficerConfig)
    key = config.tls.private_key if config.tls is not None else None
    secrets = [config.identity, config.sealing, *([key] if key is not None else [])]
    state = config.state_dir
    look_at_secrets(found, secrets, state_dir=state if state.exists() else None)
    look_at_disk(found, path.absolute().parent)
    if config.tls is None:
        found.warn("certificate", "none: headquarters is not asked", "give [tls] in officer.toml")
    else:
        look_at_certificate(found, "certificate", config.tls, name=config.name, renewed_by=RENEW)
    if config.bundle is not None:
        with found.looking("models"):
            load_bundle(config.bundle, config.bundle_signers, roles=())
            found.well("models", f"{config.bundle}: signed")
    with found.looking("desk", next="sealtrace desk install"):
        Vendor().check()
        found.well("desk", "what its pages use is there, and unaltered")
    policy = look_at_policy(found, config)
    trust = look_at_directory(found, config, INVESTIGATOR, APPROVER, AUDITOR)
    if trust is not None:
        services = with_address(trust.directory, AGGREGATOR, CUSTODIAN)
        compare(found, trust, policy, ask_all(found, services, config.tls))
    return f"officer {config.name} of site {config.site}"
