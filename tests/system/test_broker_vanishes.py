"""A broker that is killed or freezes for a while loses nothing of what boxes have sealed."""

from __future__ import annotations

import signal

import pytest
from film_set import FilmSet
from running_site import RunningSite
from shaken import expect_whole, tails, wait_delivered, wait_kept, wait_more
from waiting import wait_for


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)]
)
def broker(request: pytest.FixtureRequest) -> str:
    """Which broker the looping site has."""
    if request.param == "mosquitto":
        request.getfixturevalue("mosquitto_program")
    return str(request.param)


@pytest.fixture
def site(looping_site: FilmSet) -> RunningSite:
    return looping_site.site


def test_a_broker_that_is_killed_and_forgets_everything_loses_nothing(site: RunningSite) -> None:
    wait_more(site)
    site.kill("broker")
    kept = wait_kept(site, 4)
    site.start("broker")
    wait_delivered(site, kept)
    wait_more(site)
    expect_whole(site)


def test_a_broker_that_freezes_and_thaws_loses_nothing(site: RunningSite) -> None:
    wait_more(site)
    box = site.local.services["box-1"]
    lost = len(box.events("mqtt_disconnected"))
    site.signal("broker", signal.SIGSTOP)
    try:
        wait_for(
            lambda: len(box.events("mqtt_disconnected")) > lost,
            "the box to notice that the broker is silent",
            explain=lambda: tails(site),
        )
        kept = wait_kept(site, 4)
    finally:
        site.signal("broker", signal.SIGCONT)
    wait_delivered(site, kept)
    wait_more(site)
    expect_whole(site)
