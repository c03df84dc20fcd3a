"""Seal a portion of work to the workers that may do it, and its answer to who asked.

A worker draws a sealing key at its start, keeps it in memory, and signs the public half with the
key of its certificate: so nobody who merely carries it can put a key of their own in its place. A
portion is encrypted under a key of its own, which is sealed (HPKE) to a few workers, and all of it
is signed by the aggregator's certificate. The answer is encrypted under a second key that lies in
the portion: only who opened that can have written it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aggregator.cluster.identities import AGGREGATOR, WORKER, Distrusted, Identity
from protocol import hpke
from protocol.encoding import Fields, decode, encode
from protocol.errors import AuthenticationFailed, MalformedMessage

MAX_PORTION_BYTES = 256 << 20
MAX_ANSWER_BYTES = 256 << 20
"""Ten thousand finds, each with the largest header that a box can write."""
MAX_RECIPIENTS = 8
PORTION_ID_BYTES = 16
_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES, _KEY_ID_BYTES = 32, 12, 16, 16
_PORTION, _WORKER_KEY, _ANSWER = "portion", "worker key", "answer"
_PORTION_ITEMS = 64
_FORM = 1


class NotForUs(Distrusted):
    """A portion is sealed to other workers, or to a key that this one had before it started."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A worker as it introduced itself: its name in the cluster and its sealing key."""

    name: str
    key: hpke.PublicKey


@dataclass(frozen=True, slots=True)
class SealedPortion:
    """A portion as it is carried, and what opens its answer.

    Args:
        portion_id: 16 bytes; drawn anew each time that it is sealed.
        data: what is carried.
        answer_key: 32 bytes; lies sealed in ``data``.
    """

    portion_id: bytes
    data: bytes
    answer_key: bytes

    def open_answer(self, sealed: bytes) -> bytes:
        """Open the answer to this portion.

        Raises:
            AuthenticationFailed: none of the workers that it was sealed to wrote it for this
                portion, or it has been altered.
            MalformedMessage: it is larger than any answer.
        """
        if not _NONCE_BYTES + _TAG_BYTES <= len(sealed) <= MAX_ANSWER_BYTES:
            raise MalformedMessage(f"an answer of {len(sealed)} bytes is none")
        try:
            return AESGCM(self.answer_key).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(_ANSWER, self.portion_id)
            )
        except InvalidTag as error:
            raise AuthenticationFailed("an answer is from nobody who was asked") from error


@dataclass(frozen=True, slots=True)
class OpenedPortion:
    """A portion as a worker opened it: what to do (wiped by the caller), and how to answer."""

    portion_id: bytes
    plain: bytearray
    answer_key: bytes

    def seal_answer(self, answer: bytes) -> bytes:
        """Seal the answer to whoever sealed the portion."""
        nonce = os.urandom(_NONCE_BYTES)
        bound = _bound(_ANSWER, self.portion_id)
        return nonce + AESGCM(self.answer_key).encrypt(nonce, answer, bound)


def introduce(identity: Identity, key: hpke.PublicKey) -> bytes:
    """Return how a worker introduces its sealing key to whoever will seal to it."""
    return encode({"v": _FORM, "key": key.raw, "by": identity.sign(_WORKER_KEY, key.raw)})


def read_introduction(data: bytes, identity: Identity, *, now: datetime | None = None) -> Recipient:
    """Return the worker that introduced itself so.

    Raises:
        Distrusted: it is no match worker of this cluster.
        MalformedMessage: it is no introduction.
    """
    fields = Fields(decode(data, what="introduction", max_bytes=1 << 16), what="introduction")
    fields.version(_FORM)
    raw, statement = fields.raw("key", size=hpke.PUBLIC_BYTES), fields.raw("by")
    fields.done()
    member = identity.verify(_WORKER_KEY, raw, statement, duty=WORKER, now=now)
    return Recipient(member.name, hpke.PublicKey(raw))


def seal_portion(
    plain: bytearray, recipients: Sequence[Recipient], identity: Identity
) -> SealedPortion:
    """Seal ``plain`` so that each of ``recipients`` can open it; the caller wipes it.

    Args:
        identity: the aggregator's.
    """
    portion_id, nonce = os.urandom(PORTION_ID_BYTES), os.urandom(_NONCE_BYTES)
    key, answer_key = os.urandom(_KEY_BYTES), os.urandom(_KEY_BYTES)
    inside = bytearray(answer_key) + plain
    try:
        body = AESGCM(key).encrypt(nonce, inside, _bound(_PORTION, portion_id))
    finally:
        inside[:] = bytes(len(inside))
    carried = encode(
        {
            "v": _FORM,
            "id": portion_id,
            "keys": [
                [one.key.key_id, one.key.seal(key, purpose=_PORTION, context=[portion_id])]
                for one in recipients
            ],
            "nonce": nonce,
            "body": body,
        }
    )
    signed = encode({"portion": carried, "by": identity.sign(_PORTION, carried)})
    return SealedPortion(portion_id, signed, answer_key)


def open_portion(
    data: bytes, key: hpke.PrivateKey, identity: Identity, *, now: datetime | None = None
) -> OpenedPortion:
    """Open a portion as a worker.

    Raises:
        Distrusted: it is not the aggregator's.
        NotForUs: it is sealed to other keys than ``key``.
        AuthenticationFailed: it has been altered.
        MalformedMessage: it is no portion.
    """
    outer = Fields(_decoded(data), what=_PORTION)
    carried, statement = (
        outer.raw("portion", max_size=MAX_PORTION_BYTES),
        outer.raw("by"),
    )
    outer.done()
    identity.verify(_PORTION, carried, statement, duty=AGGREGATOR, now=now)
    fields = Fields(_decoded(carried), what=_PORTION)
    fields.version(_FORM)
    portion_id = fields.raw("id", size=PORTION_ID_BYTES)
    listed = fields.array("keys", max_items=MAX_RECIPIENTS)
    nonce = fields.raw("nonce", size=_NONCE_BYTES)
    body = fields.raw("body", max_size=MAX_PORTION_BYTES)
    fields.done()
    inside = _open_body(body, nonce, _own(listed, key, portion_id), portion_id)
    answer_key = bytes(inside[:_KEY_BYTES])
    inside[:_KEY_BYTES] = bytes(_KEY_BYTES)
    plain = inside[_KEY_BYTES:]
    inside[:] = bytes(len(inside))
    return OpenedPortion(portion_id, plain, answer_key)


def _own(listed: Sequence[object], key: hpke.PrivateKey, portion_id: bytes) -> bytes:
    mine = key.public.key_id
    for one in listed:
        match one:
            case [bytes(key_id), bytes(sealed)] if key_id == mine:
                opened = key.open(sealed, purpose=_PORTION, context=[portion_id])
                if len(opened) != _KEY_BYTES:
                    raise MalformedMessage("a portion's key is none")
                return opened
    raise NotForUs("a portion is sealed to other workers")


def _open_body(body: bytes, nonce: bytes, key: bytes, portion_id: bytes) -> bytearray:
    size = len(body) - _TAG_BYTES
    if size < _KEY_BYTES:
        raise MalformedMessage("a portion is cut short")
    inside = bytearray(size)
    try:
        AESGCM(key).decrypt_into(nonce, body, _bound(_PORTION, portion_id), inside)
    except InvalidTag as error:
        raise AuthenticationFailed("a portion has been altered") from error
    return inside


def _decoded(data: bytes) -> object:
    value: object = decode(
        data, what=_PORTION, max_bytes=MAX_PORTION_BYTES, max_items=_PORTION_ITEMS
    )
    return value


def _bound(what: str, portion_id: bytes) -> bytes:
    return encode(["sealtrace/cluster/v1", what, portion_id])
