"""The settings of one camera's vision, as they stand in a box's TOML file, with their defaults."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from runtime.config import Section

Point = tuple[float, float]
Row = tuple[float, float, float]


class GroundConfig(Section):
    """Where the ground is: points measured on site, or a matrix computed from such points."""

    image_points_px: tuple[Point, ...] = ()
    """Four or more points of the picture that lie on the ground, as [x, y] pixels."""
    ground_points_m: tuple[Point, ...] = ()
    """The same points on the ground, as [x, y] metres from any corner."""
    matrix: tuple[Row, Row, Row] | None = None
    """Instead of points: 3x3 homography from pixels to metres."""

    @model_validator(mode="after")
    def _points_or_matrix(self) -> GroundConfig:
        points = bool(self.image_points_px or self.ground_points_m)
        if points == (self.matrix is not None):
            raise ValueError("give image_points_px and ground_points_m, or matrix, not both")
        return self


def _polygon(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(points) < 3:
        raise ValueError("an area has three corners or more, each as [x, y] pixels")
    return points


Area = Annotated[tuple[Point, ...], AfterValidator(_polygon)]


class EncounterConfig(Section):
    """When two people in view have met."""

    reach_m: Annotated[float, Field(gt=0, le=20)] = 2.0
    """Ground distance up to which two people are within reach of each other."""
    min_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    """Encounters shorter than this are not reported."""
    max_gap_s: Annotated[float, Field(gt=0, le=10)] = 3.0
    """Longest time between two observations within reach that still counts as being within it."""
    face_height_m: Annotated[float, Field(gt=0.1, lt=0.5)] = 0.23
    """Height of a face as the detector boxes it."""
    body_height_m: Annotated[float, Field(gt=1, lt=2.2)] = 1.7
    """Height of a standing person as the detector boxes them."""
    body_heads: Annotated[float, Field(gt=4, lt=10)] = 7.5
    """Height of a body in face heights: where the feet are below a face."""
    horizontal_fov_deg: Annotated[float, Field(gt=10, lt=170)] = 60.0
    """Horizontal angle of view: how depth is judged when no ground is given."""
    ground: GroundConfig | None = None
    """The ground plane; without it distances are judged by heights, which is coarser."""


class VisionConfig(Section):
    """How people are found and followed, and which pictures of a face are chosen."""

    detect_width: Annotated[int, Field(ge=64, le=4096)] = 960
    """Frames are shrunk to fit this width for detection; larger sees further and costs more.

    A bare face is found from about 12 px of height at this size, a masked one from about 40."""
    detect_height: Annotated[int, Field(ge=64, le=4096)] = 540
    """Frames are shrunk to fit this height for detection."""
    detect_fps: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Detections a second; frames in between are not looked at."""
    search_whole_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """The whole picture is searched so often at least, in between only what has changed in it; 0
    for the whole always."""
    begin_score: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Detector score from which a face may begin a track."""
    confirm_score: Annotated[float, Field(gt=0, lt=1)] = 0.65
    """Score that a face must reach once, or its body the one for bodies, or it is a false alarm."""
    continue_score: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Detector score from which a face may go on with a track."""
    max_lost_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    """A face not seen for longer is followed no more."""
    person_fps: Annotated[float, Field(gt=0, le=60)] = 2.5
    """How often a second whole persons are looked for, if the bundle has a detector for them."""
    person_width: Annotated[int, Field(ge=64, le=4096)] = 512
    """Frames are shrunk to fit this width for that."""
    person_height: Annotated[int, Field(ge=64, le=4096)] = 288
    """Frames are shrunk to fit this height for that."""
    person_begin_score: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Person detector's score from which a body may begin a track."""
    person_confirm_score: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Score that a body must reach once, or its face `confirm_score`, or it is a false alarm."""
    person_continue_score: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Person detector's score from which a body may go on with a track."""
    person_max_lost_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    """A body not seen for longer is followed no more."""
    person_max_hidden_s: Annotated[float, Field(ge=0, le=10)] = 2.5
    """The same, while somebody else stands where it should be."""
    person_max_absent_s: Annotated[float, Field(ge=0, le=10)] = 4.0
    """Who is found so soon again where they were lost, in the same colours, is the same person; 0
    for never."""
    max_length_s: Annotated[float, Field(ge=1, le=60)] = 60.0
    """A longer track gives several sightings."""
    crops_per_track: Annotated[int, Field(ge=1, le=32)] = 6
    """Best crops kept of a track; its template and mask status come from these alone."""
    crop_spacing_s: Annotated[float, Field(ge=0, le=10)] = 0.3
    """Of crops nearer in time than this only the better is kept."""
    min_hits: Annotated[int, Field(ge=1, le=100)] = 3
    """Tracks with fewer detections are false alarms; one of a body counts for two."""
    min_duration_s: Annotated[float, Field(ge=0, le=30)] = 0.4
    """Shorter tracks are discarded as false alarms."""
    min_eyes_px: Annotated[float, Field(ge=4, le=200)] = 8.0
    """Faces whose eyes are nearer together (in the frame) are followed but not looked at."""
    min_crops: Annotated[int, Field(ge=1, le=32)] = 2
    """A track with fewer crops good enough gives a sighting without a template."""
    face_min_quality: Annotated[float, Field(ge=0, le=1)] = 0.35
    """Quality from which a crop is good enough for the template."""
    mask_min_quality: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Quality from which a crop is kept at all, and may vote on the mask status."""
    ignored: tuple[Area, ...] = ()
    """Areas of the picture, by their corners as [x, y] pixels, in which nobody counts: posters,
    screens, shop windows. Whose head is in one is behind it or on it."""
    encounters: EncounterConfig = EncounterConfig()
    """Who was near whom."""

    @model_validator(mode="after")
    def _in_order(self) -> VisionConfig:
        if not self.continue_score <= self.begin_score <= self.confirm_score:
            raise ValueError("continue_score, begin_score and confirm_score must not fall")
        persons = self.person_continue_score, self.person_begin_score, self.person_confirm_score
        if list(persons) != sorted(persons):
            raise ValueError(
                "person_continue_score, person_begin_score and person_confirm_score must not fall"
            )
        if self.mask_min_quality > self.face_min_quality:
            raise ValueError("mask_min_quality must not be above face_min_quality")
        if self.min_crops > self.crops_per_track:
            raise ValueError("min_crops must not be above crops_per_track")
        return self
