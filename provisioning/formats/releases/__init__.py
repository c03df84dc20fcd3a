"""Forms of releases: packages, roll-outs, what lies where in a repository."""
