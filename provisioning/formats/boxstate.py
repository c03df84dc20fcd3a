"""How one box is, as commands list it: what the offices, the registrar and the aggregator know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runtime.redaction import redact


@dataclass(frozen=True, slots=True)
class BoxState:
    """One box, as listed; from ``last_seen`` on it is what the aggregator told, if it was asked.

    Args:
        sources: camera name to source, for those that the box's folder still tells.
        recordings: cameras whose films it may import.
        version_1_until: when it last announced in version 1, if the directory says that it is over.
        protocol: the version in which it seals, as the aggregator told.
    """

    name: str
    cameras: tuple[str, ...]
    sources: dict[str, str]
    certificate_days: int | None
    revoked_at: datetime | None
    last_seen: datetime | None = None
    online: bool | None = None
    version: str = ""
    gaps: int | None = None
    trouble: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()
    version_1_until: datetime | None = None
    protocol: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values; sources without their passwords."""
        return {
            "box": self.name,
            "cameras": list(self.cameras),
            "sources": {name: redact(url) for name, url in self.sources.items()},
            "certificate_days": self.certificate_days,
            "revoked_at": self.revoked_at and self.revoked_at.isoformat(),
            "last_seen": self.last_seen and self.last_seen.isoformat(),
            "online": self.online,
            "version": self.version,
            "gaps": self.gaps,
            "trouble": list(self.trouble),
            "recordings": list(self.recordings),
            "version_1_until": self.version_1_until and self.version_1_until.isoformat(),
            "protocol": self.protocol,
        }
