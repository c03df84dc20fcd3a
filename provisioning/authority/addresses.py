"""Whom a role speaks to, by its configuration, as addresses that systemd lets through.

``IPAddressAllow=`` takes addresses and networks, not names, so names are resolved now; when one
moves, the drop-in has to be written again.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any
from urllib.parse import urlsplit

from protocol.directory import open_directory
from protocol.errors import ProtocolError
from protocol.signing import VerifyKey
from protocol.textformats import parse_toml
from runtime.config import MAX_CONFIG_BYTES
from runtime.errors import OperationError
from runtime.fsio import read_file

RESOLVER_FILE = Path("/etc/resolv.conf")
_MAX_DIRECTORY = 64 << 20
Resolve = Callable[[str], Sequence[str]]


class AddressesUnknown(OperationError):
    """A name or a configuration does not tell whom a role speaks to."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody whom a role speaks to: a host or network as named, by what, and its addresses."""

    host: str
    named_by: str
    addresses: tuple[str, ...]


def resolve_now(host: str) -> Sequence[str]:
    """Return the addresses of a host name, in order.

    Raises:
        AddressesUnknown: there are none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise AddressesUnknown(
            f"'{host}' cannot be looked up: {error}; correct the name, or try again when the name"
            " service answers"
        ) from error
    return sorted({str(entry[4][0]).partition("%")[0] for entry in found})


def peers(
    configurations: Sequence[Path],
    also: Sequence[str] = (),
    *,
    resolve: Resolve = resolve_now,
    resolver_file: Path = RESOLVER_FILE,
) -> list[Peer]:
    """Return whom the roles with these configuration files speak to; loopback is not listed.

    The name service's own addresses are among them if any peer is named by name.

    Args:
        also: networks, addresses or names that no file names: officers, boxes, time servers.

    Raises:
        AddressesUnknown: a name cannot be looked up, or a file cannot be used.
        FileProblem: a file cannot be read.
    """
    named: dict[str, str] = {}
    for path in configurations:
        for host, what in _hosts(path):
            named.setdefault(host, what)
    for host in also:
        named.setdefault(host, "given")
    found, looked_up = [], False
    for host, what in named.items():
        addresses = _literal(host)
        if addresses is None:
            looked_up = True
            addresses = tuple(resolve(host))
        found.append(Peer(host, what, addresses))
    if looked_up:
        found += _name_service(resolver_file)
    outside = [
        Peer(peer.host, peer.named_by, tuple(a for a in peer.addresses if not _loopback(a)))
        for peer in found
    ]
    return [peer for peer in outside if peer.addresses]


def drop_in(listed: Sequence[Peer], configurations: Sequence[Path]) -> str:
    """Return the drop-in of a unit that lets through these peers and loopback, nobody else."""
    names = " ".join(path.name for path in configurations)
    lines = [
        f"# Written by `sealtrace site addresses {names}`; run it again when a name moves.",
        "[Service]",
        "IPAddressAllow=",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
    ]
    for peer in listed:
        lines += [f"# {peer.host} ({peer.named_by})", f"IPAddressAllow={' '.join(peer.addresses)}"]
    return "\n".join(lines) + "\n"


def _hosts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield hosts that a configuration names, and where it does."""
    try:
        values = parse_toml(read_file(path, MAX_CONFIG_BYTES).decode())
    except (UnicodeDecodeError, TOMLDecodeError) as error:
        raise AddressesUnknown(f"{path} is no configuration: {error}; correct it") from error
    for section in ("mqtt", "broker"):
        table = values.get(section)
        if isinstance(table, dict) and isinstance(table.get("host"), str):
            yield table["host"], f"{path.name}: {section}"
    for key in ("url", "repository"):
        yield from _of_url(values.get(key), f"{path.name}: {key}")
    yield from _of_headquarters(path, values)
    cameras = values.get("cameras")
    for camera in cameras if isinstance(cameras, list) else ():
        if isinstance(camera, dict):
            yield from _of_url(camera.get("source"), f"{path.name}: camera {camera.get('name')}")
    if {"directory", "authority", "site"} <= values.keys():
        yield from _in_directory(path, values)


def _of_headquarters(path: Path, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the hosts of a store and of a cluster that a configuration names."""
    sections = {name: values.get(name) for name in ("store", "objects", "cluster")}
    tables = {name: one if isinstance(one, dict) else {} for name, one in sections.items()}
    yield from _of_url(tables["store"].get("url"), f"{path.name}: store")
    yield from _of_url(tables["objects"].get("endpoint"), f"{path.name}: objects")
    for scheduler in (values.get("scheduler"), tables["cluster"].get("scheduler")):
        if isinstance(scheduler, str) and scheduler:
            yield from _of_url(f"tls://{scheduler}", f"{path.name}: scheduler")


def _of_url(url: Any, what: str) -> Iterator[tuple[str, str]]:
    if isinstance(url, str) and "://" in url:
        try:
            host = urlsplit(url).hostname
        except ValueError as error:
            raise AddressesUnknown(f"{what} is no address: {error}; correct it") from error
        if host:
            yield host, what


def _in_directory(path: Path, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the hosts of everybody in the signed directory that the configuration names."""
    file = path.parent / str(values["directory"])
    try:
        authority = VerifyKey(bytes.fromhex(str(values["authority"])))
        directory = open_directory(
            read_file(file, _MAX_DIRECTORY), authority, site=str(values["site"])
        )
    except (ProtocolError, ValueError) as error:
        raise AddressesUnknown(f"{file}: {error}; install the site's newest directory") from error
    for name, principal in sorted(directory.principals.items()):
        if principal.revoked_at_ms is None:
            yield from _of_url(principal.url, f"directory: {name}")


def _literal(host: str) -> tuple[str, ...] | None:
    """Return an address or network as systemd takes it; None if ``host`` is a name."""
    try:
        network = ipaddress.ip_network(host.strip("[]"), strict=False)
    except ValueError:
        if "/" in host or not host.strip("[]"):
            raise AddressesUnknown(
                f"'{host}' is neither an address, a network (10.2.0.0/24), nor a name"
            ) from None
        return None
    return (str(network) if "/" in host else str(network.network_address),)


def _name_service(file: Path) -> list[Peer]:
    words = [line.split() for line in file.read_text("utf-8", "replace").splitlines()]
    servers = [w[1].partition("%")[0] for w in words if len(w) > 1 and w[0] == "nameserver"]
    return [Peer(one, "the name service", _literal(one) or ()) for one in servers]


def _loopback(address: str) -> bool:
    return ipaddress.ip_network(address, strict=False).is_loopback
