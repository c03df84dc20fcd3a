"""A cluster that matches, of real processes on loopback, under a CA of minutes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from aggregator.config import ClusterSection
from demo.processes import Service, sealtrace
from provisioning.formats import pki
from runtime.config import TlsConfig
from runtime.tls import CLUSTER_AGGREGATOR, CLUSTER_CA, CLUSTER_SCHEDULER, CLUSTER_WORKER


class ClusterCa:
    """The CA of a cluster, which certifies what it is told into its folder."""

    def __init__(self, folder: Path, title: str = CLUSTER_CA) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = pki.new_root(
            "test", now=datetime.now(UTC), years=1, title=title, path_length=0
        )
        (folder / "ca.pem").write_bytes(self.authority.certificate.public_bytes(Encoding.PEM))

    def issue(
        self, name: str, duty: str, *, now: datetime | None = None, days: int = 1
    ) -> TlsConfig:
        """Certify ``name``; return the configuration that uses it."""
        leaf = pki.issue(
            self.authority,
            name,
            usages=(pki.CLIENT, pki.SERVER),
            now=now or datetime.now(UTC),
            days=days,
            unit=duty,
        )
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(leaf.chain_pem)
        key.write_bytes(leaf.key_pem)
        return TlsConfig(ca=self.folder / "ca.pem", certificate=certificate, private_key=key)


@dataclass
class MatchCluster:
    """Processes of a cluster whose workers read the embedded store in ``state``.

    Each is started by its name, killed, and started again; the scheduler keeps its port.
    """

    folder: Path
    state: Path
    ca: ClusterCa = field(init=False)
    services: dict[str, Service] = field(default_factory=dict)
    port: int = 0

    def __post_init__(self) -> None:
        """Make the CA."""
        self.ca = ClusterCa(self.folder / "ca")

    def start_scheduler(self) -> Service:
        """Start the scheduler, on the port that it had."""
        text = f'host = "127.0.0.1"\nport = {self.port}\n' + _tls(
            self.ca.issue("scheduler", CLUSTER_SCHEDULER)
        )
        service = self._start("scheduler", "scheduler", text)
        service.wait_ready()
        address = str(service.events("ready")[-1]["address"])
        self.port = int(address.rpartition(":")[2])
        return service

    def start_worker(self, name: str, *, wait: bool = True, state: Path | None = None) -> Service:
        """Start a worker; ``wait`` until it has joined. ``state``: a store of its own."""
        text = f'scheduler = "127.0.0.1:{self.port}"\nstate_dir = "{state or self.state}"\n' + _tls(
            self.ca.issue(name, CLUSTER_WORKER)
        )
        service = self._start(name, "match-worker", text)
        if wait:
            service.wait_ready()
        return service

    def section(self) -> ClusterSection:
        """The aggregator's section for this cluster."""
        tls = self.ca.issue("aggregator", CLUSTER_AGGREGATOR)
        return ClusterSection(scheduler=f"127.0.0.1:{self.port}", tls=tls)

    def close(self) -> None:
        """Kill what runs."""
        for service in self.services.values():
            service.kill()

    def _start(self, name: str, command: str, text: str) -> Service:
        config = self.folder / f"{name}.toml"
        config.write_text(text)
        service = Service(
            name,
            sealtrace("aggregator", command, "--config", str(config)),
            self.folder,
            self.folder / f"{name}.log",
            _environment(self.folder),
        )
        self.services[name] = service
        service.start()
        return service


def _tls(tls: TlsConfig) -> str:
    return (
        f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\n'
        f'private_key = "{tls.private_key}"\n'
    )


def _environment(folder: Path) -> Mapping[str, str]:
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(scratch)}
