"""What officers give of a query: the option of the command, and the label of the page's field."""

from __future__ import annotations

from runtime.phrases import option

AFTERWARDS = option("--afterwards", "Who came afterwards")
ALL_CAMERAS = option("--all-cameras", "All cameras")
ANYWAY = option("--anyway", "Confirm them all the same")
AREA = option("--area", "Area")
CAMERA = option("--camera", "Cameras")
CONFIRMER = option("--confirmer", "Who confirms with you")
CONTINUATION = option("--continuation", "Follow by clothes")
EXAMPLE = option("--example", "Earlier sighting")
EXAMPLE_OF = option("--example-of", "Candidate of an earlier query")
FROM = option("--from", "From")
LIVE = option("--live", "Open while it runs")
MODALITY = option("--modality", "What is compared")
NOBODY_NEAR = option("--no-contacts", "No contacts")
PASSPHRASE_FILE = option("--passphrase-file", "Passphrase")
PLACE = option("--place", "Places")
PURPOSE = option("--purpose", "Purpose")
PURPOSE_KIND = option("--purpose-kind", "Kind of purpose")
REASON = option("--reason", "Reason")
STILLS = option("--evidence-stills", "Stills")
SUBJECT = option("--subject", "Patient")
THRESHOLD = option("--threshold", "Threshold")
TO = option("--to", "Until")
VALID_DAYS = option("--valid-days", "Days of validity")
WHO_WAS_NEAR = option("--contacts", "Contacts")
