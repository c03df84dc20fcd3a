"""The aggregator's configuration: one TOML file, read once (`sealtrace aggregator serve`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from aggregator.processes.duties import ALL, Duty
from aggregator.store.packed.place import ObjectsPlace, require_endpoint, require_objects_url
from aggregator.store.place import SEGMENTS, StorePlace, require_store_url
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
from runtime.metrics_config import AggregatorMetricsConfig

DATABASE = "aggregator.db"
"""The embedded store's file in ``state_dir``."""


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


def _store_url(value: str) -> str:
    return require_store_url(value) if value else value


class StoreSection(Section):
    """Where the ledger and the hour's segments are kept."""

    url: Annotated[str, AfterValidator(_store_url)] = ""
    """``postgresql://user@host/database``, without a password; empty: a file in ``state_dir``."""
    password_file: Path | None = None
    """File that holds that user's password and nothing else, readable for the service alone."""


def _objects_place(value: object) -> object:
    """Take what is no address for a folder, so that it counts from the file's folder."""
    if not isinstance(value, str) or not value or "://" in value:
        return value
    return Path(value)


def _objects_url(value: Path | str) -> Path | str:
    return require_objects_url(value) if isinstance(value, str) else value


class ObjectsSection(Section):
    """Where the segments of hours that are over are kept, sealed as they came."""

    place: Annotated[Path | str, BeforeValidator(_objects_place), AfterValidator(_objects_url)] = ""
    """A folder, or ``s3://bucket/prefix``; empty: the folder ``segments`` in ``state_dir``."""
    endpoint: Annotated[str, AfterValidator(require_endpoint)] = ""
    """Address of an S3 that is not Amazon's: ``https://host:port``."""
    region: Annotated[str, Field(min_length=1, max_length=64)] = "us-east-1"
    """Region of the bucket."""
    credentials: Path | None = None
    """TOML file with ``access_key_id`` and ``secret_access_key``, readable by the service alone."""
    wait_minutes: Annotated[int, Field(ge=1, le=1440)] = 10
    """How long after its end an hour is packed; boxes send a quarter hour within minutes."""


class ProcessesSection(Section):
    """What this process does, where an aggregator is several processes over one store."""

    duties: Annotated[tuple[Duty, ...], Field(min_length=1)] = tuple(Duty)
    """``api`` answers officers, ``ingest`` takes in what boxes send, ``queries`` carries queries
    forward, ``upkeep`` writes the audit log and does what is done once (one process at a time; a
    second stands by). All of them by default."""
    url: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")] = ""
    """Where the other processes reach this one; empty: on this machine, at the port of [http]."""
    share_port: bool = False
    """Let other processes of the same user listen at the same port (SO_REUSEPORT): the system
    deals connections out to them. For processes that have the duty ``api`` and no other."""

    @model_validator(mode="after")
    def _shared_by_api_alone(self) -> ProcessesSection:
        if self.share_port and set(self.duties) != {Duty.API}:
            raise ValueError(
                "share_port is for processes with the duty `api` alone: others are asked for what "
                "they alone have, at a port of their own"
            )
        return self


def place_of(state_dir: Path, store: StoreSection, objects: ObjectsSection) -> StorePlace:
    """Return where the store is that these sections name, ``state_dir`` being its folder here."""
    url = str(objects.place or state_dir.absolute() / SEGMENTS)
    place = ObjectsPlace(url, objects.endpoint, objects.region, objects.credentials)
    return StorePlace(state_dir / DATABASE, store.url, store.password_file, place)


class ClusterSection(Section):
    """The machines that match; without a scheduler this machine does it alone."""

    scheduler: Annotated[str, Field(max_length=256)] = ""
    """Where the cluster's scheduler is, as ``host:port``; empty: no cluster."""
    tls: TlsConfig | None = None
    """Our certificate of the cluster, from the cluster's own CA (`sealtrace site cluster`)."""

    @model_validator(mode="after")
    def _certified(self) -> ClusterSection:
        if self.scheduler and self.tls is None:
            raise ValueError(
                "[cluster.tls] is missing: give the certificate that `sealtrace site cluster` wrote"
            )
        return self


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
    store: StoreSection = StoreSection()
    """The store."""
    objects: ObjectsSection = ObjectsSection()
    """Packed segments."""
    processes: ProcessesSection = ProcessesSection()
    """Several processes."""
    cluster: ClusterSection = ClusterSection()
    """Other machines that match."""
    metrics: AggregatorMetricsConfig = AggregatorMetricsConfig()
    """Monitoring."""

    @property
    def alone(self) -> bool:
        """Whether this process does everything and nobody else works on its store."""
        return set(self.processes.duties) == ALL and not self.store.url

    @property
    def database(self) -> Path:
        """Where the database is."""
        return self.state_dir / DATABASE

    @property
    def store_place(self) -> StorePlace:
        """Where the store is."""
        return place_of(self.state_dir, self.store, self.objects)
