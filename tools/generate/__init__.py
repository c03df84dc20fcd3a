"""Writes what is generated in docs/ from the code: `make docs`."""
