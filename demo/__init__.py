"""The demonstration: a small site of real processes, with clips composed from free photographs."""
