"""The aggregator's configuration: one TOML file, read once (`sealtrace aggregator serve`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from protocol.sealing import MAX_ENVELOPE_BYTES
from runtime.config import (
    HexKey,
    HttpConfig,
    MqttConfig,
    Name,
    PolicyReaderConfig,
    Section,
    TlsConfig,
)


class MatchingSection(Section):
    """How opened sightings are compared."""

    processes: Annotated[int, Field(ge=0, le=256)] = 0
    """Worker processes for large scopes; 0: as many as there are cores."""
    pool_from_envelopes: Annotated[int, Field(ge=1)] = 4000
    """Scopes of at least so many envelopes go to the worker processes, smaller ones do not."""


class LimitsSection(Section):
    """What is taken from boxes, and what is not."""

    clock_skew_s: Annotated[int, Field(ge=1, le=86_400)] = 120
    """Seconds that a box's clock may be ahead; beyond it its messages wait in quarantine."""
    max_envelope_bytes: Annotated[int, Field(ge=1024, le=MAX_ENVELOPE_BYTES)] = MAX_ENVELOPE_BYTES
    """Larger messages are refused unread."""
    quarantine_mb: Annotated[int, Field(ge=1)] = 256
    """Room for quarantined messages; when it is used up, boxes have to keep theirs."""
    gap_grace_s: Annotated[int, Field(ge=0, le=86_400)] = 60
    """Seconds after which missing messages are reported as a gap; they may be on the way before."""
    box_mb_per_minute: Annotated[int, Field(ge=1, le=65_536)] = 64
    """A box that sends more is reported (`box_floods`); what it sends is checked as ever."""


class IngestSection(Section):
    """How messages are taken in."""

    batch_messages: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Most messages stored in one transaction; fewer than the broker sends unacknowledged."""
    batch_ms: Annotated[int, Field(ge=1, le=5_000)] = 50
    """Longest wait for a batch to fill; a message is acknowledged only after its transaction."""
    receipt_interval_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
    """A camera's receipt is published at most this often, when it has changed."""
    day_key_poll_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    """How often custodians are asked for their day keys."""


class AggregatorConfig(PolicyReaderConfig):
    """Configuration of the aggregator."""

    name: Name = "aggregator"
    """The aggregator's name in the site's directory."""
    bundle: Path | None = None
    """Folder with the model bundle's manifest, for calibrated scores and false match rates."""
    bundle_keys: tuple[HexKey, ...] = ()
    """Further Ed25519 public keys, hex, that may vouch for the bundle beside the authority."""
    places: Path = Path("places.register")
    """The register of places as installed, which officers are given; a newer one that is brought
    is kept in ``state_dir``."""
    http: HttpConfig = HttpConfig(port=8443)
    """The HTTP interface."""
    tls: TlsConfig | None = None
    """Certificates of the HTTP interface and of calls to the custodians (both mutual TLS)."""
    mqtt: MqttConfig = MqttConfig()
    """The broker."""
    matching: MatchingSection = MatchingSection()
    """Matching."""
    limits: LimitsSection = LimitsSection()
    """Limits on what boxes send."""
    ingest: IngestSection = IngestSection()
    """Intake."""

    @property
    def database(self) -> Path:
        """Where the database is."""
        return self.state_dir / "aggregator.db"
