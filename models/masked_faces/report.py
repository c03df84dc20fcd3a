"""Measures teacher and student on the held-out crops; writes the report, as Markdown and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.mask_classifier.crops import CropSet
from models.masked_faces.proxies import (
    DEFAULT,
    ENROLMENT_MASKS,
    FMRS,
    MASKED_SHARE,
    VARIANTS,
    Enrolled,
    Network,
    People,
    Templates,
    pictures,
)
from models.masked_faces.split import SAME_PERSON, Split

TEMPLATE = """# Report on the student for masked faces

`{model_id}`: SFace with its layers from the 14 x 14 stage on taught anew, so that its template of
a masked face agrees with SFace's of the bare one. `masked_faces.npz` ({packed_bytes:,} bytes) holds
what is changed; `sealtrace models build` adds it to SFace.

{table}

Probes are {probes} pictures of {held} held-out crops, each with {variants} drawn masks and the
camera's wear, against the bare crops of {people} people: {pairs:,} pairs of strangers, counted.
A probe and its own crop are **one photograph**, so shares are on the good side; the columns are
measured alike. The last two enrol with {masks} masks drawn on the bare crop, embedded by the
student: averaged into the template with a weight of {share:g}, or kept as a second template.

## Really masked strangers

The {worn_crops} crops with real masks against all {bare_crops} bare ones: {real_pairs:,} pairs.
They carry no names, so the highest may be the same person. Pairs at or above a score:

{real}

By the student, against the templates of {people} people ({share_pairs:,} pairs), and what of the
drawn-mask probes above is found at the threshold that one in 10,000 of these pairs reaches:

{shares}

## How it was taught

{samples:,} samples in batches of {batch}, seed {seed}, {cpu_seconds} s of one core. A sample is a
bare crop, either way round; half of them are two people's crops laid over each other, which are
faces of nobody. The frozen SFace embeds it as it is. The student embeds it with a mask drawn on
({drawn:.0%}), with the lower face of somebody who wears a mask ({worn_share:.0%}), or bare
({bare:.0%}), and with the camera's wear. The loss pulls the student's template to SFace's, and away
from other people's. Of the way from SFace's weights to those learned {kept:.0%} is gone. No names
were used. Command:

    python -m models.masked_faces.train --data crops.npz --holdout tests/data/mask_holdout.npz \\
        --sface face_recognition_sface_2021dec_int8bq.onnx --out models/masked_faces \\
        --seed {seed} --samples {samples}

PyTorch's sums may differ in the last digits on another processor, and with them the weights and
the model id.

## Data

{taught} bare crops taught; {held} are held out, whole people (crops that SFace scores above
{same_person}, or that are near-duplicates, count as one person's), those of
`tests/data/mask_holdout.npz` first. {masks_that_taught} crops lent their masks. Archive SHA-256:
`{data_sha256}`. The photographs come from
https://github.com/chandrikadeb7/Face-Mask-Detection (MIT, copyright (c) 2020 Chandrika Deb).
"""
SEED = 1
SHARES = (0.0, 0.2, 0.3, 0.4, 0.5)
REAL_AT = (0.40, 0.44, 0.48, 0.49)
SFACE, STUDENT = "SFace", "with the student"
AVERAGED, KEPT = "and masks averaged in", "or kept as a second template"
ROWS = (
    ("same person, mean score", "same_mean"),
    ("threshold for strangers 1e-4", "threshold@1e-04"),
    ("found there", "found@1e-04"),
    ("threshold for strangers 1e-5", "threshold@1e-05"),
    ("**found there**", "found@1e-05"),
    ("found in one of three pictures", "found_in_three@1e-05"),
    (f"found at {DEFAULT:g}, the default", f"found@{DEFAULT:g}"),
    ("strangers there", f"strangers@{DEFAULT:g}"),
)


def write_report(
    path: Path,
    *,
    crops: CropSet,
    split: Split,
    teacher: Network,
    student: Network,
    about: dict[str, Any],
) -> None:
    """Measure, and write `path` (Markdown) and beside it, with suffix .json, the figures."""
    everybody = teacher.templates(crops.images[split.bare])
    worn = crops.images[crops.labels == 1]
    packed, file = about.pop("packed"), about.pop("file")
    content = {
        "model_id": f"sface-masked-128@{hashlib.sha256(file).hexdigest()[:8]}",
        "file_sha256": hashlib.sha256(file).hexdigest(),
        "file_bytes": len(file),
        "packed_bytes": len(packed),
        **about,
        "taught": len(split.taught),
        "held": len(split.held),
        "people": len(np.unique(split.group)),
        "figures": measured(crops, split, teacher, student),
        "real_masks": {
            "crops": len(worn),
            "bare_crops": len(everybody),
            "at": list(REAL_AT),
            **{
                name: [int((network.templates(worn) @ everybody.T >= at).sum()) for at in REAL_AT]
                for name, network in ((SFACE, teacher), (STUDENT, student))
            },
        },
    }
    path.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    path.write_text(text_of(content), encoding="utf-8")


def measured(
    crops: CropSet, split: Split, teacher: Network, student: Network
) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of masked and of bare probes by column of the table, and by share of masks."""
    gallery = np.unique(split.group, return_index=True)[1]  # of each person one crop
    held = crops.images[split.held]
    person = np.repeat(split.group[np.searchsorted(split.bare, split.held)], VARIANTS)
    own = Enrolled.of(held, teacher, student, SEED).repeated(VARIANTS)
    others = Enrolled.of(crops.images[split.bare[gallery]], teacher, student, SEED + 1)

    def compared(probes: Templates, kind: Callable[[Enrolled], tuple[Templates, ...]]) -> Any:
        people = People(kind(others), split.group[gallery])
        return people.compared(probes, person, kind(own)).figures()

    real = student.templates(crops.images[crops.labels == 1])
    worn = pictures(held, SEED, masked=True)
    by_teacher, by_student = teacher.templates(worn), student.templates(worn)
    bare = teacher.templates(pictures(held, SEED, masked=False))
    return {
        "masked": {
            SFACE: compared(by_teacher, plain),
            STUDENT: compared(by_student, plain),
            AVERAGED: compared(by_student, averaged),
            KEPT: compared(by_student, kept),
        },
        "bare": {
            SFACE: compared(bare, plain),
            AVERAGED: compared(bare, averaged),
            KEPT: compared(bare, kept),
        },
        "shares": {
            f"{share:g}": at_rate_of_real(by_student, real, own, others, share) for share in SHARES
        },
    }


def at_rate_of_real(
    probes: Templates, real: Templates, own: Enrolled, others: Enrolled, share: float
) -> dict[str, Any]:
    """What a share of drawn masks in templates costs and brings, by really masked strangers.

    Args:
        probes: masked pictures (n, d) of the people `own` (n,), in their order.
        real: templates (m, d) of crops with real masks, all taken for strangers of `others`.
        own, others: enrolled people.
        share: of drawn masks in the template.
    """
    strangers = np.sort((real @ others.averaged(share).T).ravel())[::-1]
    same = (probes * own.averaged(share)).sum(axis=1)
    threshold = float(strangers[int(FMRS[0] * len(strangers))])
    return {
        "pairs": len(strangers),
        "strangers": [int((strangers >= at).sum()) for at in REAL_AT],
        "threshold": round(threshold, 3),
        "found": round(float((same > threshold).mean()), 3),
    }


def plain(people: Enrolled) -> tuple[Templates, ...]:
    """Enrolment by the bare photo alone."""
    return (people.bare,)


def averaged(people: Enrolled) -> tuple[Templates, ...]:
    """Enrolment by one template, with drawn masks averaged in."""
    return (people.averaged(),)


def kept(people: Enrolled) -> tuple[Templates, ...]:
    """Enrolment by two templates, the second of drawn masks."""
    return people.bare, people.covered


def text_of(content: dict[str, Any]) -> str:
    """The report as Markdown."""
    figures, real, recipe = content["figures"], content["real_masks"], content["recipe"]
    columns = (SFACE, STUDENT, AVERAGED, KEPT)
    table = [f"| probes, figure | {' | '.join(columns)} |", "| --- |" + " --- |" * 4]
    for probes in ("masked", "bare"):
        found = figures[probes]
        for title, key in ROWS:
            cells = (str(found[name][key]) if name in found else "as SFace" for name in columns)
            table.append(f"| {probes}: {title} | {' | '.join(cells)} |")
    counts = [f"| score | {' | '.join(str(at) for at in real['at'])} |", "| --- |" + " --- |" * 4]
    for name in (SFACE, STUDENT):
        counts.append(f"| {name} | {' | '.join(str(count) for count in real[name])} |")
    shares = [
        "| share of drawn masks in templates | threshold for 1e-4 | found | strangers at "
        f"{', '.join(f'{at:g}' for at in real['at'])} |",
        "| --- | --- | --- | --- |",
    ]
    for share, one in figures["shares"].items():
        arrived = ", ".join(map(str, one["strangers"]))
        shares.append(f"| {share} | {one['threshold']} | {one['found']} | {arrived} |")
    first = figures["masked"][SFACE]
    return TEMPLATE.format(
        **content,
        table="\n".join(table),
        real="\n".join(counts),
        shares="\n".join(shares),
        share_pairs=figures["shares"]["0"]["pairs"],
        probes=first["same_pairs"],
        pairs=first["stranger_pairs"],
        variants=VARIANTS,
        masks=ENROLMENT_MASKS,
        share=MASKED_SHARE,
        worn_crops=real["crops"],
        bare_crops=real["bare_crops"],
        real_pairs=real["crops"] * real["bare_crops"],
        samples=recipe["samples"],
        batch=recipe["batch"],
        seed=recipe["seed"],
        kept=recipe["kept"],
        drawn=1 - recipe["bare"] - recipe["worn"],
        worn_share=recipe["worn"],
        bare=recipe["bare"],
        same_person=SAME_PERSON,
    )
