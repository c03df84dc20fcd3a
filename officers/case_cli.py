"""`sealtrace subject case`: what an investigator keeps of a person's illness, sealed to them."""

from __future__ import annotations

import json
from datetime import date, datetime, tzinfo
from typing import Annotated

import typer

from officers import desk
from officers.desk.case_files import (
    CaseFile,
    case_path,
    checked,
    forget_case,
    named_alike,
    parse_day,
    read_case,
    window_words,
    write_case,
    zone_of,
)
from officers.desk.grading_rules import preset_names
from officers.keyboard import AsJson, Keyring, show_facts
from runtime.errors import OperationError
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.subject_files import SUBJECT_SUFFIX
from runtime.terminal import reported, say, warn

app = typer.Typer(no_args_is_help=True)
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help=f"By which rules contacts are graded: {', '.join(preset_names())}, or a file of your "
        "own.",
    ),
]
Onset = Annotated[
    str | None,
    typer.Option(metavar="DAY", help="The day on which it began (of what, the preset says)."),
]
Tested = Annotated[
    str | None,
    typer.Option(metavar="DAY", help="The day of the specimen; counts where there is no onset."),
]
Isolated = Annotated[
    str | None, typer.Option(metavar="DAY", help="The last day on which they met anybody.")
]


@app.command(
    epilog="Examples:  sealtrace subject case patient-17 --name '김 환자' --preset measles "
    "--onset 2031-05-01   |   sealtrace subject case patient-17"
)
def case(
    pseudonym: Annotated[str, typer.Argument(help="As enrolled; or the subject file.")],
    *,
    name: Annotated[
        str | None, typer.Option(help="What people call the case, in any script. Sealed.")
    ] = None,
    preset: Preset = None,
    onset: Onset = None,
    tested: Tested = None,
    isolated: Isolated = None,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the case file.")] = False,
    as_json: AsJson = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what you keep of a case, or change it: what is named is changed, the rest stays.

    The file is sealed to you and stays on this machine: no query and no other officer carries it.
    Contacts are graded by it (`sealtrace trace contacts`), and a query's days can be (`sealtrace
    query file --infectious`). Days are the site's; an empty text ('') takes one out again.
    """
    with reported():
        me = desk.Officer.load(officer)
        known_as = pseudonym.rsplit("/", 1)[-1].removesuffix(SUBJECT_SUFFIX)
        given = (name, preset, onset, tested, isolated)
        if forget:
            if any(one is not None for one in given):
                raise OperationError("--forget deletes the whole case file: give nothing with it")
            gone = forget_case(me, known_as)
            say(f"{known_as}: {'the case file is deleted' if gone else 'there is no case file'}")
            return
        key = Keyring(me, passphrase_file).sealing()
        kept = read_case(me, known_as, key)
        if all(one is None for one in given):
            if kept is None:
                raise OperationError(
                    f"there is no case file of '{known_as}'; make one with --onset DAY --preset "
                    f"NAME (presets: {', '.join(preset_names())})"
                )
            _show(me, kept, as_json=as_json)
            return
        old = kept or CaseFile(known_as)
        wanted = CaseFile(
            known_as,
            old.name if name is None else name,
            old.preset if preset is None else preset,
            _day(onset, old.onset, "--onset"),
            _day(tested, old.tested, "--tested"),
            _day(isolated, old.isolated, "--isolated"),
        )
        wanted = checked(wanted, today=datetime.now(zone_of(me)).date())
        if wanted != kept:
            write_case(me, wanted)
        for other in named_alike(me, wanted, key):
            warn(f"{other} has a name that reads like this one: tell them apart by the pseudonym")
        _show(me, wanted, as_json=as_json)
        if not as_json:
            word = "as it was" if wanted == kept else "sealed to you"
            say(f"\n{case_path(me, known_as)}: {word}")


def _day(text: str | None, kept: date | None, what: str) -> date | None:
    """Return the day that was given, none for an empty text, else the one that is kept."""
    if text is None:
        return kept
    return parse_day(text, what=what) if text else None


def _show(me: desk.Officer, kept: CaseFile, *, as_json: bool) -> None:
    rules, zone = kept.rules(), zone_of(me)
    clinical = kept.clinical(zone)
    window = None if clinical is None else clinical.infectious_window(rules)
    days = {"onset": kept.onset, "tested": kept.tested, "isolated": kept.isolated}
    if as_json:
        values = {
            "pseudonym": kept.pseudonym,
            "name": kept.name or None,
            "preset": kept.preset or None,
            **{what: None if day is None else day.isoformat() for what, day in days.items()},
            "infectious_window_ms": None if window is None else list(window),
        }
        say(json.dumps(values, indent=2, ensure_ascii=False))
        return
    facts = [desk.Fact("case", kept.shown)]
    if rules is not None:
        facts.append(desk.Fact("graded by", f"{rules.title} ({kept.preset})"))
        facts.append(desk.Fact("onset of", rules.preset.infectious.onset_of))
    facts += [desk.Fact(what, str(day)) for what, day in days.items() if day is not None]
    facts.append(desk.Fact("infectious", _infectious(kept, window, zone)))
    show_facts(facts)


def _infectious(kept: CaseFile, window: tuple[int, int] | None, zone: tzinfo) -> str:
    if window is not None:
        return window_words(window, zone)
    if not kept.preset:
        return "not known: give --preset"
    if kept.onset is None and kept.tested is None:
        return "not known: give --onset"
    if kept.onset is None:
        return "not known: this preset counts from no test; give --onset"
    return "never: isolated before it would begin"
