"""Drafts of queries, as an investigator leaves them and goes on: sealed, and not checked as yet.

A draft holds what was entered, word for word, so that nothing is lost that does not make a query
yet. It lies in the officer's state folder, sealed to the officer; nobody else hears of it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from officers.desk.officer import Officer
from officers.desk.own_files import (
    OwnFileInvalid,
    delete,
    folder_of,
    read_sealed_json,
    write_sealed_json,
)
from officers.desk.phrases import phrase
from protocol import hpke
from protocol.directory import INVESTIGATOR
from protocol.policy import CONSENT
from runtime.clock import system_ms
from runtime.errors import OperationError

DRAFTS_FOLDER = "drafts"
MOST_DRAFTS = 200
_SUFFIX, _PURPOSE, _SCHEMA = ".draft", "query-draft/1", 1
_ID = re.compile(r"[0-9a-f]{16}")
_MOST_TEXT, _MOST_NAMES = 4_000, 70_000


class DraftNotFound(OperationError):
    """There is no such draft (any more), or no room for another."""


@dataclass(frozen=True, slots=True)
class SavedDraft:
    """What was entered so far; texts are as they were typed.

    Args:
        id: names it in addresses.
        case: which of the usual cases it began as; empty: none.
        patients: pseudonyms of enrolled patients.
        examples: earlier sightings by whose clothes is looked, each a query's id and the number of
            a candidate: ``3f2a…:2``.
        from_day, from_time, to_day, to_time: of the site's zone: ``2031-05-04``, ``10:00``.
        contacts: none, near or linked; empty: not chosen yet.
        counts: whether people are counted: empty, ``always``, or ``after`` a confirmed hit.
        stills: of how many sightings a picture is asked for.
        valid_days, max_candidates: empty: as usual.
    """

    id: str
    changed_ms: int
    case: str = ""
    patients: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    from_day: str = ""
    from_time: str = ""
    to_day: str = ""
    to_time: str = ""
    live: bool = False
    purpose_kind: str = ""
    purpose: str = ""
    legal_basis: str = CONSENT
    confirmers: tuple[str, ...] = ()
    contacts: str = ""
    continuation: bool = False
    counts: str = ""
    afterwards: str = ""
    stills: str = ""
    valid_days: str = ""
    max_candidates: str = ""
    examples: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """The patients, or the sightings in their place, for a line in a list."""
        return ", ".join(self.patients or self.examples)


def new_draft(officer: Officer, **entered: Any) -> SavedDraft:
    """Make a draft and keep it.

    Args:
        entered: fields that are known already.

    Raises:
        OfficerError: the officer is no investigator.
        DraftNotFound: there are too many already.
        FileProblem: it cannot be kept.
    """
    officer.require(INVESTIGATOR)
    if len(_kept(officer)) >= MOST_DRAFTS:
        raise DraftNotFound(
            phrase("There are {most} drafts here. Discard some first.", most=MOST_DRAFTS)
        )
    return save(officer, SavedDraft(secrets.token_hex(8), 0, **entered))


def save(officer: Officer, draft: SavedDraft) -> SavedDraft:
    """Keep a draft, and return it with the moment of that.

    Raises:
        OfficerError: nothing can be sealed to the officer.
        DraftNotFound: more was entered than a draft has room for.
        FileProblem: it cannot be kept.
    """
    kept = replace(draft, changed_ms=system_ms())
    texts = [value for value in _values(kept).values() if isinstance(value, str)]
    names = (*kept.patients, *kept.cameras, *kept.confirmers, *kept.examples)
    if any(len(text) > _MOST_TEXT for text in (*texts, *names)) or len(names) > _MOST_NAMES:
        raise DraftNotFound(phrase("A text is too long; say it in fewer words."))
    path = _path(officer, kept.id)
    value = {"schema": _SCHEMA, **_values(kept)}
    write_sealed_json(officer, path, value, _PURPOSE, kept.id)
    return kept


def read_draft(officer: Officer, draft_id: str, key: hpke.PrivateKey) -> SavedDraft:
    """Open a draft.

    Raises:
        DraftNotFound: there is none.
        OwnFileInvalid: it does not open, or is of a version to come.
    """
    if not _ID.fullmatch(draft_id) or not (path := _path(officer, draft_id)).exists():
        raise DraftNotFound(
            phrase("This draft is not here any more: it was filed, or discarded in another window.")
        )
    value = read_sealed_json(
        officer, path, key, _PURPOSE, draft_id, schema=_SCHEMA, most_bytes=16 << 20
    )
    try:
        return _from_values(value, draft_id)
    except (KeyError, TypeError, ValueError) as error:
        raise OwnFileInvalid(phrase("{file} cannot be read", file=path.name)) from error


def drafts(officer: Officer, key: hpke.PrivateKey) -> tuple[SavedDraft, ...]:
    """Return all drafts that open, the newest first."""
    found = []
    for path in _kept(officer):
        with suppress(OperationError):
            found.append(read_draft(officer, path.stem, key))
    return tuple(sorted(found, key=lambda one: -one.changed_ms))


def discard(officer: Officer, draft_id: str) -> None:
    """Delete a draft; one that is not there is no trouble.

    Raises:
        FileProblem: it cannot be deleted.
    """
    if _ID.fullmatch(draft_id):
        delete(_path(officer, draft_id))


def one_each(officer: Officer, draft: SavedDraft) -> tuple[SavedDraft, ...]:
    """Make a draft for each of a draft's patients, all else alike, in place of it.

    Raises:
        DraftNotFound: there would be too many.
        FileProblem: one cannot be kept.
    """
    if len(draft.patients) < 2:
        return (draft,)
    entered = {
        name: value for name, value in _values(draft).items() if name not in {"id", "changed_ms"}
    }
    made = tuple(
        new_draft(officer, **(_typed(entered) | {"patients": (name,)})) for name in draft.patients
    )
    discard(officer, draft.id)
    return made


def _values(draft: SavedDraft) -> dict[str, Any]:
    return {
        one.name: list(value) if isinstance(value := getattr(draft, one.name), tuple) else value
        for one in fields(draft)
    }


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _from_values(value: Mapping[str, Any], draft_id: str) -> SavedDraft:
    """Read a draft; what an earlier version did not know has its default."""
    kinds: dict[str, Callable[[Any], bool]] = {
        "str": lambda it: isinstance(it, str),
        "int": lambda it: type(it) is int,
        "bool": lambda it: isinstance(it, bool),
        "tuple[str, ...]": lambda it: (
            isinstance(it, list) and all(isinstance(one, str) for one in it)
        ),
    }
    found: dict[str, Any] = {}
    for one in fields(SavedDraft):
        if one.name not in value:
            continue
        if not kinds[str(one.type)](value[one.name]):
            raise TypeError(one.name)
        found[one.name] = value[one.name]
    draft = SavedDraft(**_typed(found))
    if draft.id != draft_id:
        raise ValueError("it is another draft")
    return draft


def _path(officer: Officer, draft_id: str) -> Path:
    return folder_of(officer, DRAFTS_FOLDER) / f"{draft_id}{_SUFFIX}"


def _kept(officer: Officer) -> list[Path]:
    folder = officer.config.state_dir / DRAFTS_FOLDER
    return sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
