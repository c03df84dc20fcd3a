"""The policy file: TOML that officers read and the authority signs, made from the site's values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from protocol.policy import SCHEMA
from provisioning.formats.plan_policy import PolicyPlan
from runtime import tomltext
from runtime.bundle import Bundle

POLICY_SCHEMA_OF_NEW_SITES = SCHEMA
"""What a policy of version 1 permitted without saying so is said in those of new sites."""
OF_SECOND_SCHEMA = (
    "purposes",
    "live",
    "contacts",
    "continuation",
    "continuation_minutes",
    "continuation_cameras",
    "same_place_counts",
    "evidence_stills",
    "evidence_export",
    "confirmations",
    "enrolment_without_witness",
    "consent_documents",
    "cover",
    "cover_interval_s",
    "outside_witnesses",
    "expected_false",
    "option_approvals",
)
"""Keys of `PolicyPlan`, and of ``policy.toml``, that policies of the first schema do not have."""
_BASIS_NOTES = {
    "consent": "The person (or who may speak for them) has consented, and the record is named.",
    "statutory-order": "An order under law. Without consent no face template may be compared.",
}


def floors_of(bundle: Bundle) -> dict[str, float]:
    """Return the floors of a bundle's models: the thresholds that it recommends."""
    return {
        entry.model_id: entry.threshold
        for entry in bundle.manifest.models
        if entry.dimension and entry.threshold is not None
    }


def schema_of(plan: PolicyPlan) -> int:
    """Return the schema of a new site's policy: the second, too, if the first could not say it."""
    default = PolicyPlan()
    if any(getattr(plan, key) != getattr(default, key) for key in OF_SECOND_SCHEMA):
        return SCHEMA
    return POLICY_SCHEMA_OF_NEW_SITES


def policy_text(
    site: str,
    plan: PolicyPlan,
    *,
    version: int = 1,
    schema: int | None = None,
    default_floors: Mapping[str, float] | None = None,
) -> bytes:
    """Return the commented ``policy.toml`` of ``site``.

    Args:
        schema: of the file; 1 leaves out what that schema cannot say. Default: `schema_of`.
        default_floors: floors of models for which ``plan`` states none.
    """
    of_schema_2 = (schema or schema_of(plan)) > 1
    ends = plan.programme_ends.astimezone(UTC)
    floors = "".join(
        f"{tomltext.key(model)} = {tomltext.value(score)}\n"
        for model, score in sorted({**(default_floors or {}), **plan.threshold_floor}.items())
    )
    bases = "\n".join(
        f"# {_BASIS_NOTES[name]}\n[legal_basis.{name}]\n"
        f"modalities = {tomltext.value(sorted(rule.modalities))}\n"
        f"extra_approvals = {rule.extra_approvals}\n"
        for name, rule in sorted(plan.legal_basis.items())
    )
    text = f"""\
# The policy of the site '{site}': the most that a subject query may ask for, and who must agree.
#
# Every custodian holds this file and checks each query against it before it releases a key. It is
# signed ({_SIGNATURE}): after any change, the smallest too, nobody accepts it until the site's
# authority has signed it anew (`sealtrace site policy sign`).
{_ABOUT_SCHEMA if of_schema_2 else ""}
site = {tomltext.value(site)}

# Goes up with every change.
version = {version}

# After this moment nothing is granted any more.
programme_ends = {tomltext.value(ends)}

# Approvals that a query needs. The requester's own does not count.
approvals = {plan.approvals}

# Subjects that may be searched for at once.
max_subjects = {plan.max_subjects}

# Longest stretch of time in the past that one query may cover, in hours.
max_window_hours = {plan.max_window_hours}

# Longest that a query may go on watching, in hours, live or each quarter hour once it has ended; 0
# forbids both: then no window reaches further than the quarter hour in which the query is asked.
max_live_hours = {plan.max_live_hours}

# Most cameras of one query.
max_cameras = {plan.max_cameras}

# Days after which a query lapses, whatever it asked for.
max_query_days = {plan.max_query_days}

# Most candidates that a query may bring to an investigator.
max_candidates = {plan.max_candidates}

# Days until the custodians destroy a day's key, and with it every copy of that day's sightings.
retention_days = {plan.retention_days}
{_of_schema_2(plan) if of_schema_2 else ""}
# Lowest comparison threshold that a query may set, by model. A wrong name is worse than a miss.
# With a model that is not listed here no query may compare at all. Queries by clothes in words need
# a line of their own, "by words: MODEL" (docs/installer.md); without one there are none.
[threshold_floor]
{floors}
# On which grounds a query may rest, which templates it may then compare, and how many approvals it
# needs on top of those above.

{bases}"""
    return text.encode()


def _of_schema_2(plan: PolicyPlan) -> str:
    """Return what the second schema says besides, a commented key each."""
    interval = ""
    if plan.cover_interval_s is not None:
        interval = f"""
# Seconds between two envelopes of a camera.
cover_interval_s = {plan.cover_interval_s}
"""
    approvals = "".join(
        f"{option} = {extra}\n" for option, extra in sorted(plan.option_approvals.items())
    )
    return f"""
# What a query may be for: it names one of these, word for word. An empty list permits no query.
purposes = {tomltext.value(plan.purposes)}

# Whether a query may open the quarter hour that is running, and not only those that have ended.
live = {tomltext.value(plan.live)}

# What may be asked of who was near a person that was found: "none"; "near", that somebody was (how
# far, how long, with a mask or without); "linked", also who of those near at several cameras is
# one person: their faces are compared, in memory alone, and numbers told. One approval more.
contacts = {tomltext.value(plan.contacts)}

# Whether a person whom an officer has confirmed may be followed further by their clothes.
continuation = {tomltext.value(plan.continuation)}

# For how many minutes before and after the confirmed sighting; 0 follows nobody. What looks alike
# is no identification, and with every hour more people do.
continuation_minutes = {plan.continuation_minutes}

# Most cameras of a query that follows somebody so: those of a neighbourhood; 0 permits none.
continuation_cameras = {plan.continuation_cameras}

# Whether a query may count how many others were at the same place, in numbers of five and more.
# One approval more.
same_place_counts = {tomltext.value(plan.same_place_counts)}

# Of how many sightings a query may ask for a picture; 0 permits none, and boxes keep none.
evidence_stills = {plan.evidence_stills}

# Whether the still of a confirmed hit may be handed over as a file, marked with query and officer.
evidence_export = {tomltext.value(plan.evidence_export)}

# Investigators who must each confirm that a sighting is the person; who asked is one of them.
# Nothing is exported before. Two, as Article 14(5) of the EU AI Act asks for remote biometric
# identification; with 1, who asked decides alone.
confirmations = {plan.confirmations}

# Whether a person may be searched for whose photographs no second officer has seen and signed for.
enrolment_without_witness = {tomltext.value(plan.enrolment_without_witness)}

# Whether every query on consent must name the signed document of consent by its hash: approvers and
# auditors can then hold the document against it. Software older than this line refuses the file.
consent_documents = {tomltext.value(plan.consent_documents)}

# What hides from the broker who passes when: "off"; "slots", each quarter hour in padded sizes, and
# nothing sooner unless a live query stands; "steady", besides one envelope every so many seconds.
# With "steady" a live query finds somebody within that time, and not sooner.
cover = {tomltext.value(plan.cover)}
{interval}
# Witnesses outside the site who must cosign its logs.
outside_witnesses = {plan.outside_witnesses}

# Strangers whom a query may expect among its candidates for each subject. Where many cameras and
# hours are in scope, its default threshold is raised above the floor until no more are expected.
expected_false = {plan.expected_false}

# Further approvals that a query needs if it asks for: live, near, linked (contacts), continuation,
# same_place_counts, evidence. They are added to those above and to those of its legal basis;
# linked, continuation and same_place_counts take one at least.
[option_approvals]
{approvals}"""


_SIGNATURE = "policy.toml.sig"
_ABOUT_SCHEMA = """#
# What is not stated here is not permitted.

# How this file is to be read. Software that is older than this schema refuses the file.
policy_schema = 2
"""
