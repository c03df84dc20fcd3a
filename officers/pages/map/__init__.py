"""The map of cameras that other pages show, to look at or to choose from: never the only way."""

from __future__ import annotations

from fastapi import APIRouter

from officers.pages.map.points import MapView, Point, Way, map_view

router = APIRouter()

__all__ = ["MapView", "Point", "Way", "map_view", "router"]
