"""`sealtrace trace contacts`: whom a query's subjects met, a row a person, graded and explained."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from officers import desk
from officers.case_cli import Isolated, Onset, Preset, Tested
from officers.desk.case_files import parse_day, window_words, zone_of
from officers.desk.graded import GradedPerson, GradedTrace, Said, graded, graded_values
from officers.desk.grading_rules import Rules, preset_names, rules_of
from officers.desk.moments import duration_text, span_text
from officers.desk.traces import UNDECIDED
from officers.desk.wording import short_id
from officers.keyboard import AsJson, CaseId, at_desk, warn_of
from runtime.errors import OperationError
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.terminal import note, plain_table, say, show_table, warn
from runtime.text import counted

_MASKS = {"unmasked": "none", "unknown": "?", "masked": "mask"}


def register(app: typer.Typer) -> None:
    """Put the command among those of `sealtrace trace`."""
    app.command(
        epilog="Examples:  sealtrace trace contacts 3f2a91   |   sealtrace trace contacts 3f2a91 "
        "--preset covid-19 --onset 2031-05-01   |   sealtrace trace contacts 3f2a91 --explain 2"
    )(contacts)


def contacts(
    query_id: CaseId,
    *,
    preset: Preset = None,
    onset: Onset = None,
    tested: Tested = None,
    isolated: Isolated = None,
    explain: Annotated[
        list[int] | None,
        typer.Option(metavar="NUMBER", help="Show this person's account line by line."),
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Show where the rules' figures come from.")
    ] = False,
    places: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your copy of the site's register of places, which says what is indoors. Default: "
            "places.csv beside your officer.toml.",
        ),
    ] = None,
    as_json: AsJson = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """List whom the subjects met during confirmed sightings, those to ring first in front.

    A row is a person whom one camera saw near the subject (whom several saw, where the query asked
    for linked contacts); never a name. Each is graded by the case file of the subject (`sealtrace
    subject case`), or by what is given here, which changes no file: weighted minutes by distance,
    masks, and in or outdoors, within the infectious window. What is not known counts as the worst.
    """
    with at_desk(officer, passphrase_file) as (session, keys):
        said = Said(
            preset or "",
            _day(onset, "--onset"),
            _day(tested, "--tested"),
            _day(isolated, "--isolated"),
        )
        if preset:
            rules_of(preset)  # refused before anything is fetched
        register_of_places = desk.places_for(session.officer, places, tell=session.tell)
        case, key = desk.sealed_to_me(session, query_id), keys.sealing()
        results = desk.open_results(session, case, key, register_of_places)
        warn_of(results)
        report = desk.trace(results)
        listed = graded(
            session.officer, report.traces, results.links, key,
            places=register_of_places, said=said,
        )  # fmt: skip
        if explain:
            _check_numbers(listed, explain)
        if as_json:
            say(json.dumps([graded_values(one) for one in listed], indent=2, ensure_ascii=False))
        else:
            for one in listed:
                _show(one, session.officer, explain or ())
            open_ones = sum(
                item.verdict == UNDECIDED and item.matched for item in results.candidates
            )
            if open_ones:
                undecided = counted(open_ones, "candidate")
                note(f"\nnot decided: {undecided}; whom these met is not listed")
            if sources:
                _show_sources(listed)
        desk.check_receipts(results.receipts)


def _day(text: str | None, what: str) -> date | None:
    return parse_day(text, what=what) if text else None


def _check_numbers(listed: tuple[GradedTrace, ...], numbers: list[int]) -> None:
    known = {met.person.number for one in listed for met in one.contacts}
    unknown = sorted(set(numbers) - known)
    if unknown:
        raise OperationError(
            f"there is no contact {unknown[0]}; without --explain the list shows their numbers"
        )


def _show(one: GradedTrace, officer: desk.Officer, explain: list[int] | tuple[()]) -> None:
    say(f"\n{one.case.shown}: {head_words(one)}")
    if one.rules is None:
        warn(
            "not graded: say by which rules, with --preset or in the case file (`sealtrace subject "
            f"case {one.subject} --preset NAME --onset DAY`; presets: {', '.join(preset_names())})"
        )
    else:
        window = window_words(one.window, zone_of(officer))
        of = one.rules.preset.infectious.onset_of
        say(
            f"by {one.rules.title}; infectious: {window}"
            + ("" if one.window else f" (give the day of {of} with --onset)")
        )
    if one.contacts:
        show_table(contacts_table(one.contacts))
    for met in one.contacts:
        if met.person.number in explain and met.grade is not None:
            say(f"\ncontact {met.person.number}: {met.grade.level}")
            show_table(account_table(met))


def graded_line(one: GradedTrace, query_id: str) -> str:
    """Return for `trace show` how a case's contacts are graded, and where to read it in full."""
    title = "" if one.rules is None else one.rules.title
    return f"{one.case.shown}, by {title}: {head_words(one)} (trace contacts {short_id(query_id)})"


def head_words(one: GradedTrace) -> str:
    """Return how many contacts there are, and how many of each level."""
    count = len(one.contacts)
    if not count:
        return "no contacts"
    head = f"{count} contact{'' if count == 1 else 's'}"
    if one.rules is None:
        return head
    return f"{head}, " + ", ".join(f"{n} {level}" for level, n in one.levels.items() if n)


def contacts_table(contacts: tuple[GradedPerson, ...]) -> Table:
    """Return a table with one row a person."""
    table = plain_table("no.", "grade", "from - to (local)", "for", "nearest", "mask", "where")
    for met in contacts:
        one = met.person
        mask, sure = one.mask
        name = _MASKS[mask.name.lower()]
        cells = (
            f"{one.number}{'*' if one.linked else ''}",
            "-" if met.grade is None else f"{met.grade.level} {met.grade.points:.1f}",
            span_text(one.first_ms, one.last_ms),
            duration_text(one.seconds),
            "?" if one.nearest_m is None else f"{one.nearest_m:.1f} m",
            name if name == "?" else f"{name} {sure:.0%}",
            ", ".join(one.cameras) + (f" = {one.subject}" if one.subject else ""),
        )
        table.add_row(*(Text(cell) for cell in cells))
    if any(met.person.linked for met in contacts):
        table.caption = (
            "* the same person on several cameras, by a comparison that the query asked for"
        )
    return table


def account_table(met: GradedPerson) -> Table:
    """Return a person's account: a row a line, weighted minutes at the right."""
    table = plain_table("what counts", "weighted min")
    table.columns[1].justify = "right"
    for line in () if met.grade is None else met.grade.lines:
        table.add_row(Text(line.words), Text(f"{line.points:.1f}"))
    return table


def _show_sources(listed: tuple[GradedTrace, ...]) -> None:
    used: dict[str, Rules] = {one.rules.digest: one.rules for one in listed if one.rules}
    for rules in used.values():
        say(f"\n{rules.title} ({rules.name}, SHA-256 {rules.digest[:16]})")
        for about, source in rules.sources.items():
            say(f"  {about}: {source}")
