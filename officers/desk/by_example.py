"""Earlier sightings that a query names in place of photographs: which, of whom, compared by what.

Nothing of a sighting but its name goes into a query; its template stays sealed where it is until
custodians grant its quarter hour (docs/protocol.md, "Queries", "By example").
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from officers.desk.deciding import numbered
from officers.desk.example_names import parse_example
from officers.desk.options import FIRST_FORM, form_of
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
        modalities, spaces: what results said that they were compared by; empty if nothing is known.
    """

    examples: tuple[SightingName, ...] = ()
    pseudonym: str = ""
    reference: str = ""
    modalities: frozenset[str] = frozenset()
    spaces: frozenset[str] = frozenset()

    def subject(self) -> Subject:
        """Return the subject that has no file.

        Raises:
            DraftInvalid: nobody said who it is, or on what ground.
        """
        for option, text in (("pseudonym", self.pseudonym), ("reference", self.reference)):
            if not 0 < len(text) <= 128 or not text.isprintable():
                raise DraftInvalid(
                    f"--{option} must be a text of 1 to 128 characters: without a subject file, "
                    "say under which pseudonym the example is looked for, and by which consent or "
                    "order"
                )
        return Subject(self.pseudonym, self.reference, (), examples=self.examples)

    def thresholds(self, asked: float | None, policy: Policy) -> dict[str, float]:
        """Return from which score on examples are compared: as asked, else the policy's least.

        In the spaces that are known, else in all for which the policy states one.

        Raises:
            DraftInvalid: it states none, or more than a query has room for.
        """
        floors = policy.floors_of_models
        spaces = self.spaces or floors.keys()
        if not spaces or len(spaces) > MAX_TEMPLATES:
            raise DraftInvalid(
                f"the policy states a threshold_floor for {len(spaces)} models, and a query "
                f"compares examples in 1 to {MAX_TEMPLATES} of them: name the example by "
                "--example-of, which knows its model"
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
) -> Shown:
    """Return whoever is shown by sightings that are named, or are candidates of other queries.

    Args:
        session: an investigator's.
        examples: names, as `officers.desk.example_names` reads them.
        results: each a query's id, or its first digits, and a candidate's number: ``3f2a91:2``.
        sealing: the investigator's key, that opens results.
        pseudonym, reference: as in `Shown`; by default those of the candidate.

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
            raise DraftInvalid(f"--example-of: {text!r} is not ID:NUMBER, such as 3f2a91:2")
        opened = open_results(session, sealed_to_me(session, query_id), sealing)
        (item,) = numbered(opened, [int(number)])
        found = item.candidate
        if found.name is None or found.episode is None:
            raise DraftInvalid(
                f"candidate {number} of {query_id} was sealed in version 1, which gives no examples"
            )
        names.append(found.name)
        modalities.add(found.modality)
        spaces.add(found.model)
        pseudonym = pseudonym or found.subject
        if not reference:
            of = {one.pseudonym: one.consent_reference for one in opened.case.query.subjects}
            reference = of[found.subject]
    known = bool(results) and not examples
    return Shown(
        tuple(dict.fromkeys(names)),
        pseudonym,
        reference,
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
                "say whom to look for: by --subject FILE, or by an earlier sighting with "
                "--example or --example-of"
            )
        return
    if form_of(policy) == FIRST_FORM:
        raise DraftInvalid(
            "the policy is of the first schema, whose queries name no examples: leave --example "
            "out, or have the site's authority run `sealtrace site policy upgrade`"
        )
    if files > 1:
        raise DraftInvalid("examples are of one subject: give one --subject with them, or none")
    if len(shown.examples) > MAX_EXAMPLES:
        raise DraftInvalid(f"a query names at most {MAX_EXAMPLES} examples of a subject")


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
            f"say with --modality by what the example is compared: on the legal basis "
            f"'{legal_basis}' the policy permits {', '.join(sorted(permitted)) or 'nothing'}"
        )
    return tuple(sorted(chosen))
