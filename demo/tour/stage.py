"""What the chapters of one run share: the site, what its cameras see, and all that was heard."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.checks import Checks
from demo.intruder import Answer
from demo.local_site import CUSTODIANS, LocalSite
from demo.officers import Filed
from demo.processes import ProcessFailed
from demo.scenario import ClipTruth
from demo.wiretap import Wiretap
from protocol.epoch import Announcement
from protocol.epoch_keys import EpochKeys
from protocol.sealing import SEGMENT
from protocol.signing import Signed
from protocol.v2.envelopes import Envelope
from runtime.config import MqttConfig

SUBJECT = "patient-17"
Tell = Callable[[str], None]


@dataclass(slots=True)
class Stage:
    """One run of the demo in ``folder``.

    Args:
        folder: for the site, its logs and what is exported.
        bundle: the signed model bundle.
        photos: the photographs that `sealtrace models photos` fetched.
        tell: called with one line as each step begins.
    """

    folder: Path
    bundle: Path
    photos: Path
    tell: Tell
    checks: Checks = field(default_factory=Checks)
    truth: list[ClipTruth] = field(default_factory=list)
    """The clips that boxes watch."""
    recorded: ClipTruth | None = None
    """The film that the station imports."""
    trace: Any = None
    recorded_query: Filed | None = None
    recorded_trace: Any = None
    of_the_clips: list[Envelope] = field(default_factory=list)
    """Segments, before a live hit."""
    keys: dict[bytes, EpochKeys] = field(default_factory=dict)
    """What approved queries open, by signed announcement."""
    _site: LocalSite | None = None
    _tap: Wiretap | None = None

    @property
    def site(self) -> LocalSite:
        """The site, once it is made.

        Raises:
            ProcessFailed: it is not.
        """
        if self._site is None:
            raise ProcessFailed("the site was never made")
        return self._site

    @site.setter
    def site(self, site: LocalSite) -> None:
        self._site = site

    @property
    def cameras(self) -> list[str]:
        """The cameras that boxes watch."""
        return [clip.camera for clip in self.truth]

    def listen(self, port: int) -> None:
        """Hear everything that crosses the broker from now on."""
        self._tap = Wiretap(MqttConfig(host="127.0.0.1", port=port))
        self._tap.start()

    def stop(self) -> None:
        """Stop every process."""
        if self._tap is not None:
            self._tap.stop()
        if self._site is not None:
            self._site.stop()

    def heard(self) -> Wiretap:
        """Return what was heard.

        Raises:
            ProcessFailed: nobody listened.
        """
        if self._tap is None:
            raise ProcessFailed("the wiretap was never started")
        return self._tap

    def envelopes(self) -> list[Envelope]:
        """Return all envelopes that were heard."""
        return [Envelope.parse(message.payload) for message in self.heard().messages("/envelope")]

    def segments(self) -> list[Envelope]:
        """Return the segments among them."""
        return [envelope for envelope in self.envelopes() if envelope.header.kind == SEGMENT]

    def announcements(self, cameras: Collection[str]) -> list[bytes]:
        """Return the signed announcements of ``cameras`` that were heard, each once."""
        return [raw for raw, stated in self._announced() if stated.address.camera in cameras]

    def announcement_of(self, envelope: Envelope) -> bytes:
        """Return the announcement of the keys that sealed ``envelope``.

        Raises:
            ProcessFailed: it was not heard.
        """
        name = envelope.header.name
        for raw, stated in self._announced():
            if (stated.address, stated.epoch, stated.generation) == (
                name.address,
                name.epoch,
                name.generation,
            ):
                return raw
        raise ProcessFailed("an envelope's announcement was not heard")

    def note_refused(self, promise: str, answers: list[Answer]) -> None:
        """Note whether every custodian refused."""
        refused = [answer for answer in answers if answer.grant is None and answer.problem]
        said = ", ".join(f"{answer.custodian}: {answer.problem or 'granted'}" for answer in answers)
        self.checks.note(promise, len(refused) == len(answers) == len(CUSTODIANS), said)

    def _announced(self) -> list[tuple[bytes, Announcement]]:
        found = []
        for raw in dict.fromkeys(m.payload for m in self.heard().messages("/epoch")):
            signed = Signed.parse(raw, kind="epoch")
            found.append((raw, Announcement.parse(signed.payload, box=signed.signer)))
        return found
