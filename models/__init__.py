"""Bundles of models: built from pinned packages, measured, signed; and what is trained here."""
