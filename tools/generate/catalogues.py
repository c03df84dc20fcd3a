"""Bring the catalogues of the officers' words up to date with the code, and compile them.

    python -m tools.generate.catalogues [DOMAIN...]

Three kinds of domain: ``officers`` (reports: `Words.text`, `marked`), ``desk`` (phrases of the use
cases: `phrase`, `nphrase`, `marked`, labels of `option`), and ``pages-SECTION`` for each section of
the desk's pages (templates, and `here.text`, `here.ntext`). Extracts their messages, merges them
into each `.po` (new ones are empty, those that nobody says any more go), and writes the `.mo`
beside it. Exit code 1 names messages that a language lacks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from officers.desk.phrases import DOMAIN as DESK
from officers.desk.report.words import DOMAIN as REPORTS
from officers.desk.report.words import ENGLISH, LANGUAGES
from officers.pages.sections import NAMES
from officers.pages.words import FRAME, domain_of

ROOT = Path(__file__).resolve().parents[2]
LOCALE = ROOT / "officers" / "locale"
_WIDTH = 98
_NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)
"""In the heads of catalogues, so that the same messages make the same file."""
_TEMPLATE_OPTIONS = {"newstyle_gettext": "true", "trimmed": "false", "silent": "false"}
Keywords = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Domain:
    """Messages that are kept together.

    Args:
        name: of its files.
        code: patterns of Python files and templates, from the root.
        keywords: functions that take messages; which arguments, where not the first alone.
        without: patterns of files among them that belong elsewhere.
    """

    name: str
    code: tuple[str, ...]
    keywords: Keywords
    without: tuple[str, ...] = ()

    def files(self) -> Iterator[Path]:
        """Yield the files that its messages are in."""
        for pattern in self.code:
            for path in sorted(ROOT.glob(pattern)):
                inside = path.relative_to(ROOT).as_posix()
                if not any(fnmatch(inside, other) for other in self.without):
                    yield path


_OF_PAGES: Keywords = {
    "_": None,
    "gettext": None,
    "ngettext": (1, 2),
    "text": None,
    "ntext": (1, 2),
    "marked": None,
}


def domains() -> list[Domain]:
    """Return all domains; of pages, those whose section is there."""
    found = [
        Domain(REPORTS, ("officers/desk/report/**/*.py",), {"text": None, "marked": None}),
        Domain(
            DESK,
            ("officers/desk/**/*.py", "officers/pages/**/*.py", "runtime/*.py"),
            {"phrase": None, "nphrase": (1, 2), "marked": None, "option": (2,)},
            without=("officers/desk/report/*",),
        ),
    ]
    for section in NAMES:
        folder = f"officers/pages/{section}"
        if (ROOT / folder).is_dir():
            code = (f"{folder}/**/*.py", f"{folder}/templates/**/*.html")
            around = ("officers/pages/*.py",) if section == FRAME else ()
            found.append(Domain(domain_of(section), (*code, *around), _OF_PAGES))
    return found


def template(domain: Domain) -> Catalog:
    """Return the messages that the code says."""
    catalogue = Catalog(domain=domain.name, charset="utf-8")
    for path in domain.files():
        drawn = path.suffix == ".html"
        found = extract_from_file(
            "jinja2.ext:babel_extract" if drawn else "python",
            str(path),
            keywords=domain.keywords,
            comment_tags=("Translators:",),
            options=_TEMPLATE_OPTIONS if drawn else None,
        )
        where = [(path.relative_to(ROOT).as_posix(), 0)]
        for _, message, comments, _ in found:
            if message:
                catalogue.add(message, locations=where, auto_comments=comments)
    return catalogue


def catalogues(domain: Domain) -> list[Path]:
    """Return where the `.po` file of each language is, or would be."""
    return [
        LOCALE / language / "LC_MESSAGES" / f"{domain.name}.po"
        for language in LANGUAGES
        if language != ENGLISH
    ]


def updated(path: Path, domain: Domain) -> Catalog:
    """Return a language's catalogue with the messages of the code."""
    language = path.parents[1].name
    if path.exists():
        with path.open("rb") as file:
            catalogue = read_po(file, locale=language, domain=domain.name)
    else:
        catalogue = _new(language, domain)
    catalogue.update(template(domain), no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    catalogue.creation_date = catalogue.revision_date = _NO_DATE
    catalogue.last_translator = catalogue.language_team = catalogue.msgid_bugs_address = "Sealtrace"
    return catalogue


def _new(language: str, domain: Domain) -> Catalog:
    about = f"# Words of the domain {domain.name} in {language}."
    return Catalog(
        language, domain.name, header_comment=about, project="Sealtrace", version="1", fuzzy=False
    )


def lacking(catalogue: Catalog) -> list[str]:
    """Return the messages that a language does not say."""
    return sorted(spoken(one)[0] for one in catalogue if one.id and not _is_said(one))


def spoken(message: Message) -> Sequence[str]:
    """Return the English of a message: one sentence, or singular and plural."""
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def said(message: Message) -> Sequence[str]:
    """Return what a language says for a message, in each of its plural forms."""
    words = message.string or ()
    return (words,) if isinstance(words, str) else tuple(words)


def _is_said(message: Message) -> bool:
    return bool(said(message)) and all(said(message)) and not message.fuzzy


def compiled(catalogue: Catalog) -> bytes:
    """Return a catalogue as gettext reads it."""
    data = BytesIO()
    write_mo(data, catalogue)
    return data.getvalue()


def written(catalogue: Catalog) -> bytes:
    """Return a catalogue as people edit it."""
    data = BytesIO()
    write_po(data, catalogue, width=_WIDTH, sort_output=True, include_lineno=False)
    return data.getvalue()


def main(names: Iterable[str] = ()) -> int:
    """Write the catalogues of some domains, or of all; return 1 if one lacks something."""
    wanted = set(names)
    if unknown := wanted - {one.name for one in domains()}:
        known = ", ".join(one.name for one in domains())
        sys.stderr.write(f"no such domain: {', '.join(sorted(unknown))}; there are {known}\n")
        return 2
    lacks = False
    for domain in domains():
        if wanted and domain.name not in wanted:
            continue
        for path in catalogues(domain):
            catalogue = updated(path, domain)
            if not any(one.id for one in catalogue):
                continue
            path.write_bytes(written(catalogue))
            path.with_suffix(".mo").write_bytes(compiled(catalogue))
            for message in lacking(catalogue):
                sys.stderr.write(f"{path.relative_to(ROOT)}: nothing is said for {message!r}\n")
                lacks = True
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
