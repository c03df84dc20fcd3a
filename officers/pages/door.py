"""Who may come in: one-time start tokens, sessions of browsers, and the token in every form."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable

from officers.desk.phrases import phrase
from runtime.errors import OperationError

START_S = 120.0
"""Seconds within which a start address must be opened."""
_MOST_STARTS = 8
_MOST_SESSIONS = 8
_TOKEN_BYTES = 32


class StartRefused(OperationError):
    """A start token is unknown, used up or too old."""


class Door:
    """Tokens that open the desk; of each only the SHA-256 is kept.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._starts: dict[bytes, float] = {}
        self._sessions: list[bytes] = []
        self._form_key = secrets.token_bytes(_TOKEN_BYTES)
        self.own_secret = secrets.token_urlsafe(_TOKEN_BYTES)
        """With it another process of the officer's asks for a new start (`running`)."""

    def new_start(self) -> str:
        """Return a token that starts one session, within `START_S`."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with self._lock:
            while len(self._starts) >= _MOST_STARTS:
                del self._starts[next(iter(self._starts))]
            self._starts[_digest(token)] = self._clock() + START_S
        return token

    def new_start_for(self, authorization: str) -> str:
        """Return a new start's token for who knows the desk's own secret.

        Raises:
            StartRefused: whoever asks does not.
        """
        given = authorization.removeprefix("Bearer ")
        if not hmac.compare_digest(_digest(given), _digest(self.own_secret)):
            raise StartRefused(phrase("only the officer who started this desk gets a new start"))
        return self.new_start()

    def enter(self, token: str) -> str:
        """Use a start token up; return a new session's secret, for the cookie.

        Raises:
            StartRefused: it is unknown, used up or too old.
        """
        given = _digest(token)
        with self._lock:
            now_s = self._clock()
            known = [one for one in self._starts if hmac.compare_digest(one, given)]
            ends_s = self._starts.pop(known[0]) if known else 0.0
            if not known or ends_s < now_s:
                raise StartRefused(
                    phrase(
                        "this start address was used already, or is too old; run `sealtrace desk` "
                        "again, which opens a new one"
                    )
                )
            session = secrets.token_urlsafe(_TOKEN_BYTES)
            self._sessions = [*self._sessions, _digest(session)][-_MOST_SESSIONS:]
            return session

    def knows(self, session: str) -> bool:
        """Tell whether a cookie is a session's (which page is drawn; `Guard` refuses)."""
        given = _digest(session)
        with self._lock:
            return sum(hmac.compare_digest(one, given) for one in self._sessions) > 0

    def leave(self, session: str) -> None:
        """End a session."""
        given = _digest(session)
        with self._lock:
            self._sessions = [one for one in self._sessions if not hmac.compare_digest(one, given)]

    def form_token(self, session: str) -> str:
        """Return the token that every form of a session carries."""
        return hmac.digest(self._form_key, session.encode(), "sha256").hex()

    def check_form(self, session: str, token: str) -> None:
        """Check a form's token.

        Raises:
            FormRefused: it is not the session's.
        """
        if not hmac.compare_digest(self.form_token(session).encode(), token.encode()):
            raise FormRefused(
                phrase(
                    "this form is of an earlier start of the desk; nothing was done. Go back, "
                    "load the page again, and send it once more"
                )
            )


class FormRefused(OperationError):
    """A form does not carry this session's token."""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
