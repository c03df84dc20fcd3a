"""Say what a query's stills mean, for those who sign and approve it."""

from __future__ import annotations

from officers.desk.phrases import Phrase, listed, nphrase, phrase
from protocol.query import Query


def stills_asked(query: Query) -> Phrase:
    """Say of how many sightings stills are asked for, who sees them, and what else is learnt."""
    most = query.asks.evidence_stills
    if not most:
        return phrase("no")
    seen_by = listed([phrase("who asked"), *query.confirmers])
    return nphrase(
        "yes: of {n:,} sighting at most, a small picture of that person alone, everybody else "
        "pixelated. It is shown to {officers}. Custodians, who open it, learn its camera and "
        "quarter hour. The still of a false candidate shows a stranger",
        "yes: of {n:,} sightings at most, a small picture of that one person each, everybody else "
        "pixelated. They are shown to {officers}. Custodians, who open them one by one, learn "
        "their cameras and quarter hours. Stills of false candidates show strangers",
        most,
        officers=seen_by,
    )
