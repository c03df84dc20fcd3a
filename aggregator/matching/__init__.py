"""Open what was granted, compare it, keep candidates only, wipe the rest."""
