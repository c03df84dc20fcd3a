"""Earlier sightings that a query names in place of photographs: which, of whom, compared by what.

Nothing of a sighting but its name goes into a query; its template stays sealed where it is until
custodians grant its quarter hour (docs/protocol.md, "Queries", "By example").
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from officers.desk.deciding import numbered
from officers.desk.example_names import parse_example
from officers.desk.option_labels import EXAMPLE, EXAMPLE_OF, MODALITY, SUBJECT
from officers.desk.options import FIRST_FORM, form_of
from officers.desk.phrases import phrase
from officers.desk.results import open_results, sealed_to_me
from officers.desk.session import Session
from officers.desk.subjects import DraftInvalid
from protocol import hpke
from protocol.names import SightingName
from protocol.policy import Policy
from protocol.query import MAX_EXAMPLES, MAX_TEMPLATES, Subject


@dataclass(frozen=True, slots=True)
class Shown:
    """Whoever a query looks for by earlier sightings.

    Args:
        examples: the sightings.
        pseudonym, reference: of somebody who has no subject file; empty where there is one.
        document: SHA-256 of that somebody's document of consent; empty if it is not at hand.
        modalities, spaces: what results said that they were compared by; empty if nothing is known.
    """

    examples: tuple[SightingName, ...] = ()
    pseudonym: str = ""
    reference: str = ""
    document: bytes = b""
    modalities: frozenset[str] = frozenset()
    spaces: frozenset[str] = frozenset()

    def subject(self, *, document: bool) -> Subject:
        """Return the subject that has no file.

        Args:
            document: whether the site's machines read which document the consent is.

        Raises:
            DraftInvalid: nobody said who it is, or on what ground.
        """
        for option, text in (("pseudonym", self.pseudonym), ("reference", self.reference)):
            if not 0 < len(text) <= 128 or not text.isprintable():
                raise DraftInvalid(
                    phrase(
                        "--{option} must be a text of 1 to 128 characters: without a subject "
                        "file, say under which pseudonym the example is looked for, and by which "
                        "consent or order",
                        option=option,
                    )
                )
        return Subject(
            self.pseudonym,
            self.reference,
            (),
            examples=self.examples,
            consent_document=self.document if document else b"",
        )

    def thresholds(
        self, asked: float | None, policy: Policy, modalities: Collection[str]
    ) -> dict[str, float]:
        """Return from which score on examples are compared: as asked, else the policy's least.

        In the spaces that are known, else in all for which the policy states one: those in which an
        example was found are none of its clothes if it was found by its face.

        Args:
            modalities: by what they are compared.

        Raises:
            DraftInvalid: it states none, or more than a query has room for.
        """
        floors = policy.floors_of_models
        spaces = (set(modalities) <= self.modalities and self.spaces) or floors.keys()
        if not spaces or len(spaces) > MAX_TEMPLATES:
            raise DraftInvalid(
                phrase(
                    "the policy states a threshold_floor for {count} models, and a query compares "
                    "examples in 1 to {max_templates} of them: name the example by "
                    "{example_of_field}, which knows its model",
                    count=len(spaces),
                    max_templates=MAX_TEMPLATES,
                    example_of_field=EXAMPLE_OF,
                )
            )
        return {space: floors.get(space, -1.0) if asked is None else asked for space in spaces}


def shown_by(
    session: Session,
    examples: Sequence[str],
    results: Sequence[str],
    sealing: hpke.PrivateKey,
    *,
    pseudonym: str = "",
    reference: str = "",
    document: bytes = b"",
) -> Shown:
    """Return whoever is shown by sightings that are named, or are candidates of other queries.

    Args:
        session: an investigator's.
        examples: names, as `officers.desk.example_names` reads them.
        results: each a query's id, or its first digits, and a candidate's number: ``3f2a91:2``.
        sealing: the investigator's key, that opens results.
        pseudonym, reference, document: as in `Shown`; by default those of the candidate.

    Raises:
        DraftInvalid: one names no sighting, or none that can be an example.
        OperationError: the results cannot be had.
    """
    names = [parse_example(text) for text in examples]
    modalities: set[str] = set()
    spaces: set[str] = set()
    for text in results:
        query_id, colon, number = text.partition(":")
        if not colon or not number.isdecimal():
            raise DraftInvalid(
                phrase(
                    "{example_of_field}: {text!r} is not ID:NUMBER, such as 3f2a91:2",
                    example_of_field=EXAMPLE_OF,
                    text=text,
                )
            )
        opened = open_results(session, sealed_to_me(session, query_id), sealing)
        (item,) = numbered(opened, [int(number)])
        found = item.candidate
        if found.name is None or found.episode is None:
            raise DraftInvalid(
                phrase(
                    "candidate {number} of {query_id} was sealed in version 1, which gives no "
                    "examples",
                    number=number,
                    query_id=query_id,
                )
            )
        names.append(found.name)
        modalities.add(found.modality)
        spaces.add(found.model)
        pseudonym = pseudonym or found.subject
        of = {one.pseudonym: one for one in opened.case.query.subjects}[found.subject]
        if not reference:
            reference = of.consent_reference
        if reference == of.consent_reference:
            document = document or of.consent_document
    known = bool(results) and not examples
    return Shown(
        tuple(dict.fromkeys(names)),
        pseudonym,
        reference,
        document,
        frozenset(modalities),
        frozenset(spaces if known else ()),
    )


def check_shown(shown: Shown, files: int, policy: Policy) -> None:
    """Check that a query may name the examples.

    Args:
        shown: what is named.
        files: how many subject files are given.
        policy: under which it is asked.

    Raises:
        DraftInvalid: it may not, or nobody is looked for at all.
    """
    if not shown.examples:
        if not files:
            raise DraftInvalid(
                phrase(
                    "say whom to look for: by {subject_field} FILE, or by an earlier sighting "
                    "with {example_field} or {example_of_field}",
                    subject_field=SUBJECT,
                    example_field=EXAMPLE,
                    example_of_field=EXAMPLE_OF,
                )
            )
        return
    if form_of(policy) == FIRST_FORM:
        raise DraftInvalid(
            phrase(
                "the policy is of the first schema, whose queries name no examples: leave "
                "{example_field} out, or have the site's authority run `sealtrace site policy "
                "upgrade`",
                example_field=EXAMPLE,
            )
        )
    if files > 1:
        raise DraftInvalid(
            phrase(
                "examples are of one subject: give one {subject_field} with them, or none",
                subject_field=SUBJECT,
            )
        )
    if len(shown.examples) > MAX_EXAMPLES:
        raise DraftInvalid(
            phrase(
                "a query names at most {max_examples} examples of a subject",
                max_examples=MAX_EXAMPLES,
            )
        )


def modalities_shown(
    shown: Shown,
    held: Collection[str],
    asked: Sequence[str],
    *,
    legal_basis: str,
    policy: Policy,
) -> tuple[str, ...]:
    """Return by what examples are compared: as asked, else what is known or alone permitted.

    Args:
        held: the modalities of the templates that the subject's file brings.

    Raises:
        DraftInvalid: the policy permits nothing, or it has to be said.
    """
    rule = policy.bases.get(legal_basis)
    permitted = frozenset() if rule is None else rule.modalities
    chosen = set(asked) or (shown.modalities | set(held)) & permitted
    if not chosen and len(permitted) == 1:
        chosen = set(permitted)
    if not chosen:
        raise DraftInvalid(
            phrase(
                "say with {modality_field} by what the example is compared: on the legal basis "
                "'{legal_basis}' the policy permits {permitted}",
                modality_field=MODALITY,
                legal_basis=legal_basis,
                permitted=", ".join(sorted(permitted)) or phrase("nothing"),
            )
        )
    return tuple(sorted(chosen))
