"""Version 2 of the formats that boards write: segments by modality, rows that open one by one.

Version 1 (`protocol.sealing`, `protocol.sightings`) stays readable until its retention ends. A
generation is of the version that its announcement states, from its first envelope to its last.
"""

VERSION = 2
CONTEXT = "sealtrace/v2"
