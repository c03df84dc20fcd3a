"""Who a process and its children spoke to: read from what strace wrote of their system calls."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TRACED = "execve,clone,clone3,fork,vfork,connect,sendto,sendmsg,sendmmsg,getsockname"
_CALL = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?: resumed>|\()(?P<rest>.*)")
_COMMAND = re.compile(r'"sealtrace\.command", "([a-z-]+)"(?:, "([a-z-]+)")?')
_ADDRESS = re.compile(r"\{sa_family=(?P<family>AF_\w+)(?P<rest>[^{}]*)")
_PORT, _HOST = (
    re.compile(r"port=htons\((\d+)\)"),
    re.compile(r'(?:inet_addr\(|AF_INET6, )"([^"]+)"'),
)
_CLONES = frozenset({"clone", "clone3", "fork", "vfork"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})


@dataclass(frozen=True, slots=True)
class Contact:
    """An address that a process of a role connected or sent to; ``line`` is strace's."""

    role: str
    family: str
    host: str
    port: int
    line: str


def alone_and_recorded(record: Path) -> list[str] | None:
    """Return what to put before a command line to have it recorded; None where it cannot be.

    All its processes then live in a network that ends at this machine's loopback.
    """
    strace = shutil.which("strace")
    if strace is None or shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        return None
    up = ["sh", "-c", 'PATH="$PATH:/usr/sbin:/sbin" ip link set lo up && exec "$@"', "sh"]
    traced = [strace, "-f", "-qq", "-s", "256", "--seccomp-bpf", "-e", f"trace={TRACED}"]
    for apart in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        tried = [*apart, *up, *traced, "-o", "/dev/null", "true"]
        try:
            if subprocess.run(tried, capture_output=True, timeout=30, check=False).returncode == 0:
                return [*apart, *up, *traced, "-o", str(record)]
        except (OSError, subprocess.TimeoutExpired):
            continue
    return None


def roles_seen(record: Path) -> set[str]:
    """Return the commands of ours that ran, such as ``custodian serve``."""
    return {f"{found[1]} {found[2]}" for found in _COMMAND.finditer(record.read_text())}


def contacts(record: Path) -> Iterator[Contact]:
    """Yield every address that a process connected or sent to, and for which command of ours.

    That is what it, or the nearest of its ancestors, was started as; ``""`` for what is none. A
    thread's talk with itself (pairs of sockets that libraries make over loopback) is left out.
    """
    own: set[tuple[str, str]] = set()
    roles: dict[str, str] = {}
    for line in record.read_text().splitlines():
        found = _CALL.match(line)
        if found is None:
            continue
        pid, call, rest = found["pid"], found["call"], found["rest"]
        if call == "execve" and (command := _COMMAND.search(rest)):
            roles[pid] = f"{command[1]} {command[2]}"
        elif call in _CLONES and (child := re.search(r"= (\d+)$", rest)):
            roles.setdefault(child[1], roles.get(pid, ""))
        elif call == "getsockname" and (port := _PORT.search(rest)):
            own.add((roles.get(pid, ""), port[1]))
        elif call in {"connect", "sendto", "sendmsg", "sendmmsg"}:
            for address in _ADDRESS.finditer(rest):
                port, host = _PORT.search(address["rest"]), _HOST.search(address["rest"])
                if port is not None and (roles.get(pid, ""), port[1]) in own:
                    continue
                yield Contact(
                    roles.get(pid, ""),
                    address["family"],
                    host[1] if host else address["rest"].lstrip(", "),
                    int(port[1]) if port else 0,
                    line,
                )


def strangers(found: Sequence[Contact], ports: dict[str, set[int]]) -> list[Contact]:
    """Return the contacts that a role may not have: with other machines, with other ports."""
    return [one for one in found if one.role and not _may(one, ports.get(one.role, set()))]


def _may(contact: Contact, ports: set[int]) -> bool:
    if contact.family in {"AF_UNSPEC", "AF_NETLINK"}:  # how the C library looks at interfaces
        return True
    if contact.family == "AF_UNIX":  # the name service's cache, if the machine has one
        return "nscd/socket" in contact.host
    return contact.host in LOOPBACK and contact.port in ports
