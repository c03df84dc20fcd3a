"""The policy file: TOML that officers read and the authority signs, made from the site's values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from provisioning.formats.plan import PolicyPlan
from runtime import tomltext
from runtime.bundle import Bundle

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


def policy_text(
    site: str,
    plan: PolicyPlan,
    *,
    version: int = 1,
    default_floors: Mapping[str, float] | None = None,
) -> bytes:
    """Return the commented ``policy.toml`` of ``site``.

    Args:
        default_floors: floors of models for which ``plan`` states none.
    """
    ends = plan.programme_ends.astimezone(UTC).replace(microsecond=0)
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
# authority has signed it anew (`sealtrace site policy`).

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

# Lowest comparison threshold that a query may set, by model. A wrong name is worse than a miss.
# With a model that is not listed here no query may compare at all.
[threshold_floor]
{floors}
# On which grounds a query may rest, which templates it may then compare, and how many approvals it
# needs on top of those above.

{bases}"""
    return text.encode()


_SIGNATURE = "policy.toml.sig"
