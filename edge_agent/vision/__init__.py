"""From frames to sightings: detect, track, choose the best crops, embed once, decide the mask."""
