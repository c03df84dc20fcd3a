"""The configurations of the cluster's own processes: its scheduler, and each match worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from aggregator.config import ObjectsSection, StoreSection, place_of
from aggregator.store.place import StorePlace
from runtime.config import RoleConfig, TlsConfig
from runtime.metrics_config import MetricsConfig


class SchedulerConfig(RoleConfig):
    """Configuration of the scheduler, which carries sealed portions to match workers."""

    host: str = "127.0.0.1"
    """Address to listen on; match workers and the aggregator connect to it."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8786
    """TCP port; 0 takes a free one, which the log line ``ready`` names."""
    tls: TlsConfig
    """Our certificate of the cluster, from the cluster's own CA (`sealtrace site cluster`)."""
    metrics: MetricsConfig = MetricsConfig()
    """Monitoring."""


class WorkerConfig(RoleConfig):
    """Configuration of a match worker, which compares what it is sent in memory."""

    scheduler: Annotated[str, Field(max_length=256)]
    """Where the cluster's scheduler is, as ``host:port``."""
    host: str = "127.0.0.1"
    """Address to listen on, which the scheduler connects to: of this machine, never 0.0.0.0."""
    tls: TlsConfig
    """Our certificate of the cluster, from the cluster's own CA (`sealtrace site cluster`)."""
    state_dir: Path = Path("state")
    """Folder of the embedded store, where aggregator and worker share a machine."""
    scratch_dir: Path | None = None
    """Folder for Dask's two empty lock files; default: a new one in the system's temporary folder,
    which is removed at the end."""
    store: StoreSection = StoreSection()
    """Where the hour's segments are: as for the aggregator, by a user that may only read."""
    objects: ObjectsSection = ObjectsSection()
    """Where packed segments are: as for the aggregator; reading them is enough."""
    metrics: MetricsConfig = MetricsConfig()
    """Monitoring."""

    @property
    def store_place(self) -> StorePlace:
        """Where the store is."""
        return place_of(self.state_dir, self.store, self.objects)
