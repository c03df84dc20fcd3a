"""The custodian's configuration: one TOML file, read once (`sealtrace custodian serve`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from protocol.encoding import MAX_MESSAGE_BYTES
from runtime.config import HttpConfig, PolicyReaderConfig, Section, TlsConfig
from runtime.metrics_config import MetricsConfig


class LimitsSection(Section):
    """What is taken from callers, and what is not."""

    clock_skew_s: Annotated[int, Field(ge=1, le=3600)] = 120
    """Seconds by which the time of a grant request may differ from this machine's."""
    grants_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 600
    """Grant requests taken in a minute; more are told to wait."""
    rows_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 600
    """Requests for rows taken in a minute; more are told to wait."""
    evidence_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 60
    """Requests for stills, and for receipts of what was opened, taken in a minute from one
    officer."""
    changes_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 120
    """Withdrawals and directories taken in a minute from one caller."""
    max_request_bytes: Annotated[int, Field(ge=4096, le=MAX_MESSAGE_BYTES)] = MAX_MESSAGE_BYTES
    """Larger requests are refused unread."""


class CustodianConfig(PolicyReaderConfig):
    """Configuration of a key custodian."""

    days_ahead: Annotated[int, Field(ge=1, le=30)] = 7
    """For how many days ahead day keys are published; boards can seal so long without us."""
    http: HttpConfig = HttpConfig(port=8444)
    """The HTTP interface (mutual TLS, always)."""
    tls: TlsConfig
    """Certificates of the HTTP interface."""
    limits: LimitsSection = LimitsSection()
    """Limits on what callers send."""
    metrics: MetricsConfig = MetricsConfig()
    """Monitoring."""

    @property
    def key_file(self) -> Path:
        """Where the day keys are."""
        return self.state_dir / "day-keys.secret"

    @property
    def database(self) -> Path:
        """Where the database is."""
        return self.state_dir / "custodian.db"
