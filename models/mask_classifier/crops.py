"""Archives of labelled face crops: reading, writing, and finding the near-duplicates in them.

An archive is an ``.npz`` with ``jpeg`` (uint8, all files one after another), ``offset`` (int64,
n + 1 boundaries into ``jpeg``), ``label`` (uint8, 1 = wears a mask) and ``detector_score``
(float32).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

CROP_SIDE = 112
NEAR_DUPLICATE = 0.75
"""Above this correlation of edge thumbnails two crops go to the same group."""


@dataclass(frozen=True, slots=True)
class CropSet:
    """Labelled crops: ``images`` uint8 [n, 112, 112, 3] BGR and ``labels`` uint8 [n], 1 = masked.

    ``files`` keeps the JPEG bytes, so that a part of a set is written without a second
    compression; ``scores`` float32 [n] is the detector's.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float32]
    files: tuple[bytes, ...]

    def __len__(self) -> int:
        """Count the crops."""
        return len(self.labels)

    def subset(self, indices: npt.NDArray[np.int64]) -> CropSet:
        """Return the crops at ``indices`` (int64 [k]), in that order."""
        return CropSet(
            images=self.images[indices],
            labels=self.labels[indices],
            scores=self.scores[indices],
            files=tuple(self.files[int(i)] for i in indices),
        )


def load_crops(path: Path) -> CropSet:
    """Read an archive and decode its JPEG files.

    Raises:
        ValueError: a file in the archive is not a 112 x 112 JPEG image.
    """
    with np.load(path, allow_pickle=False) as archive:
        blob = archive["jpeg"].tobytes()
        offset = archive["offset"]
        labels = archive["label"].astype(np.uint8)
        scores = archive["detector_score"].astype(np.float32)
    files = tuple(blob[offset[i] : offset[i + 1]] for i in range(len(labels)))
    images = np.empty((len(files), CROP_SIDE, CROP_SIDE, 3), np.uint8)
    for i, file in enumerate(files):
        image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
        if image is None or image.shape != (CROP_SIDE, CROP_SIDE, 3):
            raise ValueError(f"{path}: crop {i} is not a 112 x 112 JPEG; build the archive again")
        images[i] = image
    return CropSet(images=images, labels=labels, scores=scores, files=files)


def save_crops(path: Path, crops: CropSet) -> None:
    """Write an archive; the same crops always give the same arrays."""
    sizes = np.array([len(file) for file in crops.files], np.int64)
    np.savez(
        path,
        jpeg=np.frombuffer(b"".join(crops.files), np.uint8),
        offset=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        label=crops.labels,
        detector_score=crops.scores,
    )


def near_duplicate_groups(
    images: npt.NDArray[np.uint8], threshold: float = NEAR_DUPLICATE
) -> npt.NDArray[np.int64]:
    """Number the groups of crops that look alike (int64 [n]).

    Two crops belong together when the gradients of their 18 x 18 grey thumbnails of the face's
    middle correlate above ``threshold``, either way round (the collection has mirrored, blurred
    and noisy copies); groups are the connected components of that relation.
    """
    plain = _edge_thumbnails(images)
    mirrored = _edge_thumbnails(images[:, :, ::-1])
    alike = np.maximum(plain @ plain.T, plain @ mirrored.T) > threshold
    parent = np.arange(len(images))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for a, b in np.argwhere(np.triu(alike, 1)):
        parent[root(int(a))] = root(int(b))
    roots = np.array([root(i) for i in range(len(images))])
    numbers: npt.NDArray[np.int64] = np.unique(roots, return_inverse=True)[1].astype(np.int64)
    return numbers


def grouped_folds(
    groups: npt.NDArray[np.int64], labels: npt.NDArray[np.uint8], folds: int, seed: int
) -> npt.NDArray[np.int64]:
    """Assign each crop a fold 0..folds-1 (int64 [n]); a group is never divided.

    Groups go, in a seeded random order with the big ones first, to the fold that has the
    fewest crops of their class, so that folds come out even in size and in classes.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.unique(groups))
    sizes = np.bincount(groups)
    numbers = numbers[np.argsort(-sizes[numbers], kind="stable")]
    filled = np.zeros((folds, 2), np.int64)
    fold_of = np.zeros(len(groups), np.int64)
    for number in numbers:
        members = np.flatnonzero(groups == number)
        counts = np.bincount(labels[members], minlength=2)
        fold = int(np.argmin(filled[:, int(np.argmax(counts))]))
        filled[fold] += counts
        fold_of[members] = fold
    return fold_of


def _edge_thumbnails(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    rows = []
    for image in images:
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY)[20:92, 20:92]
        small = cv2.resize(grey, (18, 18), interpolation=cv2.INTER_AREA).astype(np.float32)
        across = np.diff(small, axis=1)[:-1]
        down = np.diff(small, axis=0)[:, :-1]
        row = np.concatenate([across.ravel(), down.ravel()])
        rows.append(row / (np.linalg.norm(row) + 1e-6))
    return np.stack(rows).astype(np.float32)
