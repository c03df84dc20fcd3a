"""On the board: frames, tracks, sightings, sealed envelopes. The only code that sees pixels."""
