"""What commands at headquarters do beside the running service: open its folder, list its boxes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from protocol.boxterms import BoxTerms
from protocol.directory import BOX
from protocol.joining import OfflineAdmission, OfflineRequest
from provisioning.formats.boxstate import BoxState
from provisioning.formats.claimfile import moment
from provisioning.formats.errors import RegistrarError
from provisioning.formats.layout import REGISTRAR_FILE, SitePaths, registrar_config
from provisioning.registrar.config import RegistrarConfig
from provisioning.registrar.keys import open_keys
from provisioning.registrar.registrar import Registrar
from provisioning.registrar.store import Store
from runtime.config import load
from runtime.keyfiles import get_passphrase


def find_config(folder: Path) -> Path | None:
    """Return the registrar's configuration in a site's folder, or in its own."""
    for path in (registrar_config(folder), SitePaths(folder).registrar, folder):
        if path.is_file() and path.name.endswith(".toml"):
            return path
    return None


@contextmanager
def opened(
    folder: Path, *, signing: bool = False, passphrase_file: Path | None = None
) -> Iterator[Registrar]:
    """Open the registrar's folder (or the site's that it is in) for one command.

    Args:
        signing: whether something is signed, which takes the registrar's passphrase.

    Raises:
        RegistrarError: there is no registrar in ``folder``.
    """
    path = find_config(folder)
    if path is None:
        raise RegistrarError(
            f"{folder} holds no registrar (no {REGISTRAR_FILE}); name the folder that"
            " `sealtrace site init` made, on the machine where it is"
        )
    config = load(path, RegistrarConfig)
    keys = None
    if signing:
        keys = open_keys(config, get_passphrase(passphrase_file, what=str(config.identity)))
    registrar = Registrar(config, keys)
    try:
        yield registrar
    finally:
        registrar.close()


def admit(registrar: Registrar, request: OfflineRequest) -> OfflineAdmission:
    """Answer a request that came on a USB stick, as the service answers one over the network.

    Raises:
        RegistrarRefused: with what is wrong and what to do.
    """
    if request.site != registrar.config.site:
        raise RegistrarError(f"the request is of site '{request.site}', not of this one")
    certificate = registrar.admit(request.box, request.claim, request.request, request.identity)
    return OfflineAdmission(
        request.box,
        certificate.public_bytes(Encoding.DER),
        registrar.configuration(request.box),
    )


def overview(registrar: Registrar, *, now: datetime | None = None) -> list[BoxState]:
    """Return every box that the site or the registrar knows, by name."""
    left = _certificate_days(registrar.store, now or datetime.now(UTC))
    directory = registrar.directory
    records = {record.name: record for record in registrar.store.boxes()}
    names = {name for name, p in directory.principals.items() if BOX in p.duties} | set(records)
    states = []
    for name in sorted(names):
        record, principal = records.get(name), directory.principals.get(name)
        revoked_ms = registrar.store.revocations().get(name)
        if revoked_ms is None and principal is not None:
            revoked_ms = principal.revoked_at_ms
        trouble: tuple[str, ...] = ()
        waiting = registrar.store.open_claim(name)
        if record is not None and record.verify_key is None and revoked_ms is None:
            until = f"{moment(waiting.expires_ms):%Y-%m-%d %H:%M} UTC" if waiting else ""
            trouble = (f"not admitted yet; its claim ends {until}" if waiting else "not admitted",)
        cameras = record.cameras if record else ()
        terms = BoxTerms() if principal is None else principal.terms
        until_ms = terms.version_1_until_ms
        states.append(
            BoxState(
                name=name,
                cameras=record.camera_names if record else principal.cameras if principal else (),
                sources={str(c["name"]): str(c.get("source", "")) for c in cameras},
                certificate_days=left.get(name),
                revoked_at=None if revoked_ms is None else moment(revoked_ms),
                trouble=trouble,
                recordings=terms.recordings,
                version_1_until=None
                if until_ms is None
                else datetime.fromtimestamp(until_ms / 1000, UTC),
            )
        )
    return states


def _certificate_days(store: Store, now: datetime) -> dict[str, int]:
    """Return how many days the newest certificate of each box still holds (begun ones count)."""
    left = {}
    for certificate in store.certificates():
        until = moment(certificate.not_after_ms)
        left[certificate.name] = max(0, -(-(until - now) // timedelta(days=1)))
    return left
