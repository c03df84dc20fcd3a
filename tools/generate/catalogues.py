"""Bring the catalogues of the officers' words up to date with the code, and compile them.

    python -m tools.generate.catalogues

Extracts messages of `Words.text` and `marked`, merges them into each `.po` (new ones are empty,
those that nobody says any more go), and writes the `.mo` beside it. Exit code 1 names messages that
a language lacks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / "officers" / "desk" / "report"
LOCALE = ROOT / "officers" / "locale"
DOMAIN = "officers"
_KEYWORDS = {"text": None, "marked": None}
_WIDTH = 98
_NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)
"""In the heads of catalogues, so that the same messages make the same file."""


def template() -> Catalog:
    """Return the messages that the code says."""
    catalogue = Catalog(domain=DOMAIN, charset="utf-8")
    found = extract_from_dir(
        str(CODE), [("**.py", "python")], keywords=_KEYWORDS, comment_tags=("Translators:",)
    )
    for file, _, message, comments, _ in sorted(found, key=lambda one: (one[0], one[1])):
        where = [(f"{CODE.relative_to(ROOT).as_posix()}/{file}", 0)]
        catalogue.add(message, locations=where, auto_comments=comments)
    return catalogue


def catalogues() -> Iterator[Path]:
    """Yield the `.po` file of each language."""
    yield from sorted(LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def updated(path: Path) -> Catalog:
    """Return a language's catalogue with the messages of the code."""
    with path.open("rb") as file:
        catalogue = read_po(file, locale=path.parents[1].name, domain=DOMAIN)
    catalogue.update(template(), no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    catalogue.creation_date = catalogue.revision_date = _NO_DATE
    catalogue.last_translator = catalogue.language_team = catalogue.msgid_bugs_address = "Sealtrace"
    return catalogue


def lacking(catalogue: Catalog) -> list[str]:
    """Return the messages that a language does not say."""
    return sorted(str(one.id) for one in catalogue if one.id and (not one.string or one.fuzzy))


def compiled(catalogue: Catalog) -> bytes:
    """Return a catalogue as gettext reads it."""
    data = BytesIO()
    write_mo(data, catalogue)
    return data.getvalue()


def main() -> int:
    """Write all catalogues; return 1 if one lacks something."""
    lacks = False
    for path in catalogues():
        catalogue = updated(path)
        with path.open("wb") as file:
            write_po(file, catalogue, width=_WIDTH, sort_output=True, include_lineno=False)
        path.with_suffix(".mo").write_bytes(compiled(catalogue))
        for message in lacking(catalogue):
            sys.stderr.write(f"{path.relative_to(ROOT)}: nothing is said for {message!r}\n")
            lacks = True
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main())
