"""On the board: frames, tracks, sightings, sealed envelopes, MQTT. The only code that sees pixels."""
