"""The wishes of a route are plain values: small on the channel, and equal when they say the same."""

from __future__ import annotations

import msgspec

from mesh.policies import Compression, Target
from mesh.routes import Route


def test_what_is_not_asked_for_takes_no_room_on_the_channel() -> None:
    """A hundred thousand routes go through it when a worker starts."""
    route = Route(host="a", targets=(Target("http://a:1"),))
    assert len(msgspec.msgpack.encode(route)) < 60


def test_every_wish_comes_through_as_it_was() -> None:
    """Encoded and decoded."""
    route = Route(host="a", targets=(Target("http://a:1", 2, is_draining=True),), compression=Compression())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(route), type=Route) == route
