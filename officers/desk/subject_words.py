"""The sentences of whom a query looks for, by what, and who stands behind it."""

from __future__ import annotations

from officers.desk.by_words import words_note
from officers.desk.example_names import example_text
from officers.desk.modality_words import HELD
from officers.desk.phrases import Phrase, listed, moment, nphrase, phrase, span, together
from officers.desk.query_words import kinds_words
from protocol.directory import Directory
from protocol.enrolment import check_witnessed
from protocol.errors import ProtocolError
from protocol.names import SLOT_MS, SightingName, slot_start_ms
from protocol.query import Query, Subject


def looks_for_words(subject: Subject) -> Phrase:
    """Return who is looked for, on what ground, by how many templates or earlier sightings."""
    held = listed(
        (phrase(HELD.get(one, one)) for one in sorted({t.modality for t in subject.templates})), ""
    )
    count, examples = len(subject.templates), len(subject.examples)
    brought = []
    if count:
        # Not by number: languages with one form for all numbers need both sentences.
        brought.append(
            phrase("1 {kind} template", kind=held)
            if count == 1
            else phrase(
                "{count} {kind} templates (of one person by the word of the asker's program and of "
                "the matcher: nobody else sees them)",
                count=count,
                kind=held,
            )
        )
    if examples:
        brought.append(
            nphrase(
                "{n} earlier sighting in place of photographs",
                "{n} earlier sightings in place of photographs",
                examples,
            )
        )
    return phrase(
        "{subject}, consent or order {reference}, {brought}",
        subject=subject.pseudonym,
        reference=subject.consent_reference,
        brought=listed(brought, ""),
    )


def by_words_words(subject: Subject) -> Phrase:
    """Return what clothes are looked for, and whose word it is."""
    return phrase(
        "{subject}: {note} (its template was made of these words by the asker's program)",
        subject=subject.pseudonym,
        note=words_note(subject),
    )


def example_words(example: SightingName, query: Query) -> Phrase:
    """Return which sighting stands in for photographs, and what becomes of its template."""
    begins_ms = slot_start_ms(example.epoch, example.slot)
    words = phrase(
        "{camera}, {when}: the {kinds} of the sighting there, for the matching process alone, once "
        "that quarter hour is opened",
        camera=example.camera,
        when=span(begins_ms, begins_ms + SLOT_MS),
        kinds=kinds_words(query),
    )
    return together([words, phrase("({name})", name=example_text(example))])


def witness_words(subject: Subject, requester: str, directory: Directory, now_ms: int) -> Phrase:
    """Return who stands behind whose photographs they were."""
    name = subject.pseudonym
    if not subject.witnessed:
        if subject.words:
            return phrase(
                "{subject}: by nobody: that the template is of these words is {requester}'s word "
                "alone",
                subject=name,
                requester=requester,
            )
        if subject.templates:
            return phrase(
                "{subject}: by nobody: that the photographs are {subject}'s is {requester}'s word "
                "alone",
                subject=name,
                requester=requester,
            )
        return phrase(
            "{subject}: by nobody: that the earlier sightings are {subject}'s is {requester}'s "
            "word alone",
            subject=name,
            requester=requester,
        )
    try:
        said, witness = check_witnessed(
            subject, requester=requester, directory=directory, now_ms=now_ms
        )
    except ProtocolError as error:
        return phrase("{subject}: by nobody that counts: {error}", subject=name, error=error)
    return phrase(
        "{subject}: by {witness}, {when}, over the document whose SHA-256 is {digest}",
        subject=name,
        witness=witness,
        when=moment(said.witnessed_at_ms),
        digest=said.consent_document.hex(),
    )
