"""What an investigator keeps of a person's illness: sealed to them, on their own machine alone.

A case file goes nowhere: neither into a query nor to the aggregator. It lies in the folder of the
officer's state, a file a pseudonym, sealed with the officer's sealing key; it says what people call
the case, by which preset contacts are graded, and the days that the infectious window counts from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, tzinfo
from pathlib import Path
from typing import Any

from officers.desk.grading import Clinical
from officers.desk.grading_rules import Rules, rules_of
from officers.desk.moments import to_milliseconds
from officers.desk.officer import Officer, OfficerError
from officers.desk.phrases import phrase
from protocol import hpke
from protocol.directory import INVESTIGATOR
from protocol.errors import MalformedMessage, ProtocolError
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, private_folder, read_file
from runtime.lookalikes import checked_name, skeleton
from runtime.subject_files import require_pseudonym
from runtime.zones import site_zone

CASES_FOLDER = "cases"
CASE_SUFFIX = ".case"
_SCHEMA = 1
_PURPOSE = "case-file/1"
_MAX_BYTES = 1 << 16
_MOST_YEARS_APART = 3
_FIRST_YEAR, _LAST_YEAR = 2000, 2200
_DAYS = ("onset", "tested", "isolated")
_KEYS = {"schema", "pseudonym", "name", "preset", *_DAYS}


class CaseFileInvalid(OperationError):
    """A case file does not open, or what is to be written into it makes none."""


@dataclass(frozen=True, slots=True)
class CaseFile:
    """What is known of a person besides the query.

    Args:
        pseudonym: as in subject files and queries.
        name: what people call the case, in any script; empty if nothing is said.
        preset: by which contacts are graded; a name or an absolute path, or empty.
        onset, tested, isolated: days, of the site's zone.
    """

    pseudonym: str
    name: str = ""
    preset: str = ""
    onset: date | None = None
    tested: date | None = None
    isolated: date | None = None

    @property
    def shown(self) -> str:
        """The pseudonym, with the name where there is one."""
        return f"{self.pseudonym} ({self.name})" if self.name else self.pseudonym

    def rules(self) -> Rules | None:
        """Return the rules of its preset; None if it names none.

        Raises:
            PresetInvalid: the preset cannot be used.
        """
        return rules_of(self.preset) if self.preset else None

    def clinical(self, zone: tzinfo) -> Clinical | None:
        """Return what grading reads of it; None if it names no preset."""
        if not self.preset:
            return None
        onset, tested, isolated = (
            None if day is None else to_milliseconds(datetime.combine(day, time(), zone))
            for day in (self.onset, self.tested, self.isolated)
        )
        return Clinical(self.preset, onset, tested, isolated, zone)


def parse_day(text: str, *, what: str) -> date:
    """Return the day that ``2031-05-01`` names.

    Raises:
        CaseFileInvalid: it names none.
    """
    try:
        day = date.fromisoformat(text.strip())
    except ValueError as error:
        raise CaseFileInvalid(
            phrase(
                "{what} {text!r} is not a day; write it as 2031-05-01",
                what=what,
                text=text,
            )
        ) from error
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise CaseFileInvalid(
            phrase(
                "{what} {day} is of no year that counts; write it as 2031-05-01",
                what=what,
                day=day,
            )
        )
    return day


def zone_of(officer: Officer) -> tzinfo:
    """Return the zone in which the officer's days are days: the site's, else this machine's."""
    return site_zone(officer.config.time_zone)


def window_words(window: tuple[int, int] | None, zone: tzinfo) -> str:
    """Return an infectious window as its first and last day: ``2031-04-29 to 2031-05-11``."""
    if window is None:
        return "not known"
    first, last = (datetime.fromtimestamp(at / 1000, zone) for at in (window[0], window[1] - 1))
    return phrase("{first} to {last}, both days whole", first=first.date(), last=last.date())


def checked(case: CaseFile, *, today: date) -> CaseFile:
    """Return a case file as it may be written: its name in normal form, its preset one that works.

    Raises:
        CaseFileInvalid: a day lies ahead, or before the others by years, or the name is no name.
        PresetInvalid: the preset cannot be used.
    """
    require_pseudonym(case.pseudonym)
    name = case.name
    if name:
        try:
            name = checked_name(name, what="--name")
        except MalformedMessage as error:
            raise CaseFileInvalid(str(error)) from error
    preset = case.preset
    if preset:
        own = rules_of(preset).own
        preset = str(Path(preset).absolute()) if own else preset
    for what in ("onset", "tested"):
        day = getattr(case, what)
        if day is not None and day > today:
            raise CaseFileInvalid(
                phrase(
                    "--{what} {day} lies ahead; check the year",
                    what=what,
                    day=day,
                )
            )
    days = [day for day in (case.onset, case.tested, case.isolated) if day is not None]
    if days and (max(days) - min(days)).days > 366 * _MOST_YEARS_APART:
        raise CaseFileInvalid(
            phrase(
                "{first} and {last} lie years apart and cannot be of one illness; check them",
                first=min(days),
                last=max(days),
            )
        )
    return replace(case, name=name, preset=preset)


def read_case(officer: Officer, pseudonym: str, key: hpke.PrivateKey) -> CaseFile | None:
    """Return the case file of a pseudonym; None if there is none.

    Args:
        key: the investigator's, that opens it.

    Raises:
        CaseFileInvalid: it does not open, or is of a version to come.
        FileProblem: it cannot be read.
    """
    path = case_path(officer, pseudonym)
    if not path.exists():
        return None
    sealed = read_file(path, _MAX_BYTES)
    try:
        opened = key.open(sealed, purpose=_PURPOSE, context=[officer.name, pseudonym])
        value = parse_json(opened)
    except (ProtocolError, ValueError) as error:
        raise CaseFileInvalid(
            phrase(
                "{path} does not open with your sealing key: it was sealed under an earlier one, "
                "or has been altered ({error}). Write it anew: `sealtrace subject case "
                "{pseudonym} --forget`, then say what you know again",
                path=path,
                error=error,
                pseudonym=pseudonym,
            )
        ) from error
    try:
        return _from_value(value, pseudonym)
    except (ValueError, TypeError, KeyError) as error:
        raise CaseFileInvalid(
            phrase(
                "{path} cannot be read: {error}",
                path=path,
                error=error,
            )
        ) from error


def named_alike(officer: Officer, case: CaseFile, key: hpke.PrivateKey) -> list[str]:
    """Return the other cases whose names readers would take for this one's, as they are shown.

    Files that do not open are passed by: they say so when they are asked for.
    """
    found = []
    for pseudonym in kept_cases(officer) if case.name else ():
        try:
            other = read_case(officer, pseudonym, key)
        except OperationError:
            continue
        if other is None or pseudonym == case.pseudonym or not other.name:
            continue
        if skeleton(other.name) == skeleton(case.name):
            found.append(other.shown)
    return found


def write_case(officer: Officer, case: CaseFile) -> bool:
    """Seal a case file to the officer and keep it; tell whether it is the first of its pseudonym.

    Raises:
        OfficerError: the officer is no investigator, or has no sealing key.
        FileProblem: it cannot be written.
    """
    listed = officer.require(INVESTIGATOR)
    if listed.seal_key is None:
        raise OfficerError(
            phrase(
                "the site's directory lists no sealing key of yours, so nothing can be sealed to "
                "you"
            )
        )
    path = case_path(officer, case.pseudonym)
    first = not path.exists()
    private_folder(officer.config.state_dir)
    private_folder(path.parent)
    text = json.dumps(_to_value(case), ensure_ascii=False).encode()
    context: list[object] = [officer.name, case.pseudonym]
    sealed = listed.seal_key.seal(text, purpose=_PURPOSE, context=context)
    atomic_write(path, sealed, 0o600)
    return first


def forget_case(officer: Officer, pseudonym: str) -> bool:
    """Delete the case file of a pseudonym; tell whether there was one.

    Raises:
        FileProblem: it cannot be deleted.
    """
    path = case_path(officer, pseudonym)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FileProblem(
            phrase(
                "cannot delete {path}: {strerror}",
                path=path,
                strerror=error.strerror,
            )
        ) from error
    return True


def case_path(officer: Officer, pseudonym: str) -> Path:
    """Return where the case file of a pseudonym lies.

    Raises:
        SubjectFileInvalid: that is no pseudonym.
    """
    name = require_pseudonym(pseudonym)
    return officer.config.state_dir / CASES_FOLDER / f"{name}{CASE_SUFFIX}"


def kept_cases(officer: Officer) -> list[str]:
    """Return the pseudonyms that have a case file here, sorted."""
    folder = officer.config.state_dir / CASES_FOLDER
    return sorted(path.stem for path in folder.glob(f"*{CASE_SUFFIX}")) if folder.is_dir() else []


def _to_value(case: CaseFile) -> dict[str, Any]:
    days = {what: getattr(case, what) for what in _DAYS}
    return {
        "schema": _SCHEMA,
        "pseudonym": case.pseudonym,
        "name": case.name,
        "preset": case.preset,
        **{what: None if day is None else day.isoformat() for what, day in days.items()},
    }


def _from_value(value: object, pseudonym: str) -> CaseFile:
    if not isinstance(value, Mapping) or value.get("schema") != _SCHEMA:
        schema = value.get("schema") if isinstance(value, Mapping) else None
        raise ValueError(
            f"it is of schema {schema!r}, and this program reads {_SCHEMA}: it needs its update"
        )
    if set(value) != _KEYS or value["pseudonym"] != pseudonym:
        raise ValueError("it does not say what a case file says")
    name, preset = value["name"], value["preset"]
    if not isinstance(name, str) or not isinstance(preset, str):
        raise TypeError("its name or preset is no text")
    days = {
        what: None if value[what] is None else date.fromisoformat(value[what]) for what in _DAYS
    }
    return CaseFile(pseudonym, name, preset, **days)
