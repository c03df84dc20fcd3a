"""Builds the Debian packages, one for each kind of machine, and lays out what images install."""
