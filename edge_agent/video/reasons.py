"""Why a file or folder cannot be read, in words."""

from __future__ import annotations


def reason_of(error: OSError | ValueError) -> str:
    """Say in words why a file or folder cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    if isinstance(error, PermissionError):
        return "this user may not read it"
    if isinstance(error, NotADirectoryError):
        return "it is not a folder"
    return str(getattr(error, "strerror", None) or error)
