"""Which certificates the site has issued, and which it has revoked: what its CRLs are made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from protocol.textformats import parse_json
from provisioning.formats import pki
from runtime.errors import OperationError
from runtime.fsio import atomic_write, read_file

_FORMAT = "sealtrace-issued/1"
_MAX_BYTES = 256 << 20


class LedgerError(OperationError):
    """The list of issued certificates cannot be read."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One issued certificate; times are aware UTC datetimes."""

    name: str
    serial: int
    not_after: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """All issued certificates in order of issue, and the number of the newest CRL."""

    entries: tuple[Issued, ...] = ()
    crl_number: int = 0

    def issued(self, certificate: x509.Certificate) -> Ledger:
        """Return the ledger with ``certificate`` added."""
        entry = Issued(
            pki.common_name(certificate),
            certificate.serial_number,
            certificate.not_valid_after_utc,
        )
        return replace(self, entries=(*self.entries, entry))

    def revoked(self, name: str, at: datetime) -> Ledger:
        """Return the ledger with every certificate of ``name`` that still holds revoked."""
        entries = tuple(
            replace(entry, revoked_at=at)
            if entry.name == name and entry.revoked_at is None and entry.not_after > at
            else entry
            for entry in self.entries
        )
        return replace(self, entries=entries)

    def newest(self, name: str) -> Issued | None:
        """Return the certificate of ``name`` that was issued last."""
        return next((entry for entry in reversed(self.entries) if entry.name == name), None)

    def in_crl(self, now: datetime) -> Iterator[tuple[int, datetime]]:
        """Yield ``(serial, since)`` of what is revoked and would hold otherwise."""
        for entry in self.entries:
            if entry.revoked_at is not None and entry.not_after > now:
                yield entry.serial, entry.revoked_at

    def save(self, path: Path) -> None:
        """Write the ledger to ``path``.

        Raises:
            FileProblem: it cannot be written.
        """
        rows = [
            {
                "name": entry.name,
                "serial": f"{entry.serial:x}",
                "not_after": entry.not_after.isoformat(),
                "revoked_at": entry.revoked_at and entry.revoked_at.isoformat(),
            }
            for entry in self.entries
        ]
        text = ",\n  ".join(json.dumps(row) for row in rows)
        head = f'{{"format": "{_FORMAT}", "crl_number": {self.crl_number}, "issued": [\n  '
        atomic_write(path, f"{head}{text}\n]}}\n".encode(), 0o600)

    @classmethod
    def load(cls, path: Path) -> Ledger:
        """Read what :meth:`save` wrote.

        Raises:
            LedgerError: it is missing or not a ledger.
        """
        try:
            value = parse_json(read_file(path, _MAX_BYTES))
            if value["format"] != _FORMAT:
                raise LedgerError(f"{path} was written by another version of sealtrace")
            entries = tuple(
                Issued(
                    str(row["name"]),
                    int(row["serial"], 16),
                    _moment(row["not_after"]),
                    row["revoked_at"] and _moment(row["revoked_at"]),
                )
                for row in value["issued"]
            )
            return cls(entries, int(value["crl_number"]))
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"{path} is not the list of issued certificates; restore it from a backup"
            ) from error


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
