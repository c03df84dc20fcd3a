"""Call other principals of the site, and tell many what somebody signed, one result each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import httpx

from protocol.directory import Directory, Principal
from protocol.errors import UnsupportedVersion
from runtime.config import TlsConfig
from runtime.errors import explained
from runtime.http import CBOR, PeerUnreachable, ProblemError, client, raise_for_problem
from runtime.problems import problem_type

_T = TypeVar("_T")
_TIMEOUT_S = 10.0
_AT_ONCE = 32
_CONFLICT = 409
_UNSUPPORTED = problem_type(UnsupportedVersion)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of telling one party; ``problem`` is empty when it knows now.

    Args:
        again: whether trying again may help; else somebody has to do what ``problem`` says.
        note: what somebody should know, although it was told.
    """

    name: str
    problem: str = ""
    again: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """Signed documents that a peer's interface takes at one path, sent in their order.

    Args:
        newer_will_do: whether a peer that refuses them because it has a newer one counts as told.
        skippable: those of them that a peer of an older version may refuse to read; the rest tells
            it what it can know.
    """

    method: str
    path: str
    documents: tuple[bytes, ...]
    newer_will_do: bool = False
    skippable: tuple[bytes, ...] = ()

    @classmethod
    def of_directory(
        cls,
        first: bytes | None,
        second: bytes | None,
        *more: bytes,
        newer_will_do: bool = False,
    ) -> News:
        """Return the news of a directory, in the forms that there are, and of admissions.

        The second form goes first: it is the one that counts.
        """
        documents = tuple(one for one in (second, first, *more) if one is not None)
        skippable = () if first is None or second is None else (second,)
        return cls("PUT", "/v1/directory", documents, newer_will_do, skippable)

    @classmethod
    def of_withdrawal(cls, signed: bytes) -> News:
        """Return the news of a withdrawal, for custodians."""
        return cls("POST", "/v1/withdrawals", (signed,))


def with_address(directory: Directory, *duties: str) -> list[Principal]:
    """Return who holds the duties, is in force and has an address, by duty, then by name."""
    found = [principal for duty in duties for principal in directory.with_duty(duty)]
    return [principal for principal in found if principal.url]


def client_of(
    peer: Principal, tls: TlsConfig | None, timeout_s: float = _TIMEOUT_S
) -> httpx.Client:
    """Return an HTTP client (`runtime.http.client`) for a principal's interface.

    Raises:
        PeerUnreachable: the directory gives no address for it.
        TlsError: the certificates cannot be used.
    """
    if not peer.url:
        raise PeerUnreachable(f"the directory gives no address for '{peer.name}'")
    return client(peer.url, tls, timeout_s)


def tell(
    peer: Principal, news: News, tls: TlsConfig | None, *, timeout_s: float = _TIMEOUT_S
) -> Told:
    """Tell one principal; whatever it answers, or does not, stands in the result."""
    note = ""
    try:
        with client_of(peer, tls, timeout_s) as http:
            for document in news.documents:
                answer = http.request(
                    news.method, news.path, content=document, headers={"content-type": CBOR}
                )
                if news.newer_will_do and answer.status_code == _CONFLICT:
                    continue
                try:
                    raise_for_problem(answer)
                except ProblemError as error:
                    if document not in news.skippable or error.type != _UNSUPPORTED:
                        raise
                    note = "its software is of an older version: it needs its update"
    except Exception as error:  # whatever one party sends, the others are told
        return Told(peer.name, explained(error))
    return Told(peer.name, note=note)


def tell_all(
    peers: Iterable[Principal],
    news: News,
    tls: TlsConfig | None,
    *,
    timeout_s: float = _TIMEOUT_S,
) -> list[Told]:
    """Tell everybody at once; return one result each, in their order."""
    return at_once(peers, partial(tell, news=news, tls=tls, timeout_s=timeout_s))


def at_once(peers: Iterable[Principal], call: Callable[[Principal], _T]) -> list[_T]:
    """Call everybody at once; return one result each, in their order."""
    listed = list(peers)
    if not listed:
        return []
    with ThreadPoolExecutor(min(len(listed), _AT_ONCE), thread_name_prefix="peers") as pool:
        return list(pool.map(call, listed))
