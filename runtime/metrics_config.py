"""The section ``[metrics]`` of every service: where it tells Prometheus its counts, if anywhere."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator

from runtime.config import Section


def _loopback(value: str) -> str:
    if value:
        parse_listen(value)
    return value


def parse_listen(value: str) -> tuple[str, int]:
    """Return address and port of ``ADDRESS:PORT``; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is no such thing, or not an address of this machine alone.
    """
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if not colon or address is None or not (port.isascii() and port.isdigit()):
        raise ValueError('it is an address and a port, such as "127.0.0.1:9464"')
    if not address.is_loopback:
        raise ValueError(
            "metrics are served on this machine alone, without a certificate: give an address of"
            ' loopback, such as "127.0.0.1:9464", and have a scraper on this machine carry them on'
        )
    if int(port) > 65535:
        raise ValueError("a TCP port is 65535 at most")
    return str(address), int(port)


class MetricsConfig(Section):
    """Counts and times for monitoring, on this machine alone; off unless ``listen`` is set."""

    listen: Annotated[str, AfterValidator(_loopback)] = ""
    """Loopback address and port, such as "127.0.0.1:9464", at which ``GET /metrics`` answers in
    Prometheus' form; empty: nowhere. Every process needs a port of its own."""


class AggregatorMetricsConfig(MetricsConfig):
    """The same at headquarters."""

    boxes: bool = False
    """Also tell of each box, by name, what its own reports have told the broker: a few series a
    box. Without, boxes are counted only."""
