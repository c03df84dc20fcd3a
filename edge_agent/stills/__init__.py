"""Stills: one small picture of the person of a sighting alone, made, sealed, kept and sent."""
