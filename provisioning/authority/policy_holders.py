"""Ask who holds which policy, and whose software could read another; say what is to be done.

Officers' programs serve nobody, so nobody can ask them: of an officer it is known only whether the
folder that is still here holds the newest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from protocol.directory import AGGREGATOR, APPROVER, AUDITOR, CUSTODIAN, INVESTIGATOR, Principal
from provisioning.formats import layout
from provisioning.formats.opened import Site, SiteError
from runtime.config import TlsConfig
from runtime.errors import explained
from runtime.fsio import FileProblem, read_file
from runtime.http import json_of
from runtime.peers import at_once, client_of, with_address

_MAX_POLICY = 1 << 20
_TIMEOUT_S = 5.0
_FIRST_SCHEMA = 1
_COPY = f"copy {layout.POLICY_FILE} and {layout.POLICY_SIGNATURE_FILE} to it"
_THEN = {CUSTODIAN: f"{_COPY} and reload it", AGGREGATOR: f"{_COPY} and restart it"}


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who goes by the policy.

    Args:
        digest: hex, of the policy that they hold; empty where that is not known.
        version: of it; 0 where that is not known.
        reads_schema: of policies, the highest that their software reads; 0 where it is not known.
        problem: why nothing is known.
        to_do: what brings the newest policy to them.
    """

    name: str
    to_do: str
    digest: str = ""
    version: int = 0
    reads_schema: int = 0
    problem: str = ""

    def holds(self, digest: bytes) -> bool:
        """Tell whether they are known to hold the policy of this digest."""
        return self.digest == digest.hex()


def services(site: Site, tls: TlsConfig | None, why_not: str = "") -> list[Holder]:
    """Ask every custodian and the aggregator in force, at once.

    Args:
        tls: certificates of an officer; nobody is asked without.
        why_not: why there are none.
    """
    peers = with_address(site.directory, CUSTODIAN, AGGREGATOR)
    if tls is None:
        return [Holder(peer.name, _to_do(peer), problem=why_not) for peer in peers]
    return at_once(peers, partial(_ask, tls=tls))


def officers(site: Site) -> list[Holder]:
    """Return what is known here of the officers in force."""
    people = {
        principal.name: principal
        for duty in (INVESTIGATOR, APPROVER, AUDITOR)
        for principal in site.directory.with_duty(duty)
    }
    return [_look(site, principal) for _, principal in sorted(people.items())]


def require_readers(asked: Iterable[Holder], schema: int) -> None:
    """Check that nobody who answered runs software that would refuse a policy of ``schema``.

    Raises:
        SiteError: somebody does.
    """
    older = [one.name for one in asked if 0 < one.reads_schema < schema]
    if older:
        raise SiteError(
            f"{', '.join(older)}: the software there reads no policy of schema {schema} and would"
            " refuse it; update it first, and sign the policy then (--force signs it all the same)"
        )


def unknown(asked: Iterable[Holder]) -> list[Holder]:
    """Return of whose software nothing is known."""
    return [one for one in asked if not one.reads_schema]


def _ask(peer: Principal, tls: TlsConfig) -> Holder:
    try:
        with client_of(peer, tls, _TIMEOUT_S) as http:
            told = json_of(http.get("/v1/status"))
    except Exception as error:  # whatever one party sends, the others are asked
        return Holder(peer.name, _to_do(peer), problem=explained(error))
    if not isinstance(told, dict):
        return Holder(peer.name, _to_do(peer), problem="its answer is not a status")
    digest = told.get("policy_digest")
    return Holder(
        peer.name,
        _to_do(peer),
        digest=digest if isinstance(digest, str) else "",
        version=_number(told.get("policy_version")),
        reads_schema=_number(told.get("reads_policy_schema")) or _FIRST_SCHEMA,
    )


def _look(site: Site, officer: Principal) -> Holder:
    folder = site.paths.officer(officer.name).parent
    path = folder / layout.POLICY_FILE
    if not folder.is_dir():
        return Holder(officer.name, _to_do(officer), problem="their folder is not here")
    try:
        digest = hashlib.sha256(read_file(path, _MAX_POLICY)).hexdigest()
    except FileProblem as error:
        return Holder(officer.name, _to_do(officer), problem=str(error))
    known = site.policy.version if digest == site.policy.digest.hex() else 0
    return Holder(officer.name, _to_do(officer), digest=digest, version=known)


def _to_do(principal: Principal) -> str:
    for duty, words in _THEN.items():
        if duty in principal.duties:
            return words
    return _COPY.replace(" to it", " into the officer's folder, where they work")


def _number(value: Any) -> int:
    """Return a whole number above 0; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
