"""Write a Mosquitto 2 configuration for a site: mutual TLS, rights by certificate name, limits.

The broker is trusted with nothing but delivery: what it carries is sealed and signed. Its rules
keep one box from speaking for, drowning or listening to another.

It has two listeners. Boxes' certificates come from a CA whose key is on the network, so a name in
them proves a box and nothing more; on the boxes' listener nobody has any right but a box. Who
speaks for headquarters connects to the other, where certificates of that CA are refused: that
listener has no revocation list of it, and Mosquitto takes no certificate whose CA's list it lacks.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from provisioning.registrar.broker_rights import ACL_FILE, BOXES_ACL, HEADQUARTERS_ACL, Rights
from runtime.errors import OperationError
from runtime.fsio import atomic_write, private_folder, write_if_new

CONFIG_FILE, PID_FILE = "mosquitto.conf", "mosquitto.pid"
CERTIFICATES, DATA = "certs", "data"
CRL_FILE, HEADQUARTERS_CRL_FILE = "crl.pem", "crl-headquarters.pem"
_OVERHEAD_BYTES = 64 << 10
ACCOUNT = "mosquitto"
"""The user that Mosquitto changes to when root starts it."""


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What the broker will carry and keep for others.

    Boxes keep whatever no receipt covers, so the broker needs to hold little.

    Args:
        max_queued_bytes: of messages that wait for one client, such as an absent aggregator.
        memory_bytes: all its messages together; beyond, it refuses rather than fill the machine.
        connections: at the boxes' listener; silent ones count.
    """

    max_message_bytes: int = 8 << 20
    max_inflight: int = 64
    max_inflight_bytes: int = 64 << 20
    max_queued: int = 10_000
    max_queued_bytes: int = 256 << 20
    memory_bytes: int = 1 << 30
    connections: int = 4096
    headquarters_connections: int = 1024
    session_days: int = 14


def mosquitto_config(
    host: str, port: int, headquarters_port: int, *, site: str, limits: BrokerLimits
) -> str:
    """Return ``mosquitto.conf``; its paths count from the folder in which Mosquitto is started."""
    both = f"""\
cafile {CERTIFICATES}/ca.pem
certfile {CERTIFICATES}/certificate.pem
keyfile {CERTIFICATES}/private-key.pem
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
max_qos 1"""
    return f"""\
# Mosquitto 2 for the site '{site}'. Start it in this folder:
#
#     mosquitto -c {CONFIG_FILE}
#
# After a change of acl* or {CERTIFICATES}/ (a revocation, too) send it SIGHUP; after one here,
# restart it: boxes keep what they have not delivered.

per_listener_settings true

# Both sides show a certificate of the site's CA; its name is the user name and the client id, so
# that nobody can take over another one's session. Who may publish and read what goes by that name.

# Boxes.
listener {port} {host}
{both}
crlfile {CERTIFICATES}/{CRL_FILE}
acl_file {BOXES_ACL}
max_connections {limits.connections}

# The aggregator. Certificates of the boxes' CA are refused here: its revocation list is not there.
listener {headquarters_port} {host}
{both}
crlfile {CERTIFICATES}/{HEADQUARTERS_CRL_FILE}
acl_file {HEADQUARTERS_ACL}
max_connections {limits.headquarters_connections}

# Limits. What is retained has no setting: it is one message for each topic that somebody may write
# (counted in {BOXES_ACL}), each as large as any message.
max_packet_size {limits.max_message_bytes + _OVERHEAD_BYTES}
message_size_limit {limits.max_message_bytes}
max_inflight_messages {limits.max_inflight}
max_inflight_bytes {limits.max_inflight_bytes}
max_queued_messages {limits.max_queued}
max_queued_bytes {limits.max_queued_bytes}
memory_limit {limits.memory_bytes}
persistent_client_expiration {limits.session_days}d

# Retained announcements and waiting messages outlive a restart.
persistence true
persistence_location {DATA}/
autosave_interval 60

sys_interval 0
set_tcp_nodelay true
connection_messages true
log_dest stderr
log_type error
log_type warning
log_type notice
pid_file {PID_FILE}
"""


def write_config(
    folder: Path,
    *,
    site: str,
    host: str,
    port: int,
    headquarters_port: int,
    aggregator: str,
    limits: BrokerLimits | None = None,
) -> Path:
    """Write ``mosquitto.conf``, access lists that let no box in yet, and the folders.

    Raises:
        FileProblem: a file cannot be written.
    """
    for path in (folder, folder / CERTIFICATES, folder / DATA):
        private_folder(path)
    text = mosquitto_config(
        host, port, headquarters_port, site=site, limits=limits or BrokerLimits()
    )
    atomic_write(folder / CONFIG_FILE, text.encode())
    write_rights(folder, Rights(site, aggregator))
    return folder / CONFIG_FILE


def write_rights(folder: Path, rights: Rights) -> list[Path]:
    """Write the access lists; return those that changed.

    Raises:
        FileProblem: a file cannot be written.
    """
    texts = {
        BOXES_ACL: rights.boxes_acl(),
        HEADQUARTERS_ACL: rights.headquarters_acl(),
        ACL_FILE: rights.acl(),
    }
    return [
        folder / name
        for name, text in texts.items()
        if write_if_new(folder / name, text.encode(), 0o600)
    ]


def write_revocations(folder: Path, crls: bytes, headquarters: bytes) -> list[Path]:
    """Write the revocation lists of both listeners; return the files that changed.

    Args:
        crls: the newest list of every CA (PEM).
        headquarters: the same without that of the boxes' CA.

    Raises:
        FileProblem: a file cannot be written.
    """
    certificates = private_folder(folder / CERTIFICATES)
    files = {CRL_FILE: crls, HEADQUARTERS_CRL_FILE: headquarters}
    return [
        certificates / name
        for name, data in files.items()
        if write_if_new(certificates / name, data)
    ]


def write_certificates(
    folder: Path, *, ca_pem: bytes, certificate_pem: bytes, key_pem: bytes
) -> None:
    """Write the broker's certificate files (its key as a plain 0600 file: it starts unattended)."""
    certificates = folder / CERTIFICATES
    atomic_write(certificates / "ca.pem", ca_pem)
    atomic_write(certificates / "certificate.pem", certificate_pem)
    atomic_write(certificates / "private-key.pem", key_pem, 0o600)


def give_to_mosquitto(folder: Path) -> None:
    """When root runs this, hand the folder to the user that Mosquitto changes to at its start."""
    if os.geteuid() != 0 or not folder.is_dir():
        return
    try:
        account = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def mosquitto_command() -> list[str]:
    """Return the command that starts the broker; run it in the broker's folder.

    Raises:
        OperationError: Mosquitto is not installed.
    """
    program = shutil.which("mosquitto", path=_search_path())
    if program is None:
        raise OperationError(
            "Mosquitto is not installed here; install it (Debian: apt install mosquitto), or set"
            ' [broker] kind = "embedded" for a demonstration'
        )
    return [program, "-c", CONFIG_FILE]


def signal_mosquitto(folder: Path) -> bool:
    """Have the Mosquitto that was started in ``folder`` read its rights and revocations anew.

    From then on (seen with 2.0.11) it neither lets a revoked certificate in nor takes anything from
    a revoked client that is connected.

    Returns:
        whether one runs here.
    """
    try:
        pid = int((folder / PID_FILE).read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if name != "mosquitto" or not Path(f"/proc/{pid}/cwd").samefile(folder):
            return False
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True


def _search_path() -> str:
    """PATH, and where Debian puts daemons."""
    parts: Iterable[str] = (os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin")
    return os.pathsep.join(parts)
