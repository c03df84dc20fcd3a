"""Recordings: what lies in a folder, when it was made, and its pictures with their true times."""
