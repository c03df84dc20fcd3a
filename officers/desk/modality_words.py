"""What officers read of each modality: the one place here that names them."""

from __future__ import annotations

from officers.desk.phrases import marked
from protocol.keytree import APPEARANCE, FACE

COMPARED = {
    FACE: marked("face templates"),
    APPEARANCE: marked("appearance templates (clothing, build)"),
}
"""What is opened of everybody."""
HELD = {FACE: marked("face"), APPEARANCE: marked("appearance")}
"""Of which kind a subject's templates are."""
NOW_TOO = {
    FACE: marked("compares faces too"),
    APPEARANCE: marked("compares clothes and build too"),
}
NO_MORE = {
    FACE: marked("compares no faces any more"),
    APPEARANCE: marked("compares no clothes and build any more"),
}
