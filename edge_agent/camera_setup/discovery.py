"""Finds ONVIF cameras on the local network by WS-Discovery (April 2005), as ONVIF Core 7.3 has it.

A Probe goes to 239.255.255.250:3702 from each network interface, and answers come back to our
port. Anybody on the network can answer anything: what comes is checked, cleaned and only shown.
Nothing is sent to an address learned here unless its owner names it.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from edge_agent.camera_setup.soap import Element, XmlRefused, envelope, parse_envelope, plain
from runtime.errors import OperationError

MULTICAST = ("239.255.255.250", 3702)
MAX_CAMERAS = 1024
MAX_XADDRS = 8
MAX_DATAGRAM = 64 * 1024
_DISCOVERY = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
_ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
_NETWORK = "http://www.onvif.org/ver10/network/wsdl"
_SCOPE = "onvif://www.onvif.org/"
_SIOCGIFADDR = 0x8915


class DiscoveryProblem(OperationError):
    """The network cannot be asked; the message says what to do."""


class NotAnAnswer(OperationError):
    """A datagram that is no answer to our question."""


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """A camera as it describes itself: believed by nobody.

    `host` is the address that answered, `services` the ONVIF addresses it gives (those at `host`
    first), `endpoint` the name it keeps when its address changes.
    """

    host: str
    endpoint: str
    services: tuple[str, ...]
    name: str = ""
    hardware: str = ""
    location: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether it names another machine's address than the one that answered."""
        return not any(urlsplit(each).hostname == self.host for each in self.services)


def probe_message(message_id: str) -> bytes:
    """The question: who is a network video transmitter?"""
    header = (
        f"<a:Action>{_DISCOVERY}/Probe</a:Action><a:MessageID>{message_id}</a:MessageID>"
        "<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>"
    )
    body = "<d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe>"
    return envelope(
        body, header, f'xmlns:a="{_ADDRESSING}" xmlns:d="{_DISCOVERY}" xmlns:dn="{_NETWORK}"'
    )


def parse_answer(data: bytes, message_id: str, host: str) -> list[FoundCamera]:
    """Read the cameras that one datagram from `host` tells of.

    Raises:
        XmlRefused: it is not a SOAP message, or one made to do harm.
        NotAnAnswer: it is not the answer to the question with this id.
    """
    header, body = parse_envelope(data)
    relates = header.child("RelatesTo", _ADDRESSING)
    if relates is None or _bare(relates.text) != _bare(message_id):
        raise NotAnAnswer("it answers another question")
    matches = body.child("ProbeMatches", _DISCOVERY)
    if matches is None:
        raise NotAnAnswer("it names no cameras")
    found = []
    for match in matches.named("ProbeMatch", _DISCOVERY):
        types = {word.rpartition(":")[2] for word in _text(match.at("Types")).split()}
        scopes = _text(match.at("Scopes")).split()
        if "NetworkVideoTransmitter" not in types and not any(s.startswith(_SCOPE) for s in scopes):
            continue
        addresses = [a for a in _text(match.at("XAddrs")).split() if _is_service(a)]
        addresses.sort(key=lambda address: urlsplit(address).hostname != host)
        found.append(
            FoundCamera(
                host=host,
                endpoint=match.words("EndpointReference", "Address"),
                services=tuple(dict.fromkeys(addresses))[:MAX_XADDRS],
                name=_scope(scopes, "name"),
                hardware=_scope(scopes, "hardware"),
                location=_scope(scopes, "location"),
            )
        )
    return found


def discover(
    *,
    timeout_s: float = 3.0,
    interface: str | None = None,
    address: tuple[str, int] | None = None,
) -> list[FoundCamera]:
    """Ask the network, wait, and return the cameras that answered, each once, by address.

    Args:
        timeout_s: how long to wait for answers.
        interface: our own IPv4 address on the network to be asked; default every network.
        address: ask only this machine (host, port), also on other networks; no multicast.

    Raises:
        DiscoveryProblem: the question cannot be sent.
    """
    message_id = f"urn:uuid:{uuid.uuid4()}"
    question = probe_message(message_id)
    found: dict[str, FoundCamera] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.bind(("", 0))
        begin = time.monotonic()
        # Sent twice, since UDP may lose one; cameras answer a message id once.
        for again_at in (begin, begin + min(0.5, timeout_s / 3)):
            _ask(channel, question, interface, address)
            until = again_at + timeout_s / 3 if again_at == begin else begin + timeout_s
            _collect(channel, message_id, until, found)
    return sorted(found.values(), key=lambda camera: (_sortable(camera.host), camera.endpoint))


def _ask(
    channel: socket.socket, question: bytes, interface: str | None, address: tuple[str, int] | None
) -> None:
    if address is not None:
        try:
            channel.sendto(question, address)
        except (OSError, OverflowError) as error:
            raise DiscoveryProblem(
                f"{address[0]} cannot be asked ({error}); check the address"
            ) from error
        return
    channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    own = [interface] if interface is not None else list(own_addresses())
    reasons = []
    for each in own:
        try:
            packed = ipaddress.IPv4Address(each).packed
            channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, packed)
            channel.sendto(question, MULTICAST)
        except ValueError as error:
            raise DiscoveryProblem(
                f"'{each}' is not one of this machine's IPv4 addresses; `ip -4 addr` lists them"
            ) from error
        except OSError as error:
            reasons.append(f"{each}: {error.strerror or error}")
    if len(reasons) == len(own):
        raise DiscoveryProblem(
            "no network can be asked"
            + (f" ({'; '.join(reasons)})" if reasons else "")
            + "; check that a cable is plugged in, or name this machine's address there with "
            "--interface"
        )


def _collect(
    channel: socket.socket, message_id: str, until: float, found: dict[str, FoundCamera]
) -> None:
    while (left_s := until - time.monotonic()) > 0 and len(found) < MAX_CAMERAS:
        channel.settimeout(left_s)
        try:
            data, (host, _) = channel.recvfrom(MAX_DATAGRAM)
        except TimeoutError:
            return
        except OSError:  # an ICMP message about an earlier datagram
            continue
        try:
            cameras = parse_answer(data, message_id, host)
        except (XmlRefused, NotAnAnswer):
            continue
        for camera in cameras[: MAX_CAMERAS - len(found)]:
            key = _bare(camera.endpoint) or " ".join(camera.services) or host
            if key not in found or (found[key].elsewhere and not camera.elsewhere):
                found[key] = camera


def own_addresses() -> Iterator[str]:
    """This machine's IPv4 addresses, one a network interface; not loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(channel.fileno(), _SIOCGIFADDR, request)
            except OSError:  # down, or without an IPv4 address
                continue
            own = ipaddress.IPv4Address(answer[20:24])
            if not own.is_loopback:
                yield str(own)


def _text(element: Element | None) -> str:
    return "" if element is None else element.text


def _bare(text: str) -> str:
    """A message id or endpoint without the prefixes that cameras add or drop."""
    short = text.strip().lower()
    for prefix in ("urn:", "uuid:"):
        short = short.removeprefix(prefix)
    return plain(short)


def _is_service(address: str) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and parts.username is None
        and len(address) <= 256
        and address.isascii()
        and address.isprintable()
    )


def _scope(scopes: list[str], kind: str) -> str:
    prefix = f"{_SCOPE}{kind}/"
    values = [unquote(s.removeprefix(prefix)) for s in scopes if s.startswith(prefix)]
    return plain(", ".join(dict.fromkeys(values)), 80)


def _sortable(host: str) -> tuple[int, str]:
    try:
        return int(ipaddress.ip_address(host)), host
    except ValueError:
        return 0, host
