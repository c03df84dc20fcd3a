"""Motion JPEG, of which pictures that nobody asks for are not decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from films import all_of, by_ffmpeg, drawn, film, needs_ffmpeg, times_of, turned

from edge_agent.sources import Shortcuts, SourceError
from edge_agent.video.decoder import Decoder
from edge_agent.video.files import FileReader
from edge_agent.video.motion_jpeg import PacketDecoder, packet_decoder

SPARSE = Shortcuts(gap_s=0.195)


def test_the_same_pictures_come_at_the_same_moments(tmp_path: Path) -> None:
    path = film(tmp_path / "walk.avi", 41)
    assert packet_decoder(path, "it", Decoder(str(path), "it")) is not None
    sparse = FileReader(path, SPARSE)
    pictures = all_of(sparse, gap_s=0.195)
    whole = all_of(FileReader(path), gap_s=0.195)
    assert times_of(pictures) == times_of(whole) == [round(0.2 * n, 3) for n in range(11)]
    for number, (one, other) in enumerate(zip(pictures, whole, strict=True)):
        assert one.image.shape == other.image.shape
        assert np.abs(one.image.astype(int) - other.image).mean() < 4
        assert np.abs(one.image.astype(int) - drawn(4 * number)).mean() < 30
    assert (sparse.bad, sparse.truncated, sparse.fps) == (0, False, 20.0)


def test_damage_in_the_middle_ends_no_film(tmp_path: Path) -> None:
    path = film(tmp_path / "walk.avi", 41)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    pictures = all_of(FileReader(path, SPARSE), gap_s=0.195)
    assert len(pictures) >= 9
    assert pictures[-1].at_s > 1.7


def test_other_films_are_read_as_ever(tmp_path: Path) -> None:
    path = film(tmp_path / "walk.mp4", 21, code="mp4v")
    assert packet_decoder(path, "it", Decoder(str(path), "it")) is None
    assert len(all_of(FileReader(path, SPARSE), gap_s=0.195)) == 6


@pytest.mark.slow
def test_packets_above_4k_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="4K"):
        PacketDecoder(film(tmp_path / "large.avi", 1, size=(2880, 5120)), "it")


@needs_ffmpeg
def test_pixels_that_are_not_square_are_left_to_the_other_decoder(tmp_path: Path) -> None:
    path = by_ffmpeg(
        tmp_path / "wide.mkv", "-vf", "setsar=2/1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"
    )
    assert packet_decoder(path, "it", Decoder(str(path), "it")) is None
    shapes = {one.image.shape for one in all_of(FileReader(path, SPARSE), gap_s=0.195)}
    assert shapes == {(96, 320, 3)}


@needs_ffmpeg
def test_a_film_that_lies_on_its_side_is_left_to_the_other_decoder(tmp_path: Path) -> None:
    path = by_ffmpeg(tmp_path / "a.mov", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    turned(path)
    assert packet_decoder(path, "it", Decoder(str(path), "it")) is None
    shapes = {one.image.shape for one in all_of(FileReader(path, SPARSE), gap_s=0.195)}
    assert shapes == {(160, 96, 3)}
