"""`sealtrace trace`: open what a query found, decide on each candidate, export the trace.

Candidates are sealed to the investigator who asked: they are opened here, on the investigator's
machine, with the investigator's key. What is *considered* (candidates) is kept apart from what is
*decided* (hits): only confirmed candidates make the trace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from officers import exports
from officers.api_client import QuerySummary
from officers.camera_places import read_positions
from officers.casework import Case, open_results
from officers.exports import FORMATS, Report
from officers.moments import local_text
from officers.query_steps import confirm as confirm_signing
from officers.query_text import facts_table, state_text
from officers.session import ENDED, STANDING, CaseId, Session, open_session
from officers.trace_text import stays_table, trace_line
from officers.traces import UNDECIDED, Numbered, numbers_text, ranked, stays_of, traces_of
from protocol.directory import INVESTIGATOR
from protocol.results import CONFIRMED, REJECTED, Decision
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.officer import OfficerFile, PassphraseFile
from runtime.terminal import err, out, say, show_table, warn

app = typer.Typer(
    name="trace",
    no_args_is_help=True,
    help="Show what an authorized query found, confirm or reject it, export the trace.",
)
Format = StrEnum("Format", [(name, name) for name in FORMATS])  # type: ignore[misc]  # from FORMATS
_NUMBERS = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
Numbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="NUMBER...", help="Candidates' numbers, such as 1 3 5-8."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Sign without asking.")]
All = Annotated[bool, typer.Option("--all", help="All candidates that are not decided yet.")]


@dataclass(frozen=True, slots=True)
class Found:
    """A query with its candidates, opened."""

    case: Case
    summary: QuerySummary
    candidates: tuple[Numbered, ...]

    @property
    def report(self) -> Report:
        """The traces of the query's subjects."""
        subjects = [subject.pseudonym for subject in self.case.query.subjects]
        return Report(
            query=self.case.query,
            digest=self.case.digest,
            requester=self.case.requester,
            state=self.summary.state,
            traces=tuple(traces_of(subjects, self.candidates)),
            exported_at_ms=system_ms(),
        )


@app.command(
    epilog="Examples:  sealtrace trace show 3f2a91   |   sealtrace trace show 3f2a91 --wait 60   |"
    "   sealtrace trace show 3f2a91 --all --json"
)
def show(
    query_id: CaseId,
    *,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Wait at most so long for results, or for the end."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show rejected candidates and every contact, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show each subject's trace, and the candidates that are not decided on.

    Candidates stand in order of likelihood; the ratio says how many times likelier such a score is
    for the subject than for a stranger. Numbers stay the same when more are found.
    """
    with open_session(officer, passphrase_file) as session:
        found = _found(session, query_id, wait_s=wait)
        report = found.report
        if as_json:
            say(json.dumps(exports.json_values(report, hits_only=False), indent=2))
            return
        _show_head(found)
        for trace in report.traces:
            say(f"\n{trace_line(trace)}")
            if trace.hits:
                show_table(stays_table(trace.hits, every_contact=everything))
            if trace.candidates:
                say(
                    f"\n{trace.subject}: considered, not decided (confirm or reject by number), "
                    "likeliest first"
                )
                table = stays_table(ranked(trace.candidates), every_contact=everything)
                show_table(table)
            if trace.rejected and everything:
                say(f"\n{trace.subject}: rejected")
                show_table(stays_table(ranked(trace.rejected), every_contact=True))
            elif trace.rejected:
                say(f"\n{len(trace.rejected)} rejected (--all shows them)")
        _show_advice(found)


@app.command(
    epilog="Examples:  sealtrace trace confirm 3f2a91 1 3-5   |   "
    "sealtrace trace confirm 3f2a91 --all"
)
def confirm(
    query_id: CaseId,
    numbers: Numbers = None,
    *,
    every: All = False,
    yes: Yes = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Confirm candidates: they become hits of the trace. Signed and logged."""
    with open_session(officer, passphrase_file) as session:
        _decide(session, CONFIRMED, query_id, numbers or [], every=every, yes=yes)


@app.command(epilog="Example:  sealtrace trace reject 3f2a91 2 6")
def reject(
    query_id: CaseId,
    numbers: Numbers = None,
    *,
    every: All = False,
    yes: Yes = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Reject candidates: they are not the subject. Signed and logged; confirm to change it."""
    with open_session(officer, passphrase_file) as session:
        _decide(session, REJECTED, query_id, numbers or [], every=every, yes=yes)


@app.command(
    epilog="Examples:  sealtrace trace export 3f2a91 --format csv-line-list --out line-list.csv   |"
    "   sealtrace trace export 3f2a91 --format geojson --cameras positions.csv --out trace.geojson"
)
def export(
    query_id: CaseId,
    *,
    format: Annotated[Format, typer.Option(help="Form of the file.")],
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")],
    cameras: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where cameras are: CSV with columns camera,lat,lon, or TOML, a section each.",
        ),
    ] = None,
    hits_only: Annotated[
        bool, typer.Option("--hits-only", help="Leave out candidates that are not confirmed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write the trace to a file that only you can read: JSON, CSV or GeoJSON, without templates."""
    with open_session(officer, passphrase_file) as session:
        positions = read_positions(cameras) if cameras is not None else {}
        if format.value == "geojson" and not positions:
            raise OperationError(
                "a map needs the cameras' positions; give --cameras with a CSV file camera,lat,lon"
            )
        report = _found(session, query_id).report
        text = FORMATS[format.value](report, positions=positions, hits_only=hits_only)
        exports.write_export(to, text, overwrite=force)
        missing = exports.unplaced(report, positions) if positions else []
        if missing:
            warn(f"no position is given for {', '.join(missing)}")
        hits = sum(len(trace.hits) for trace in report.traces)
        others = 0 if hits_only else sum(len(trace.candidates) for trace in report.traces)
        say(
            f"{to}: {hits} hit{'' if hits == 1 else 's'}"
            + (f", {others} not decided" if others else "")
        )


def _found(session: Session, query_id: str, *, wait_s: float | None = None) -> Found:
    """Fetch a query of the officer's own and open its candidates."""
    me = session.officer
    me.require(INVESTIGATOR)
    case = session.case(session.full_id(query_id))
    if case.requester != me.name:
        raise OperationError(
            f"the query is {case.requester}'s: what it found is sealed to {case.requester} and "
            "opens for nobody else"
        )
    if wait_s is not None:
        session.wait(case.id, _worth_showing, timeout_s=wait_s)
    summary = session.summary(case)
    opened = open_results(session.client.results(case.id), case, me.sealing(), me.directory)
    for problem in opened.problems:
        warn(problem)
    return Found(case, summary, opened.candidates)


def _worth_showing(summary: QuerySummary) -> bool:
    return summary.state in ENDED or (summary.state == STANDING and summary.candidates > 0)


def _decide(
    session: Session, verdict: str, query_id: str, texts: Sequence[str], *, every: bool, yes: bool
) -> None:
    """Show the candidates that are meant, ask, sign a decision on each and send it."""
    found = _found(session, query_id)
    chosen = _chosen(found.candidates, _parse_numbers(texts), every=every)
    changed = [item for item in chosen if item.verdict != verdict]
    if not changed:
        say("nothing to do: " + ("none is undecided" if every else f"{verdict} already"))
        return
    numbers = numbers_text([item.number for item in changed])
    if not yes:
        show_table(stays_table(ranked(stays_of(changed))))
        word = "Confirm" if verdict == CONFIRMED else "Reject"
        confirm_signing(f"{word} {numbers} as {session.officer.name}?", yes=False)
    key = session.officer.identity()
    for item in changed:
        decision = Decision(found.case.digest, item.candidate_id, verdict, system_ms())
        session.client.decide(found.case.id, decision.sign(key).to_bytes())
    say(f"{verdict}: {numbers}")


def _parse_numbers(texts: Sequence[str]) -> list[int]:
    numbers: list[int] = []
    for text in (part for given in texts for part in given.split(",") if part):
        match = _NUMBERS.fullmatch(text.strip())
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise OperationError(f"{text!r} is not a candidate's number, or a range such as 3-5")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return numbers


def _chosen(
    candidates: Sequence[Numbered], numbers: Sequence[int], *, every: bool
) -> list[Numbered]:
    """Return the candidates that are meant.

    Raises:
        OperationError: none is named, one is unknown, or both ways of naming are used.
    """
    if every == bool(numbers):
        raise OperationError("give the candidates' numbers, or --all for all that are not decided")
    if every:
        return [item for item in candidates if item.verdict == UNDECIDED]
    by_number = {item.number: item for item in candidates}
    unknown = [number for number in numbers if number not in by_number]
    if unknown:
        raise OperationError(
            f"there is no candidate {numbers_text(unknown)}; `sealtrace trace show` lists them"
        )
    return [by_number[number] for number in dict.fromkeys(numbers)]


def _show_head(found: Found) -> None:
    query = found.case.query
    facts = [
        ("query", f"{found.case.id}: {query.purpose}"),
        ("cameras", ", ".join(query.cameras)),
        ("window", f"{local_text(query.window_from_ms)} to {local_text(query.window_to_ms)}"),
        ("state", state_text(found.summary)),
        (
            "compared",
            f"{found.summary.progress.get('sightings', 0):,} sightings (by the aggregator's count)",
        ),
    ]
    show_table(facts_table(facts), out)


def _show_advice(found: Found) -> None:
    start = found.case.id[:8]
    if not found.candidates:
        err.print(
            "nothing was found so far" if found.summary.state not in ENDED else "nothing was found"
        )
    elif any(item.verdict == UNDECIDED for item in found.candidates):
        err.print(
            f"decide with: sealtrace trace confirm {start} NUMBER... | "
            f"sealtrace trace reject {start} NUMBER...",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
