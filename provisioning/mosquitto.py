"""Write a Mosquitto 2 configuration for a site: mutual TLS, rights by certificate name, limits.

The broker is trusted with nothing but delivery: what it carries is sealed and signed. Its rules
keep one box from speaking for, drowning or listening to another.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from protocol.names import (
    ENVELOPE,
    EPOCH,
    HEALTH,
    RECEIPT,
    TOPIC_ROOT,
    admissions_topic,
    day_keys_topic,
    directory_topic,
)
from runtime.errors import OperationError
from runtime.fsio import atomic_write, private_folder

CONFIG_FILE, ACL_FILE, PID_FILE = "mosquitto.conf", "acl", "mosquitto.pid"
CERTIFICATES, DATA = "certs", "data"
_OVERHEAD_BYTES = 64 << 10
_USER = "mosquitto"


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What the broker will carry and keep for others."""

    max_message_bytes: int = 8 << 20
    max_inflight: int = 64
    max_queued: int = 10_000
    max_queued_bytes: int = 1 << 30
    session_days: int = 14


def mosquitto_config(host: str, port: int, *, site: str, limits: BrokerLimits) -> str:
    """Return ``mosquitto.conf``; its paths count from the folder in which Mosquitto is started."""
    return f"""\
# Mosquitto 2 for the site '{site}'. Start it in this folder:
#
#     mosquitto -c {CONFIG_FILE}
#
# After a change of {ACL_FILE} or {CERTIFICATES}/ (a revocation, too) send it SIGHUP; after one
# here, restart it: boxes keep what they have not delivered.

listener {port} {host}

# Both sides show a certificate of the site's CA; its name is the user name and the client id, so
# that nobody can take over another one's session.
cafile {CERTIFICATES}/ca.pem
certfile {CERTIFICATES}/certificate.pem
keyfile {CERTIFICATES}/private-key.pem
crlfile {CERTIFICATES}/crl.pem
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false

# Who may publish and read what, by that name.
acl_file {ACL_FILE}

# Limits.
max_packet_size {limits.max_message_bytes + _OVERHEAD_BYTES}
message_size_limit {limits.max_message_bytes}
max_inflight_messages {limits.max_inflight}
max_queued_messages {limits.max_queued}
max_queued_bytes {limits.max_queued_bytes}
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


def mosquitto_acl(site: str, *, aggregator: str, revoked: Collection[str] = ()) -> str:
    """Return the access list; ``revoked`` names may not speak any more, connected or not.

    A box that is connected goes on reading who is in the site: so its agent hears that it is out.
    """
    base = f"{TOPIC_ROOT}/{site}"
    denied = ""
    for name in sorted(set(revoked)):
        topics = ["#"] if name == aggregator else [f"{base}/{name}/#", f"{base}/custodians/#"]
        denied += f"\nuser {name}\n" + "".join(f"topic deny {topic}\n" for topic in topics)
    return f"""\
# Rights at the broker, by certificate name (%u). Made by `sealtrace site`; changes are overwritten.

# Revoked: who is still connected may say nothing, and reads only who is in the site.
{denied}
# The aggregator reads everything of the site, answers with receipts, and relays.
user {aggregator}
topic read {base}/#
topic write {base}/+/+/{RECEIPT}
topic write {day_keys_topic(site, "+")}
topic write {directory_topic(site)}
topic write {admissions_topic(site)}

# A box speaks for itself alone, and reads its receipts, the custodians' day keys, who is in the
# site.
pattern write {base}/%u/+/{ENVELOPE}
pattern write {base}/%u/+/{EPOCH}
pattern write {base}/%u/+/{HEALTH}
pattern write {base}/%u/{HEALTH}
pattern read {base}/%u/+/{RECEIPT}
pattern read {day_keys_topic(site, "+")}
pattern read {directory_topic(site)}
pattern read {admissions_topic(site)}
"""


def write_mosquitto(
    folder: Path,
    *,
    site: str,
    host: str,
    port: int,
    ca_pem: bytes,
    certificate_pem: bytes,
    key_pem: bytes,
    crl_pem: bytes,
    aggregator: str = "aggregator",
    limits: BrokerLimits | None = None,
) -> Path:
    """Write a ready-to-run broker folder and return its ``mosquitto.conf``.

    :param host: address or name to listen on.
    :raises FileProblem: a file cannot be written.
    """
    config = write_config(
        folder, site=site, host=host, port=port, aggregator=aggregator, limits=limits
    )
    write_certificates(folder, ca_pem=ca_pem, certificate_pem=certificate_pem, key_pem=key_pem)
    atomic_write(folder / CERTIFICATES / "crl.pem", crl_pem)
    give_to_mosquitto(folder)
    return config


def write_config(
    folder: Path,
    *,
    site: str,
    host: str,
    port: int,
    aggregator: str,
    limits: BrokerLimits | None = None,
) -> Path:
    """Write ``mosquitto.conf``, the access list, and the folders that they name.

    :raises FileProblem: a file cannot be written.
    """
    for path in (folder, folder / CERTIFICATES, folder / DATA):
        private_folder(path)
    text = mosquitto_config(host, port, site=site, limits=limits or BrokerLimits())
    atomic_write(folder / CONFIG_FILE, text.encode())
    acl = mosquitto_acl(site, aggregator=aggregator)
    atomic_write(folder / ACL_FILE, acl.encode(), 0o600)
    return folder / CONFIG_FILE


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
        account = pwd.getpwnam(_USER)
    except KeyError:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def mosquitto_command() -> list[str]:
    """Return the command that starts the broker; run it in the broker's folder.

    :raises OperationError: Mosquitto is not installed.
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

    :returns: whether one runs here.
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
