"""What a query asks for besides so that whoever is confirmed may be followed by their clothes."""

from __future__ import annotations

from collections.abc import Collection

from officers.desk.option_labels import CONTINUATION
from officers.desk.phrases import phrase
from officers.desk.subjects import DraftInvalid
from protocol.keytree import FOLLOWED
from protocol.policy import Policy
from protocol.query import MAX_TEMPLATES, Asked
from runtime.bundle import MODALITY_OF, load_bundle
from runtime.officer import OfficerConfig


def modalities_with(asks: Asked, modalities: Collection[str]) -> tuple[str, ...]:
    """Return what a query opens, with what people are followed by if it asks for that."""
    followed = {FOLLOWED} if asks.continuation else set()
    return tuple(sorted({*modalities, *followed}))


def thresholds_of_following(
    asks: Asked, compared: Collection[str], policy: Policy, config: OfficerConfig
) -> dict[str, float]:
    """Return from which score on somebody is taken to be dressed alike: the policy's least.

    In the spaces of the officer's bundle; without one, in all for which the policy states a floor
    and in which nothing else is compared.

    Args:
        asks: nothing is returned for a query that follows nobody.
        compared: models that the subjects' templates are of.

    Raises:
        DraftInvalid: the policy states no floor for such a model.
        BundleError: the officer's bundle cannot be used.
    """
    if not (asks.continuation and policy.permits.continuation):
        return {}  # who asks for what is not permitted is told so by `check_policy`
    floors = policy.floors_of_models
    spaces = floors.keys() - set(compared)
    if config.bundle is not None:
        bundle = load_bundle(config.bundle, config.bundle_signers, roles=())
        spaces &= {
            entry.model_id
            for entry in bundle.manifest.models
            if MODALITY_OF.get(entry.role) == FOLLOWED
        }
    if not spaces or len(spaces) + len(set(compared)) > MAX_TEMPLATES:
        raise DraftInvalid(
            phrase(
                "{continuation_field}: the policy states a threshold_floor for {count} models "
                "that tell what people wear, and a query compares by 1 to a few of them: have the "
                "site's authority state it (`sealtrace site policy upgrade` takes those of the "
                "bundle)",
                continuation_field=CONTINUATION,
                count=len(spaces),
            )
        )
    return {space: floors[space] for space in sorted(spaces)}
