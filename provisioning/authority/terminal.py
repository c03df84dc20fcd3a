"""The authority's changes at a terminal: said, asked for, made, told; and cells of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from provisioning.authority.changes import Change
from provisioning.authority.consequences import Consequence, Weight
from provisioning.authority.proposals import Proposal, tell_broker
from provisioning.authority.push import officer_tls, push_directory, push_places
from provisioning.formats.opened import Site
from runtime.errors import OperationError
from runtime.keyfiles import get_passphrase
from runtime.peers import Told
from runtime.terminal import agreed, note, say, warn
from runtime.text import quoted

Push = Annotated[
    bool, typer.Option("--push", help="Tell the custodians and the aggregator at once.")
]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the command line says about a change, whichever it is."""

    passphrase_file: Path | None = None
    push: bool = False
    officer: Path | None = None
    dry_run: bool = False
    yes: bool = False
    force: bool = False


def carry_out(
    proposal: Proposal,
    answers: Answers,
    *,
    refused: str = "the site could not go on; nothing was changed",
) -> None:
    """Say what a change will mean, ask, make it, and tell those whom it concerns.

    Args:
        refused: what to say where the site could not go on; only then is `Answers.force` looked at.

    Raises:
        OperationError: it is refused, was not agreed to, or cannot be made.
        Exit: with 1, when some could not be told.
    """
    say_consequences(proposal.effects)
    if answers.dry_run:
        say(proposal.would)
        return
    if not answers.force:
        proposal.require_possible(refused)
    agree(proposal.question, proposal.effects, yes=answers.yes or answers.force)
    passphrase = b""
    if proposal.needs_passphrase:
        passphrase = site_passphrase(proposal.site, answers.passphrase_file)
    change = proposal.make(passphrase)
    _report(change, proposal.done)
    if proposal.hand_over:
        say(proposal.hand_over)
    _tell(change, push=answers.push, officer=answers.officer)


def site_passphrase(site: Site, file: Path | None) -> bytes:
    """Return the site's passphrase, from ``file``, the environment, or asked for."""
    return get_passphrase(file, what=f"the site '{site.plan.site}'")


def agree(question: str, effects: Sequence[Consequence], *, yes: bool) -> None:
    """Ask where a consequence needs a yes.

    Raises:
        OperationError: the answer was not yes, or there was nobody to ask.
        KeyboardInterrupt: that was the answer.
    """
    if yes or all(one.weight is Weight.SAID for one in effects):
        return
    if not agreed(question):
        raise OperationError("nothing was changed (answer y, or give --yes)")


def _report(change: Change, done: str) -> None:
    """Say what a change did to the site's own files."""
    version = change.site.directory.version
    if not change.changed:
        say(f"{done}; nothing had to be changed (directory version {version})")
        return
    say(f"{done}: directory version {version}")
    if change.files:
        say(f"  {len(change.files)} files of role folders were brought up to date")


def _tell(change: Change, *, push: bool, officer: Path | None) -> None:
    """Tell the running services of a change, or say how; exit with 1 when some were not reached."""
    site = change.site
    told = tell_broker(change)
    if told:
        say("  ✓ broker: has read its rights and revocations anew")
    elif told is not None:
        say("  - broker: not run from here. A registrar that runs writes its lists; without one")
        say("    copy broker/acl* and broker/certs/crl*.pem to it, and send it SIGHUP")
        say("    (systemctl reload mosquitto)")
    if not push:
        say(f"Tell the running services: sealtrace site update {quoted(site.paths.root)} --push")
        return
    tls = officer_tls(site, officer)
    results = push_directory(site, tls)
    reached = _show_pushed(results, site.directory.version, site.paths.root)
    register = push_places(site, tls)
    if register is not None:
        mark, text = ("✗", register.problem) if register.problem else ("✓", "gives it to officers")
        say(f"  {mark} {register.name}, register of places: {text}")
        reached = reached and not register.problem
    if not reached:
        raise typer.Exit(1)


def say_consequences(effects: Sequence[Consequence]) -> None:
    """Say what a change will mean, before it is done."""
    for one in effects:
        if one.weight is Weight.SAID:
            note(f"note: {one.text}")
        else:
            warn(one.text)


def days(left: int | None) -> str:
    """Return days left as a coloured cell."""
    if left is None:
        return ""
    colour = "red" if left <= 0 else "yellow" if left <= 7 else "green"
    return f"[{colour}]{left} d[/]"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was, in one unit."""
    if moment is None:
        return "never"
    seconds = max(0, round(((now or datetime.now(UTC)) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _show_pushed(results: list[Told], version: int, folder: Path) -> bool:
    """Say who has the directory now, and what to do about the rest; tell whether all have it."""
    missed = [result for result in results if result.problem]
    for result in results:
        mark, text = ("✗", result.problem) if result.problem else ("✓", f"has version {version}")
        say(f"  {mark} {result.name}: {text}{f' ({result.note})' if result.note else ''}")
    if missed:
        say(
            f"{len(missed)} of {len(results)} could not be told. When they are up, run"
            f" `sealtrace site update {quoted(folder)} --push`, or copy directory.cbor and"
            " directory-1.cbor to each and send it SIGHUP."
        )
    return not missed
