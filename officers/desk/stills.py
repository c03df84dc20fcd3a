"""Show the still of a candidate to an officer who confirms hits: ask its box, then custodians.

The box decides whether it sends the still, and seals it to the officer; custodians decide whether
it opens. The box is asked first, so that no custodian learns of a sighting that has no still. What
opens stays in memory until `Still.close`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from officers.desk.jpeg_headers import NoPicture, picture_size
from officers.desk.keys import Keys
from officers.desk.phrases import Phrase, marked, moment, phrase, theirs, words_of
from officers.desk.results import Results
from officers.desk.session import Session
from officers.desk.still_keys import Released, StillClosed, open_still
from officers.desk.traces import Numbered
from protocol.errors import ProtocolError
from protocol.names import SightingName
from protocol.policy import Policy
from protocol.v2.evidence import SealedStill
from protocol.v2.stills import (
    GONE,
    LATER,
    NONCE_BYTES,
    NONE,
    SENT,
    StillAnswer,
    StillRequest,
    open_answer,
)
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.http import ProblemError

BOX_S = 30.0
"""How long a box is waited for; it may be asked again."""

_POLL_S = (0.1, 1.0)
Progress = Callable[[Phrase], None]

_SAID = {
    GONE: marked("The still is not on the box any more: {reason}."),
    NONE: marked("The box made no still of this sighting: {reason}."),
    LATER: marked("The box sends no more stills for the moment: {reason}. Try again in a minute."),
}
_REFUSED = marked("The box does not send the still: {reason}.")
_REASONS = {
    "off": marked("stills were not permitted when it was made"),
    "recording": marked("it is of an imported film, of which no stills are made"),
    "no-body": marked("where the person ends was not certain"),
    "others-near": marked("other people could not be covered with certainty"),
    "stale": marked("no picture of the moment was at hand"),
    "failed": marked("making it failed"),
    "kept-no-longer": marked("it was older than stills are kept"),
    "no-room": marked("newer stills took its room"),
    "unknown": marked("the box knows of no such sighting"),
    "too-old": marked("by its clock the request was too old, or dated ahead"),
    "seen-before": marked("it had answered this request before"),
    "no-such-query": marked("by what it knows, no query stands that asks for stills here"),
    "not-confirming": marked("by what it knows, you do not confirm hits of this query"),
    "out-of-scope": marked("the query does not ask for this camera and quarter hour"),
    "over-cap": marked("the query's number of stills is used up"),
    "too-many": marked("too many stills were asked for at once"),
    "no-key": marked("its directory lists no key to seal to for you"),
}
_FOR_GOOD = frozenset({"over-cap", "out-of-scope"})
"""Refusals that headquarters cannot bring about. The others a box gives as well where it was told
late, or was brought the same request again and again: by that nobody decides without a still."""
_OTHER = marked("for a reason that this version does not know ({code})")


@dataclass(slots=True)
class Still:
    """A still, or why there is none; close it as soon as it is not looked at any more.

    Args:
        jpeg: the picture, checked by `picture_size`; empty where there is none.
        absent: why there is none.
        final: asking again comes to the same.
        opened: distinct stills of the query that custodians have opened, by the highest count.
        most: as many as the query asked for.
    """

    jpeg: bytearray
    absent: Phrase | None = None
    final: bool = False
    opened: int = 0
    most: int = 0

    def close(self) -> None:
        """Wipe the picture."""
        self.jpeg[:] = bytes(len(self.jpeg))
        self.jpeg.clear()


class _Absent(OperationError):
    """There is no still; ``final`` if there never will be."""

    def __init__(self, words: Phrase, *, final: bool) -> None:
        super().__init__(words)
        self.words, self.final = words, final


def no_still(results: Results, item: Numbered, policy: Policy) -> Phrase | None:
    """Return why there can be no still of a candidate, asking nobody; None if there may be one."""
    query, now_ms = results.case.query, system_ms()
    if not query.asks.evidence_stills:
        return phrase("The query asks for no stills.")
    if not policy.permits.evidence_stills:
        return phrase("The site's policy permits no stills.")
    if item.candidate.name is None:
        return phrase("The box that saw this is of an earlier version, which keeps no stills.")
    if results.summary.withdrawals:
        return phrase("The query is withdrawn, so nothing more opens for it.")
    if now_ms >= query.not_after_ms:
        return phrase(
            "The query was valid until {until}, so nothing more opens for it.",
            until=moment(query.not_after_ms),
        )
    return None


def show_still(
    session: Session,
    results: Results,
    item: Numbered,
    keys: Keys,
    *,
    tell: Progress = lambda _words: None,
    cancelled: Callable[[], bool] = lambda: False,
    within_s: float = BOX_S,
) -> Still:
    """Fetch and open the still of one candidate.

    Args:
        session: of an officer to whom the results are sealed.
        results: as opened; the row of ``item`` was opened for this query, or custodians refuse.
        item: of ``results``.
        keys: the officer's, unlocked.
        tell: hears what is waited for.
        cancelled: asked now and then; true ends the waiting.
        within_s: how long the box is waited for.

    Returns:
        The still, or why there is none. The caller closes it.

    Raises:
        PeerUnreachable: the aggregator does not answer.
    """
    most = results.case.query.asks.evidence_stills
    name = item.candidate.name
    impossible = no_still(results, item, session.officer.policy)
    if name is None or impossible is not None:
        return Still(bytearray(), impossible, final=True, most=most)
    asking = _Asking(session, results, name, keys, tell, cancelled, within_s)
    try:
        sealed = asking.sealed()
        tell(phrase("Asking custodians for what opens it"))
        released = open_still(session, results.case, name, sealed, keys)
    except _Absent as absent:
        return Still(bytearray(), absent.words, final=absent.final, most=most)
    except StillClosed as closed:
        return Still(bytearray(), closed.words, final=closed.final, most=most)
    return _checked(released, most)


def _checked(released: Released, most: int) -> Still:
    try:
        picture_size(released.picture)
    except NoPicture as error:
        Still(released.picture).close()
        words = phrase(
            "The box sent something that is no still ({reason}), so it is not shown: tell who "
            "looks after the box.",
            reason=words_of(error),
        )
        return Still(bytearray(), words, final=True, opened=released.total, most=most)
    return Still(released.picture, opened=released.total, most=most)


@dataclass(frozen=True, slots=True)
class _Asking:
    """One sighting's still, as it comes from its box."""

    session: Session
    results: Results
    name: SightingName
    keys: Keys
    tell: Progress
    cancelled: Callable[[], bool]
    within_s: float

    def sealed(self) -> SealedStill:
        """Return the still as the box sealed it once: from an answer that is here, or a new one.

        Raises:
            _Absent: there is none, or not now.
        """
        answer = self._newest() or self._ask()
        if answer.outcome != SENT:
            raise _Absent(_words(answer), final=_is_final(answer))
        try:
            return answer.open(self.session.officer.name, self.keys.sealing)
        except ProtocolError as error:
            raise _Absent(
                phrase(
                    "What the box sent does not open ({reason}): tell the auditors.",
                    reason=words_of(error),
                ),
                final=True,
            ) from error

    def _ask(self) -> StillAnswer:
        case, client = self.results.case, self.session.client
        request = StillRequest(
            site=case.query.site,
            query_digest=case.digest,
            box=self.name.box,
            sightings=(self.name,),
            nonce=secrets.token_bytes(NONCE_BYTES),
            requested_at_ms=system_ms(),
        )
        self.tell(phrase("Asking the box {box} for the still", box=self.name.box))
        try:
            asked = client.ask_stills(case.id, request.sign(self.keys.identity).to_bytes())
        except ProblemError as error:
            raise _Absent(
                phrase("Headquarters does not ask the box: {reason}", reason=theirs(str(error))),
                final=False,  # its word alone does not have anybody decide without a still
            ) from error
        pause_s, most_s = _POLL_S
        deadline_s, never = time.monotonic() + self.within_s, Event()
        while time.monotonic() < deadline_s:
            if self.cancelled():
                raise _Absent(phrase("Stopped waiting for the box."), final=False)
            answer = self._newest(asked)
            if answer is not None:
                return answer
            never.wait(pause_s)
            pause_s = min(pause_s * 1.5, most_s)
        raise _Absent(
            phrase(
                "The box {box} does not answer: it is switched off, or cut off. Its stills stay on "
                "it; try again when it is back.",
                box=self.name.box,
            ),
            final=False,
        )

    def _newest(self, asked: bytes | None = None) -> StillAnswer | None:
        """Return the box's newest answer to this officer here: to ``asked``, or any still."""
        me, case = self.session.officer, self.results.case
        found = None
        for data in self.session.client.still_answers(case.id, asked):
            try:
                _, answer = open_answer(data, me.directory)
            except ProtocolError:
                continue  # not a box's word: nothing was answered
            told = (answer.name, answer.query_digest, answer.officer)
            if told == (self.name, case.digest, me.name) and (
                answer.outcome == SENT if asked is None else answer.request == asked
            ):
                found = answer
        return found


def _is_final(answer: StillAnswer) -> bool:
    """Tell whether there will never be a still, whatever headquarters bring the box."""
    return answer.outcome in {GONE, NONE} or answer.reason in _FOR_GOOD


def _words(answer: StillAnswer) -> Phrase:
    known = _REASONS.get(answer.reason)
    reason = phrase(_OTHER, code=theirs(answer.reason)) if known is None else phrase(known)
    return phrase(_SAID.get(answer.outcome, _REFUSED), reason=reason)
