"""What waits for the officer's signature: shown, signed once, handed in once."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from officers.desk import Officer, open_identity
from officers.desk.phrases import phrase
from protocol.errors import SignatureInvalid
from protocol.passkeys import Passkey, encode_assertion
from protocol.signing import Signed, Unsigned
from protocol.textformats import parse_json
from runtime.errors import OperationError

WAITS_S = 900.0
"""Seconds for which something waits to be signed."""
_MOST = 32
MOST_BY_PASSKEY = 32
"""Messages of one act that a passkey signs: it is asked for each, and nobody goes on for longer."""
MAX_ASSERTION_TEXT = MOST_BY_PASSKEY * 4096


class SigningGone(OperationError):
    """What was to be signed is no longer here."""


class ShownIsNotSigned(OperationError):
    """The form carries another digest than what would be signed."""


@dataclass
class Signing:
    """One act of signing.

    Args:
        unsigned: the messages, signed together.
        statement: what the officer says with it.
        then: hands in what was signed; returns the path of the receipt.
        back: where to go if the officer does not sign.
    """

    unsigned: tuple[Unsigned, ...]
    statement: tuple[str, ...]
    then: Callable[[Sequence[Signed]], str]
    back: str
    signed: tuple[Signed, ...] = ()
    receipt: str = ""
    made_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 over all that would be signed, hex: what the form that was shown carries."""
        whole = hashlib.sha256()
        for one in self.unsigned:
            whole.update(hashlib.sha256(one.challenge_bytes()).digest())
        return whole.hexdigest()

    @property
    def challenges(self) -> tuple[str, ...]:
        """What a browser's authenticator is given, base64url: one of each message, in order."""
        digests = (hashlib.sha256(one.challenge_bytes()).digest() for one in self.unsigned)
        return tuple(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in digests)


class Signatures:
    """Everything that waits to be signed, or was signed a moment ago, by a number nobody guesses.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, Signing] = {}

    def add(self, signing: Signing) -> str:
        """Have it wait; return its number."""
        number = secrets.token_hex(16)
        with self._lock:
            now_s = self._clock()
            signing.made_s = now_s
            for old in [n for n, one in self._waiting.items() if now_s - one.made_s > WAITS_S]:
                del self._waiting[old]
            while len(self._waiting) >= _MOST:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[number] = signing
        return number

    def find(self, number: str) -> Signing:
        """Return what waits.

        Raises:
            SigningGone: nothing does, or it waited too long, or the desk was locked since.
        """
        with self._lock:
            found = self._waiting.get(number)
            if found is None or self._clock() - found.made_s > WAITS_S:
                raise SigningGone(
                    phrase(
                        "what was to be signed is no longer here: it waited too long, or the desk "
                        "was locked or started anew. Nothing was signed here; open the page again"
                    )
                )
            return found

    def forget(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._waiting.clear()

    def sign(
        self, signing: Signing, shown: str, make: Callable[[Signing], tuple[Signed, ...]]
    ) -> str:
        """Sign what was shown, hand it in, and return the receipt's path; at most once.

        Args:
            signing: what waits.
            shown: the digest that the form carried.
            make: signs.

        Raises:
            ShownIsNotSigned: the form showed something else.
            OperationError, ProtocolError: of ``make`` and of handing in. What was signed is kept,
                so that trying again hands in the same.
        """
        if not secrets.compare_digest(signing.digest.encode(), shown.encode()):
            raise ShownIsNotSigned(
                phrase(
                    "the page that you signed on showed something else than what waits here; "
                    "nothing was signed. Do not sign: tell the auditor"
                )
            )
        with signing.lock:
            if not signing.receipt:
                if not signing.signed:
                    signing.signed = make(signing)
                signing.receipt = signing.then(signing.signed)
            return signing.receipt


def by_passphrase(
    officer: Officer, passphrase: bytes | None
) -> Callable[[Signing], tuple[Signed, ...]]:
    """Return what signs with the officer's key file, opened for this and forgotten.

    Raises (when it signs):
        WrongPassphrase: the file does not open with it.
        OfficerError: the key is not the one that the directory lists.
    """

    def make(signing: Signing) -> tuple[Signed, ...]:
        key = open_identity(officer, passphrase)
        return tuple(one.by_key(key) for one in signing.unsigned)

    return make


def by_passkey(
    officer: Officer, origin: str, answer: str
) -> Callable[[Signing], tuple[Signed, ...]]:
    """Return what takes a browser's assertion for a signature, once it verifies here.

    Args:
        officer: whose passkeys the directory lists.
        origin: of this desk.
        answer: JSON, a list with one assertion of each message in their order: objects with
            ``authenticatorData``, ``clientDataJSON`` and ``signature``, base64url.

    Raises (when it signs):
        SignatureInvalid: one is no assertion of one of the officer's passkeys over its message, or
            there are too few or too many; then nothing is signed.
    """

    def make(signing: Signing) -> tuple[Signed, ...]:
        assertions = read_assertions(answer)
        if len(assertions) != len(signing.unsigned):
            raise SignatureInvalid(
                phrase("the passkey did not sign each of the things that are signed together")
            )
        passkeys = passkeys_here(officer, origin)
        return tuple(
            _asserted(unsigned, assertion, passkeys)
            for unsigned, assertion in zip(signing.unsigned, assertions, strict=True)
        )

    return make


def _asserted(unsigned: Unsigned, assertion: bytes, passkeys: Sequence[Passkey]) -> Signed:
    refused: SignatureInvalid | None = None
    for passkey in passkeys:
        try:
            passkey.verify_bytes(assertion, unsigned.challenge_bytes())
        except SignatureInvalid as error:
            refused = error
        else:
            return unsigned.by_assertion(assertion)
    raise refused or SignatureInvalid(
        phrase("the site's directory lists no passkey of yours for this desk")
    )


def passkeys_here(officer: Officer, origin: str) -> tuple[Passkey, ...]:
    """Return the officer's passkeys that the directory lists for this desk's origin."""
    listed = officer.directory.principals.get(officer.name)
    passkeys = () if listed is None else listed.passkeys
    return tuple(one for one in passkeys if one.origin == origin)


def read_assertion(answer: str) -> bytes:
    """Return a browser's one assertion (an object of JSON) as `protocol.passkeys` reads it.

    Raises:
        SignatureInvalid: it is none.
    """
    try:
        return _assertion(parse_json(answer[: MAX_ASSERTION_TEXT + 1].encode()))
    except (ValueError, TypeError, KeyError) as error:
        raise _no_answer() from error


def read_assertions(answer: str) -> tuple[bytes, ...]:
    """Return a browser's assertions (a list of such objects) as `protocol.passkeys` reads them.

    Raises:
        SignatureInvalid: they are none.
    """
    try:
        said = parse_json(answer[: MAX_ASSERTION_TEXT + 1].encode())
        if not isinstance(said, list) or not 0 < len(said) <= MOST_BY_PASSKEY:
            raise _no_answer()
        return tuple(_assertion(one) for one in said)
    except (ValueError, TypeError, KeyError) as error:
        raise _no_answer() from error


def _assertion(said: Any) -> bytes:
    parts = [
        base64.urlsafe_b64decode(said[name] + "=" * (-len(said[name]) % 4))
        for name in ("authenticatorData", "clientDataJSON", "signature")
    ]
    return encode_assertion(*parts)


def _no_answer() -> SignatureInvalid:
    return SignatureInvalid(phrase("what the browser sent is not a passkey's answer"))
