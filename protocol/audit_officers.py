"""Officers as they stood when something was signed: revocations, and passkeys withdrawn since.

Part of :mod:`protocol.audit`. A directory lists the passkeys in force alone, and a withdrawn one
signs nothing any more; but a query that it approved a month ago was approved. The auditor's memory
of directories says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from protocol.directory import APPROVER, INVESTIGATOR, Directory, Principal
from protocol.names import SLOT_MS
from protocol.passkeys import Passkey

PROPAGATION_MS = SLOT_MS
Ended = Mapping[Passkey, int]
"""Passkeys to when the first directory at hand that lists them no longer was issued, ms UTC."""


def with_former(directory: Directory, former: Sequence[Directory]) -> tuple[Directory, Ended]:
    """Return the directory with the passkeys besides that former ones listed, and when they ended.

    Args:
        directory: the newest.
        former: earlier ones, verified, in any order.
    """
    in_order = sorted((*former, directory), key=lambda one: one.version)
    listed: dict[str, dict[Passkey, int | None]] = {}
    for edition in in_order:
        for name, principal in edition.principals.items():
            known = listed.setdefault(name, {})
            for passkey in known.keys() - set(principal.passkeys):
                if known[passkey] is None:
                    known[passkey] = edition.issued_at_ms
            known.update(dict.fromkeys(principal.passkeys))
    principals = dict(directory.principals)
    ended: dict[Passkey, int] = {}
    for name, known in listed.items():
        gone = {passkey: at_ms for passkey, at_ms in known.items() if at_ms is not None}
        if gone and name in principals:
            passkeys = (*principals[name].passkeys, *gone)
            principals[name] = replace(principals[name], passkeys=passkeys)
            ended |= gone
    return replace(directory, principals=principals), ended


def officers_of(directory: Directory) -> Directory:
    """Return the directory with its investigators and approvers alone."""
    officers = {
        name: p for name, p in directory.principals.items() if p.duties & {INVESTIGATOR, APPROVER}
    }
    return replace(directory, principals=officers)


def as_of(officers: Directory, time_ms: int, ended: Ended) -> Directory:
    """Return the officers as they stood at ``time_ms``.

    A revocation, or the withdrawal of a passkey, counts from a quarter of an hour after its date,
    the time it may take to arrive.

    Args:
        ended: passkeys among the officers' that were withdrawn, and when.
    """

    def standing(one: Principal) -> Principal:
        passkeys = tuple(
            passkey
            for passkey in one.passkeys
            if passkey not in ended or time_ms < ended[passkey] + PROPAGATION_MS
        )
        revoked_at_ms = one.revoked_at_ms
        if revoked_at_ms is not None and time_ms < revoked_at_ms + PROPAGATION_MS:
            revoked_at_ms = None
        return replace(one, passkeys=passkeys, revoked_at_ms=revoked_at_ms)

    principals = {name: standing(one) for name, one in officers.principals.items()}
    return replace(officers, principals=principals)
