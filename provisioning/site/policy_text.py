"""The policy file: TOML that officers read and the authority signs, made from the site's values."""

from __future__ import annotations

from datetime import UTC

from provisioning.site import tomltext
from provisioning.site.plan import PolicyPlan

_BASIS_NOTES = {
    "consent": "The person (or who may speak for them) has consented, and the record is named.",
    "statutory-order": "An order under law. Without consent no face template may be compared.",
}


def policy_text(site: str, plan: PolicyPlan, *, version: int = 1) -> bytes:
    """Return the commented ``policy.toml`` of ``site``."""
    ends = plan.programme_ends.astimezone(UTC).replace(microsecond=0)
    floors = "".join(
        f"{tomltext.key(model)} = {tomltext.value(score)}\n"
        for model, score in sorted(plan.threshold_floor.items())
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

# Longest that a query may go on watching, in hours; 0 forbids it.
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
[threshold_floor]
{floors}
# On which grounds a query may rest, which templates it may then compare, and how many approvals it
# needs on top of those above.

{bases}"""
    return text.encode()


_SIGNATURE = "policy.toml.sig"
