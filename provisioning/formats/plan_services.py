"""Where a site's services are reached: the sections of `site.toml` for everything that listens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from runtime.config import Name, Section

Settings = dict[str, Any]


def _host(value: str) -> str:
    if not value or len(value) > 253 or any(c.isspace() or c in "/@[]?#\"'\\" for c in value):
        raise ValueError("must be a host name or an IP address, without scheme or port")
    return value


Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]


class ServicePlan(Section):
    """Where a service is reached, and on which address it listens."""

    host: Host = "localhost"
    """Host name or address under which the others reach it; stands in its certificate."""
    port: Port
    """TCP port."""
    listen: Host | None = None
    """Address it listens on. Default: loopback if `host` is loopback, else every interface."""
    names: tuple[Host, ...] = ()
    """More host names or addresses for its certificate."""

    @property
    def url(self) -> str:
        """Where its HTTP interface is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"

    @property
    def listen_address(self) -> str:
        """The address that it binds."""
        if self.listen is not None:
            return self.listen
        if self.host in {"localhost", "127.0.0.1"}:
            return "127.0.0.1"
        return "::1" if self.host == "::1" else "0.0.0.0"  # noqa: S104 - a service for others; mTLS


class CustodianPlan(ServicePlan):
    """A custodian: holds one share of every day's keys. Run each under another authority."""

    name: Name
    """Its name."""
    settings: Settings = Field(default_factory=dict)
    """Keys and sections copied into its own TOML, such as `{log = {level = "debug"}}`."""


class AggregatorPlan(ServicePlan):
    """The aggregator at headquarters."""

    port: Port = 8440
    """TCP port."""
    settings: Settings = Field(default_factory=dict)
    """Keys and sections copied into `aggregator.toml`, such as `{log = {level = "debug"}}`."""


class RegistrarPlan(ServicePlan):
    """The registrar at headquarters, where new boxes get certificate and configuration."""

    port: Port = 8445
    """TCP port."""
    claim_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 72
    """Hours within which a flashed box must come to join."""
    settings: Settings = Field(default_factory=dict)
    """Keys and sections copied into `registrar.toml`, such as `{certificates = {days = 14}}`."""


class FurtherBrokerPlan(ServicePlan):
    """Another Mosquitto of the site, on another machine: boxes go to it when the first is gone."""

    port: Port = 8883
    """TCP port for boxes."""
    headquarters_port: Port | None = None
    """TCP port for the aggregator. Default: the next one."""

    @property
    def headquarters(self) -> int:
        """The TCP port for the aggregator."""
        return self.port + 1 if self.headquarters_port is None else self.headquarters_port

    @model_validator(mode="after")
    def _two_ports(self) -> FurtherBrokerPlan:
        if not self.port != self.headquarters <= 65535:
            raise ValueError("headquarters_port needs a TCP port of its own: set another one")
        return self


class BrokerPlan(ServicePlan):
    """The MQTT broker: `embedded` for demonstrations on one machine, `mosquitto` for the field."""

    kind: Literal["embedded", "mosquitto"] = "mosquitto"
    """`mosquitto`: Mosquitto 2 with client certificates. `embedded`: plain, on loopback only."""
    port: Port = 8883
    """TCP port for boxes."""
    headquarters_port: Port | None = None
    """TCP port for the aggregator; certificates of the boxes' CA are refused there. Default: the
    next one."""
    max_message_bytes: Annotated[int, Field(ge=64 << 10, le=256 << 20)] = 8 << 20
    """Largest message that the broker takes."""
    further: Annotated[tuple[FurtherBrokerPlan, ...], Field(max_length=7)] = ()
    """Other brokers of the site (Mosquitto alone), which know nothing of one another."""

    @property
    def headquarters(self) -> int:
        """The TCP port for the aggregator: the embedded broker has one for everybody."""
        if self.kind == "embedded":
            return self.port
        return self.port + 1 if self.headquarters_port is None else self.headquarters_port

    @model_validator(mode="after")
    def _further_ones_are_mosquittos(self) -> BrokerPlan:
        if self.further and self.kind == "embedded":
            raise ValueError('a site with several brokers has Mosquittos: set kind = "mosquitto"')
        return self

    @model_validator(mode="after")
    def _embedded_on_loopback(self) -> BrokerPlan:
        if self.kind == "mosquitto" and not self.port != self.headquarters <= 65535:
            raise ValueError("headquarters_port needs a TCP port of its own: set another one")
        if self.kind == "embedded" and not _is_loopback(self.listen_address):
            raise ValueError(
                'the embedded broker is not encrypted and stays on loopback: set host = "localhost"'
                ' or kind = "mosquitto"'
            )
        return self


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
