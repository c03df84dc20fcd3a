"""On the board: frames, tracks, sightings, sealed envelopes. The only code that sees pixels."""

from runtime.process import silence_libraries

silence_libraries()  # OpenCV reads how large a picture may be when it is loaded
