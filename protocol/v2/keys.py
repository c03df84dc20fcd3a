"""Keys of version 2: of a block in a slot, and of one row of its metadata.

As in version 1 each root is the top of one tree for each label, and a key needs the leaf of every
root (`protocol.keytree`). New is the **row key**: a custodian derives ``HMAC(leaf, "row" || id)``
from its leaf of the label ``meta`` and releases that alone, so that whoever was granted a slot
opens no metadata but that of the rows which m custodians agreed to (docs/protocol.md, "Version 2").
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from protocol.errors import MalformedMessage
from protocol.keytree import LABELS_OF, ModalityKey, derive_key, modality_key
from protocol.names import SIGHTING_ID_BYTES, SlotName
from protocol.v2 import CONTEXT, VERSION

LABELS = LABELS_OF[VERSION]
_ROW = b"row"


def slot_key(leaves: Sequence[bytes], name: SlotName, label: str) -> ModalityKey:
    """Combine one slot's leaves of one label, of **all** roots in their order.

    Args:
        leaves: 32 bytes each.
    """
    return modality_key(
        leaves,
        site=name.address.site,
        box=name.address.box,
        camera=name.address.camera,
        epoch=name.epoch,
        generation=name.generation,
        slot=name.slot,
        label=label,
        version=VERSION,
    )


def row_value(leaf: bytes, row_id: bytes) -> bytes:
    """Return what opens one row together with the values of the other roots, 32 bytes.

    Args:
        leaf: of the label ``meta``, 32 bytes.
        row_id: of the sighting, 8 bytes, unique in its slot.

    Raises:
        MalformedMessage: not an id.
    """
    if len(row_id) != SIGHTING_ID_BYTES:
        raise MalformedMessage(f"a row's id has {SIGHTING_ID_BYTES} bytes")
    return hmac.digest(leaf, _ROW + row_id, "sha256")


def row_key(values: Sequence[bytes], name: SlotName, row_id: bytes) -> ModalityKey:
    """Combine a row's values of **all** roots in their order.

    Args:
        values: as :func:`row_value` gives them, 32 bytes each.
    """
    return derive_key(values, [CONTEXT, "row-key", *name.to_value(), row_id])
