"""What the officers' commands share: who is at the keyboard, keys when needed, and questions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from officers.desk.api_client import QuerySummary
from officers.desk.facts import Fact, state_text
from officers.desk.keys import open_identity, open_sealing
from officers.desk.late_films import late_film_lines
from officers.desk.notices import Notice
from officers.desk.officer import Officer
from officers.desk.results import Results
from officers.desk.session import Session, connect
from officers.query_text import facts_table
from protocol import hpke
from protocol.signing import SigningKey
from runtime.errors import OperationError
from runtime.keyfiles import WrongPassphrase, get_passphrase, is_sealed
from runtime.terminal import agreed, err, note, out, reported, show_table, warn
from runtime.text import counted

CaseId = Annotated[
    str, typer.Argument(metavar="ID", help="The query's id, or its first digits (at least 4).")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Sign without asking.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Key = TypeVar("Key")


class Declined(OperationError):
    """The officer was asked and did not say yes."""


class Keyring:
    """An officer's keys, each unlocked when it is called for; a passphrase is kept for the other.

    Args:
        officer: whose keys.
        passphrase_file: of both; else the environment's passphrase, else it is asked.
    """

    def __init__(self, officer: Officer, passphrase_file: Path | None = None) -> None:
        self._officer = officer
        self._file = passphrase_file
        self._passphrase: bytes | None = None

    def identity(self) -> SigningKey:
        """Open the signing key; raises as `open_identity` and `get_passphrase`."""
        return self._opened(self._officer.config.identity, open_identity)

    def sealing(self) -> hpke.PrivateKey:
        """Open the sealing key; raises as `open_sealing` and `get_passphrase`."""
        return self._opened(self._officer.config.sealing, open_sealing)

    def _opened(self, path: Path, unlock: Callable[[Officer, bytes | None], Key]) -> Key:
        if not is_sealed(path):
            return unlock(self._officer, None)
        if self._passphrase is not None:
            try:
                return unlock(self._officer, self._passphrase)
            except WrongPassphrase:
                if not sys.stdin.isatty():
                    raise
        self._passphrase = get_passphrase(self._file, what=str(path))
        return unlock(self._officer, self._passphrase)


@contextmanager
def at_desk(
    officer_file: Path | None, passphrase_file: Path | None = None
) -> Iterator[tuple[Session, Keyring]]:
    """Read the officer's files and connect; failures become one message and exit code 1."""
    with reported():
        officer = Officer.load(officer_file)
        with connect(officer, tell) as session:
            yield session, Keyring(officer, passphrase_file)


def tell(notice: Notice) -> None:
    """Print a notice on standard error."""
    (warn if notice.warning else note)(notice.text)


def warn_of(results: Results) -> None:
    """Warn of what whoever reads, decides or hands over a query's results has to know."""
    for words in (*results.problems, *results.receipts.waiting):
        warn(words)
    if late := late_film_lines(results.summary.late_films):
        warn("\n".join(late))
    for one in results.summary.withdrawals:
        warn(
            f"{one.officer} has withdrawn, as headquarters say: {one.reason}; what was opened "
            "before stays known here, and whether it may still be used is yours to judge"
        )


def waiting(summary: QuerySummary) -> None:
    """Print on standard error where a query stands that is waited for."""
    note(f"waiting: {state_text(summary)}, {counted(summary.candidates, 'candidate')}")


def show_facts(facts: Sequence[Fact], *, quiet: bool = False) -> None:
    """Print facts; on standard error if ``quiet``, so that the output stays a program's."""
    show_table(facts_table(facts), err if quiet else out)


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless ``yes``.

    Raises:
        Declined: the answer was not yes, or there was nobody to ask.
        KeyboardInterrupt: that was the answer.
    """
    if not yes and not agreed(f"\n{question}"):
        raise Declined("nothing was signed (answer y, or give --yes)")
