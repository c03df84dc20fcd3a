"""The command: finds each role's sub-commands and loads only the one that it runs."""
