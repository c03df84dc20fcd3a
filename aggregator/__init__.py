"""At headquarters: keeps envelopes sealed, runs authorized queries, serves the API and the officers' commands."""
