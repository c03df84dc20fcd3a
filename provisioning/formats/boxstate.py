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
        }
