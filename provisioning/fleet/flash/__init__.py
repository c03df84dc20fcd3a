"""Writes an image to a card: finds removable devices, refuses others, verifies the writing."""
