"""What a page has in hand: the officer, the keys, headquarters, words, and the ways to answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from officers.desk import Keys, Notice, Officer, Session
from officers.pages.house import House, heard
from officers.pages.rendering import Drawing, Renderer
from officers.pages.sections import section_of
from officers.pages.signatures import Signing
from officers.pages.words import FRAME, PageWords, Translator
from protocol.directory import Principal
from protocol.signing import Signed, Unsigned


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong in a form.

    Args:
        field: the field's name; empty: of the whole form.
        words: what is wrong and what to do, in the officer's language.
    """

    field: str
    words: str


class At:
    """One request at the desk, for the page that answers it."""

    def __init__(self, request: Request, section: str) -> None:
        self.request = request
        self.section = section
        self.house: House = request.app.state.house
        self.words: PageWords = self.house.words()
        self._renderer: Renderer = request.app.state.renderer
        names: Sequence[str] = request.app.state.section_names
        self._translator = Translator(self.words, section, names)
        self._notices: list[Notice] = []
        live = self.house.live
        self.silent_since_ms = live.silent_since_ms
        """Since when headquarters do not answer; None while they do."""
        self.heard_ms = live.heard_ms
        """When headquarters answered last; None: not yet."""
        self.known = json.dumps(live.seen())
        """What this page knows of what is new, for the stream to go on from."""

    # ------------------------------------------------------------------ who

    @property
    def officer(self) -> Officer:
        """Whose desk it is."""
        return self.house.officer

    @property
    def duties(self) -> frozenset[str]:
        """The duties that the directory gives the officer now; none for who was revoked."""
        directory = self.officer.directory
        listed = directory.principals.get(self.officer.name)
        return frozenset() if listed is None or listed.revoked_at_ms else listed.duties

    def require(self, duty: str) -> Principal:
        """Return the officer's entry in the directory.

        Raises:
            OfficerError: it does not list ``duty``.
            PrincipalRevoked: the officer has been revoked.
        """
        return self.officer.require(duty)

    @property
    def keys(self) -> Keys:
        """The officer's keys.

        Raises:
            Locked: the passphrase is asked for first; the page comes back after it.
        """
        return self.house.keys

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield the officer at work; notices are shown on the page that is drawn.

        Raises:
            PeerUnreachable: headquarters do not answer.
        """
        with self.house.session(heard(self._notices)) as session:
            yield session

    # ------------------------------------------------------------------ words

    def text(self, message: str, **values: Any) -> str:
        """Say a message of this section, with values put in for ``{name}``."""
        return self._translator.text(message, **values)

    def ntext(self, one: str, many: str, n: int, **values: Any) -> str:
        """Say a message of this section in singular or plural, with ``{n}`` put in."""
        return self._translator.ntext(one, many, n, **values)

    def say(self, words: object) -> str:
        """Say a phrase of `officers.desk`; other text stays as it is."""
        return self._translator.say(words)

    def notice(self, words: str, *, warning: bool = False) -> None:
        """Have words shown on top of the page that is drawn."""
        self.tell(Notice(words, warning=warning))

    def tell(self, notice: Notice) -> None:
        """Take a notice of the desk, to be shown on top of the page that is drawn (a `Tell`)."""
        heard(self._notices)(notice)

    # ------------------------------------------------------------------ answers

    def page(
        self, template: str, *, errors: Sequence[Wrong] = (), status: int = 0, **context: Any
    ) -> Response:
        """Draw a page: 200, or 422 with a summary of what is wrong in its form.

        Args:
            template: ``"section/file.html"``.
            errors: what is wrong; the template's fields show their own.
            status: another one.
            context: for the template; ``title`` is the page's.
        """
        text = self.draw(template, errors=errors, **context)
        return HTMLResponse(text, status or (422 if errors else 200))

    def draw(self, template: str, *, errors: Sequence[Wrong] = (), **context: Any) -> str:
        """Return a drawn template, for parts of a page."""
        drawing = Drawing(self._translator, self.words, self.form_token)
        around = {
            "here": self,
            "house": self.house,
            "settings": self.house.settings,
            "officer": self.officer,
            "duties": self.duties,
            "notices_heard": tuple(self._notices),
            "errors": tuple(errors),
            "wrong": {one.field: one.words for one in errors},
            "path": self.request.url.path,
        }
        return self._renderer.draw(template, drawing, around | {"title": ""} | context)

    def to(self, path: str) -> Response:
        """Go to another page, by GET."""
        return RedirectResponse(local(path), 303)

    @property
    def form_token(self) -> str:
        """What a form has to carry back."""
        session = getattr(self.request.state, "session", "")
        return self.house.door.form_token(session) if session else ""

    # ------------------------------------------------------------------ signing

    def ask_signature(
        self,
        unsigned: Unsigned | Sequence[Unsigned],
        *,
        statement: str | Sequence[str],
        then: Callable[[Any], str],
        back: str,
    ) -> Response:
        """Go to the page on which everything is signed.

        Args:
            unsigned: what would be signed; several are signed together, with one passphrase.
            statement: what the officer says with it, in their language: "I let …".
            then: hands in what was signed (a `Signed`, or a list of them if several were given) and
                returns the path of the receipt; called once with one signature.
            back: where to go if the officer does not sign.
        """
        single = isinstance(unsigned, Unsigned)
        signing = Signing(
            unsigned=(unsigned,) if isinstance(unsigned, Unsigned) else tuple(unsigned),
            statement=(statement,) if isinstance(statement, str) else tuple(statement),
            then=lambda signed: then(signed[0] if single else list(signed)),
            back=local(back),
        )
        return self.to(f"/sign/{self.house.signatures.add(signing)}")


def at(request: Request) -> At:
    """Return what a page has in hand (a dependency).

    Raises:
        Locked: the desk is locked, and this is not a page that opens it.
    """
    here = unlocked_or_not(request)
    if here.house.locked:
        here.house.keys  # noqa: B018 - raises
    return here


def unlocked_or_not(request: Request) -> At:
    """As `at`, for the pages that a locked desk shows (the lock itself)."""
    route = request.scope.get("route")
    endpoint = getattr(route, "endpoint", None)
    section = section_of(endpoint.__module__) if endpoint is not None else FRAME
    return At(request, section)


def local(path: str) -> str:
    """Return a path of this desk; its first page in place of what leads anywhere else."""
    plain = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if plain and path.isprintable() and path.isascii() else "/"


__all__ = ["At", "Signed", "Wrong", "at", "local", "unlocked_or_not"]
