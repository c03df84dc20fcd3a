"""A site for the simulated city: keys, directory, policy, certificates, custodians on disk.

Custodians run in processes of their own, as they do at other authorities: their code, their logs,
mutual TLS. Everything else of the city stands on what is made here.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.printing import quiet_logs
from custodian.api import make_app
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from protocol import hpke
from protocol.directory import (
    AGGREGATOR,
    APPROVER,
    AUDITOR,
    AUTHORITY,
    BOX,
    CUSTODIAN,
    INVESTIGATOR,
    Directory,
    Principal,
)
from protocol.names import EPOCH_MS, epoch_of
from protocol.policy import sign_policy
from protocol.signing import SigningKey
from provisioning.formats import pki
from runtime.clock import system_ms
from runtime.config import TlsConfig, load
from runtime.http import serve
from runtime.keyfiles import Cost, write_secret
from runtime.lifecycle import Stop
from runtime.process import begin

SITE = "city"
CUSTODIANS = ("c1", "c2", "c3")
FACE_SPACE, CLOTHES_SPACE = "bench-128@00000000", "bench-256@00000000"
APPROVERS = ("bo", "cy")
RETENTION_DAYS = 14
MAX_CANDIDATES = 1000
_PASSPHRASE = b"benchmark passphrase"
_CHEAP = Cost(memory_kib=8)
_POLICY = f"""site = "{SITE}"
version = 1
programme_ends = 2100-01-01T00:00:00Z
approvals = {len(APPROVERS)}
max_subjects = 10
max_window_hours = {24 * (RETENTION_DAYS + 1)}
max_live_hours = 24
max_cameras = 20000
max_query_days = 14
max_candidates = {MAX_CANDIDATES}
retention_days = {RETENTION_DAYS}
[threshold_floor]
"{FACE_SPACE}" = 0.4
"{CLOTHES_SPACE}" = 0.4
[legal_basis.consent]
modalities = ["face", "appearance"]
extra_approvals = 0
""".encode()
_STARTING_S = 60.0


@dataclass(frozen=True)
class CitySite:
    """Where a site lies, and everybody's private key; can be pickled.

    Args:
        folder: directory, policy and certificates.
        seeds: name to signing seed, of everybody but the authority.
    """

    folder: Path
    seeds: Mapping[str, bytes]

    @property
    def directory(self) -> Path:
        """The signed directory."""
        return self.folder / "directory.cbor"

    @property
    def policy(self) -> Path:
        """The policy."""
        return self.folder / "policy.toml"

    def key(self, name: str) -> SigningKey:
        """Return somebody's signing key."""
        return SigningKey(name, self.seeds[name])

    def tls(self, name: str) -> TlsConfig:
        """Return the certificate of a server or caller."""
        return TlsConfig(
            ca=self.folder / "ca.pem",
            certificate=self.folder / f"{name}.pem",
            private_key=self.folder / f"{name}.key",
        )


def make_site(folder: Path, cameras: int, *, days: int) -> CitySite:
    """Make a site with one box a camera, and its custodians' folders.

    Args:
        folder: an empty one.
        cameras: ``cam-1`` of ``box-1`` and so on.
        days: for so many days back the directory is in force.
    """
    ports = _free_ports(len(CUSTODIANS))
    urls = {name: f"https://localhost:{port}" for name, port in zip(CUSTODIANS, ports, strict=True)}
    duties = {
        "ana": INVESTIGATOR,
        "eve": AUDITOR,
        "aggregator": AGGREGATOR,
        **dict.fromkeys(APPROVERS, APPROVER),
        **dict.fromkeys(CUSTODIANS, CUSTODIAN),
        **{f"box-{number}": BOX for number in range(1, cameras + 1)},
    }
    keys = {name: SigningKey.generate(name) for name in duties}
    authority = SigningKey.generate(AUTHORITY)
    sealed_to = {INVESTIGATOR, AUDITOR}
    principals = {
        name: Principal(
            name,
            frozenset({duty}),
            keys[name].verify_key,
            seal_key=hpke.PrivateKey.generate().public if duty in sealed_to else None,
            cameras=(name.replace("box", "cam"),) if duty == BOX else (),
            url=urls.get(name),
        )
        for name, duty in duties.items()
    }
    issued_ms = (epoch_of(system_ms()) - days - 1) * EPOCH_MS
    signed = Directory(SITE, 1, issued_ms, 2, principals).sign(authority).to_bytes()
    signature = sign_policy(_POLICY, authority)
    site = CitySite(folder, {name: key.seed for name, key in keys.items()})
    _issue(site, ("aggregator", *CUSTODIANS))
    for name, port in [("", 0), *zip(CUSTODIANS, ports, strict=True)]:
        place = folder / name
        place.mkdir(exist_ok=True)
        (place / "directory.cbor").write_bytes(signed)
        (place / "policy.toml").write_bytes(_POLICY)
        (place / "policy.toml.sig").write_bytes(signature)
        if name:
            _write_custodian(site, name, port, authority)
    (folder / "authority.key").write_bytes(authority.verify_key.raw)
    return site


@contextmanager
def custodians(site: CitySite) -> Iterator[tuple[dict[str, int], dict[str, dict[int, bytes]]]]:
    """Run the custodians; yield their process ids, and their public day keys by epoch.

    Raises:
        RuntimeError: one does not start.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pids: dict[str, int] = {}
        day_keys: dict[str, dict[int, bytes]] = {}
        for name in CUSTODIANS:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(site.folder / name / "custodian.toml", theirs), name=name
            )
            process.start()
            theirs.close()
            stack.callback(process.join, 20.0)
            stack.callback(ours.close)  # it ends when its pipe does
            if not ours.poll(_STARTING_S):
                raise RuntimeError(f"custodian {name} does not start")
            day_keys[name] = ours.recv()
            pids[name] = int(process.pid or 0)
        yield pids, day_keys


def _serve(config_file: Path, pipe: Connection) -> None:
    """Serve one custodian until the pipe closes; runs in a process of its own."""
    begin()
    quiet_logs()
    config = load(config_file, CustodianConfig)
    custodian = Custodian(config, _PASSPHRASE, cost=_CHEAP)
    stop = Stop()

    def wait() -> None:
        pipe.send({epoch: key.raw for epoch, key in custodian.ring.public_keys().items()})
        try:
            pipe.recv()
        except (EOFError, OSError):
            stop.set("the benchmark is over")

    threading.Thread(target=wait, name="parent", daemon=True).start()
    try:
        serve(
            make_app(custodian),
            config.http.host,
            config.http.port,
            config.tls,
            stop,
            max_body_bytes=config.limits.max_request_bytes,
            limits=config.http,
        )
    finally:
        custodian.close()


def _write_custodian(site: CitySite, name: str, port: int, authority: SigningKey) -> None:
    folder = site.folder / name
    write_secret(folder / "identity.secret", site.seeds[name], _PASSPHRASE, "identity", cost=_CHEAP)
    tls = site.tls(name)
    lines = [
        f"site = {json.dumps(SITE)}",
        f"name = {json.dumps(name)}",
        f"authority = {json.dumps(authority.verify_key.raw.hex())}",
        "[http]",
        f"port = {port}",
        "[limits]",
        "grants_per_minute = 100000",
        "rows_per_minute = 100000",
        "[tls]",
        f"ca = {json.dumps(str(tls.ca))}",
        f"certificate = {json.dumps(str(tls.certificate))}",
        f"private_key = {json.dumps(str(tls.private_key))}",
    ]
    (folder / "custodian.toml").write_text("\n".join(lines) + "\n")


def _issue(site: CitySite, names: tuple[str, ...]) -> None:
    now = datetime.now(UTC)
    root = pki.new_root(SITE, now=now, years=1)
    (site.folder / "ca.pem").write_bytes(root.trust_pem)
    for name in names:
        leaf = pki.issue(
            root,
            name,
            usages=(pki.CLIENT, pki.SERVER),
            hosts=("localhost", "127.0.0.1"),
            now=now,
            days=2,
        )
        tls = site.tls(name)
        tls.certificate.write_bytes(leaf.chain_pem)
        Path(str(tls.private_key)).write_bytes(leaf.key_pem)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in held]
