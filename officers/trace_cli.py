"""`sealtrace trace`: open what a query found, decide on each candidate, export the trace.

Candidates are sealed to the investigator who asked and to those who confirm: they are opened here,
on the officer's machine, with the officer's key. What is *considered* (candidates) is kept apart
from what is *decided* (hits): only confirmed candidates make the trace. What custodians opened is
compared with what is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from officers import contact_cli, desk, handover_cli, still_cli
from officers.desk.afterwards import Afterwards, afterwards_values
from officers.desk.api_client import ENDED
from officers.desk.by_words import words_note
from officers.desk.coverage_hours import hour_values, hours_of
from officers.desk.export_forms import json_values
from officers.desk.facts import state_text
from officers.desk.graded import graded, graded_values
from officers.desk.moments import local_text
from officers.desk.persons import person_values, persons_of
from officers.desk.traces import Numbered, numbers_text, ranked, stays_of
from officers.desk.wording import short_id
from officers.keyboard import AsJson, CaseId, Keyring, Yes, at_desk, show_facts, waiting, warn_of
from officers.keyboard import confirm as confirm_signing
from officers.trace_text import (
    continuations_table,
    contradiction_lines,
    followed_line,
    impossible_table,
    persons_line,
    persons_table,
    receipts_text,
    stays_table,
    trace_line,
)
from officers.watching_text import (
    NOT_TOLD,
    afterwards_line,
    afterwards_table,
    counts_line,
    counts_table,
    coverage_lines,
    coverage_table,
    hours_lines,
)
from protocol.places import Places
from protocol.results import CONFIRMED, REJECTED
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.terminal import err, note, say, show_table, warn

app = typer.Typer(
    name="trace",
    no_args_is_help=True,
    help="Show what an authorized query found, confirm or reject it, export the trace.",
)
_NUMBERS = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
Numbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="NUMBER...", help="Candidates' numbers, such as 1 3 5-8."),
]
All = Annotated[bool, typer.Option("--all", help="All candidates that are not decided yet.")]


PlacesFile = Annotated[
    Path | None,
    typer.Option(
        "--places",
        metavar="FILE",
        help="A copy of the site's register of places, by which candidates are ranked. "
        "Default: the one that the aggregator gives.",
    ),
]


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
        bool,
        typer.Option(
            "--all", help="Show rejected candidates, every contact, camera and quarter hour, too."
        ),
    ] = False,
    places: PlacesFile = None,
    as_json: AsJson = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show each subject's trace, and the candidates that are not decided on.

    Candidates stand in order of likelihood: by the ratio, which says how many times likelier such a
    score is for the subject than for a stranger, and by how well they fit the subject's others in
    time and walking time (by the site's register of places). Numbers stay the same when more
    are found. Custodians are asked what they have opened for the query; exit code 1 if that is not
    what is shown.
    """
    with at_desk(officer, passphrase_file) as (session, keys):
        register = desk.places_for(session.officer, places, tell=session.tell)
        results = _results(session, keys, query_id, register, wait_s=wait)
        report = desk.trace(results)
        placed = results.ground.places is not None
        listed = graded(
            session.officer,
            report.traces,
            results.links,
            keys.sealing(),
            places=register,
            tell=session.tell,
        )
        if as_json:
            values = _values(results, report)
            values["graded"] = [graded_values(one) for one in listed]
            values["afterwards"] = afterwards_values(results.afterwards(report.traces))
            values["late_films"] = [
                one.model_dump(mode="json") for one in results.summary.late_films
            ]
            say(json.dumps(values, indent=2))
            _check_receipts(results)
            return
        _show_head(results)
        for trace, graded_trace in zip(report.traces, listed, strict=True):
            say(f"\n{trace_line(trace)}")
            if graded_trace.rules is not None and trace.hits:
                say(contact_cli.graded_line(graded_trace, results.case.id))
            if trace.hits:
                show_table(stays_table(trace.hits, every_contact=everything))
            if trace.contradictions:
                warn(contradiction_lines(trace))
            if persons := persons_of(trace, results.links):
                say(f"\n{trace.subject}, {persons_line(persons)}")
                show_table(persons_table(persons, every=everything))
            if trace.candidates:
                say(
                    f"\n{trace.subject}: considered, not decided (confirm or reject by number), "
                    + (
                        "most alike first: a ranked list, which identifies nobody"
                        if all(one.by_appearance for one in trace.candidates)
                        else "likeliest first"
                    )
                )
                table = stays_table(ranked(trace.candidates), every_contact=everything)
                show_table(table)
            if trace.continuations:
                say(f"\n{followed_line(trace, placed=placed)}")
                show_table(continuations_table(trace.continuations, every_contact=everything))
            if trace.rejected and everything:
                say(f"\n{trace.subject}: rejected")
                show_table(stays_table(ranked(trace.rejected), every_contact=True))
            elif trace.rejected:
                say(f"\n{len(trace.rejected)} rejected (--all shows them)")
        if report.impossible:
            say("\nopened, and cannot be true (in no trace)")
            show_table(impossible_table(report.impossible))
        _show_watching(results, every=everything)
        _show_afterwards(results, results.afterwards(report.traces), every=everything)
        _show_advice(results)
        _check_receipts(results)


@app.command(
    epilog="Examples:  sealtrace trace confirm 3f2a91 1 3-5   |   "
    "sealtrace trace confirm 3f2a91 --all"
)
def confirm(
    query_id: CaseId,
    numbers: Numbers = None,
    *,
    every: All = False,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="With --all: also if they cannot all be the same person."),
    ] = False,
    yes: Yes = False,
    places: PlacesFile = None,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Confirm candidates: they become hits of the trace. Signed and logged.

    Where the policy has several officers confirm, a candidate is a hit once so many of those whom
    the query names have; the word of one who rejects it goes before all. --all refuses what nobody
    can have walked: the same subject on two cameras at one time, or faster from one to the next
    than walking allows; name those that are right by number.
    """
    with at_desk(officer, passphrase_file) as (session, keys):
        register = desk.places_for(session.officer, places, tell=session.tell)
        results = _results(session, keys, query_id, register)
        _decide(
            session, keys, results, CONFIRMED, numbers or [], every=every, anyway=anyway, yes=yes
        )


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
    with at_desk(officer, passphrase_file) as (session, keys):
        results = _results(session, keys, query_id)
        _decide(session, keys, results, REJECTED, numbers or [], every=every, yes=yes)


contact_cli.register(app)
handover_cli.register(app)
still_cli.register(app)


def _results(
    session: desk.Session,
    keys: Keyring,
    query_id: str,
    register: Places | None = None,
    *,
    wait_s: float | None = None,
) -> desk.Results:
    """Open what a query has found that is sealed to the officer; warn of what cannot be used."""
    case = desk.sealed_to_me(session, query_id)
    if wait_s is not None:
        desk.wait(session, case.id, desk.worth_showing, timeout_s=wait_s, progress=waiting)
    results = desk.open_results(session, case, keys.sealing(), register)
    warn_of(results)
    return results


def _check_receipts(results: desk.Results) -> None:
    """Let no results pass in silence that are not what custodians opened.

    Raises:
        ReceiptsContradict: they are not.
    """
    desk.check_receipts(results.receipts)


def _decide(
    session: desk.Session,
    keys: Keyring,
    results: desk.Results,
    verdict: str,
    texts: Sequence[str],
    *,
    every: bool,
    yes: bool,
    anyway: bool = False,
) -> None:
    """Show the candidates that are meant, ask, sign a decision on each and send it."""
    chosen = _chosen(results, _parse_numbers(texts), every=every)
    changed = [item for item in chosen if item.said.get(results.reader) != verdict]
    if not changed:
        say("nothing to do: " + ("none is undecided" if every else f"{verdict} already"))
        return
    desk.check_decidable(verdict, changed)
    if verdict == CONFIRMED and every and not anyway:
        desk.check_possible(results.contradictions(changed))
    numbers = numbers_text([item.number for item in changed])
    if not yes:
        show_table(stays_table(ranked(stays_of(changed))))
        word = "Confirm" if verdict == CONFIRMED else "Reject"
        confirm_signing(f"{word} {numbers} as {session.officer.name}?", yes=False)
    desk.decide(session, results, verdict, changed, keys.identity())
    say(f"{verdict}: {numbers}")
    waiting = [item for item in changed if len({*item.confirmed_by, results.reader}) < item.needed]
    if verdict == CONFIRMED and waiting:
        others = ", ".join(name for name in results.case.officers if name != results.reader)
        say(f"{waiting[0].needed} officers must confirm each: {others} can, as you did")


def _parse_numbers(texts: Sequence[str]) -> list[int]:
    numbers: list[int] = []
    for text in (part for given in texts for part in given.split(",") if part):
        match = _NUMBERS.fullmatch(text.strip())
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise OperationError(f"{text!r} is not a candidate's number, or a range such as 3-5")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return numbers


def _chosen(results: desk.Results, numbers: Sequence[int], *, every: bool) -> Sequence[Numbered]:
    """Return the candidates that are meant.

    Raises:
        OperationError: none is named, one is unknown, or both ways of naming are used.
    """
    if every == bool(numbers):
        raise OperationError("give the candidates' numbers, or --all for all that are not decided")
    return results.undecided if every else desk.numbered(results, numbers)


def _show_head(results: desk.Results) -> None:
    query = results.case.query
    window = f"{local_text(query.window_from_ms)} to {local_text(query.window_to_ms)}"
    compared = results.summary.progress.get("sightings", 0)
    show_facts(
        [
            desk.Fact("query", f"{results.case.id}: {query.purpose}"),
            desk.Fact("cameras", ", ".join(query.cameras)),
            desk.Fact("window", window),
            *(
                desk.Fact("looks for", f"{one.pseudonym}, {words_note(one)}")
                for one in query.subjects
                if one.words
            ),
            desk.Fact("opened", receipts_text(results.receipts)),
            desk.Fact("state", state_text(results.summary), headquarters=True),
            desk.Fact(
                "compared",
                f"at most {compared:,} sightings (by the aggregator's count)",
                headquarters=True,
            ),
        ]
    )


def _values(results: desk.Results, report: desk.Report) -> dict[str, Any]:
    """Return a trace as JSON values, with whom the subjects met and every hour of every camera."""
    values = json_values(report, hits_only=False)
    for subject, trace in zip(values["subjects"], report.traces, strict=True):
        persons = persons_of(trace, results.links)
        subject["persons"] = [person_values(one) for one in persons]
    values["hours"] = hour_values(hours_of(results.watching, results.case.query))
    return values


def _show_watching(results: desk.Results, *, every: bool) -> None:
    """Show what the cameras watched, and how many people they counted if that was asked for."""
    watching = results.watching
    if watching is None:
        say(f"\n{NOT_TOLD}")
        return
    say(f"\n{coverage_lines(watching)}")
    if watching.by_slot is not None:
        hours = hours_of(watching, results.case.query, zone=None)
        if lines := hours_lines(hours, every=every):
            say(lines)
    table = coverage_table(watching, every=every)
    if table is not None:
        show_table(table)
    if watching.counts is None:
        return
    say(f"\n{counts_line(watching)}")
    table = counts_table(watching, every=every)
    if table is not None:
        show_table(table)


def _show_afterwards(results: desk.Results, rows: Sequence[Afterwards], *, every: bool) -> None:
    """Show how many people came after the subject had left, if that was asked for."""
    table = afterwards_table(rows, every=every)
    if table is not None:
        say(f"\n{afterwards_line(results.case.query)}")
        show_table(table)


def _show_advice(results: desk.Results) -> None:
    start = short_id(results.case.id)
    if not results.candidates:
        err.print(
            "nothing was found so far"
            if results.summary.state not in ENDED
            else "nothing was found"
        )
        if (closed := desk.closed_text(results.case.query, now_ms=system_ms())) is not None:
            note(closed)
    elif results.undecided:
        err.print(
            f"decide with: sealtrace trace confirm {start} NUMBER... | "
            f"sealtrace trace reject {start} NUMBER...",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
