"""Routes, certificates, keys and limits: what the workers are told, and what comes out of it at the other end."""

from __future__ import annotations

import msgspec

from mesh.policies import HeaderEdits, Health, Target, Timeouts
from mesh.routes import AccessKeys, Certificate, Challenges, Delta, MeshSettings, Route, RouteKey, Snapshot, VerifyKey


def test_values_come_through_the_channel_as_they_are() -> None:
    """Snapshots and deltas survive encoding, and are told apart."""
    route = Route(
        host="a",
        targets=(Target("http://b", weight=3), Target("unix:/c")),
        path_prefix="/x",
        org_id="o",
        access="tenant",
        tenants=("p",),
        balance="consistent_hash",
        strip_prefix=True,
        health=Health(path="/up"),
        timeouts=Timeouts(idle_s=1.5),
        request_headers=HeaderEdits(set=(("A", "b"),)),
        https="redirect",
    )
    keys_ = AccessKeys(generation=2, keys=(VerifyKey(algorithm="HS256", material=b"\xff", kid="k"),))
    shown = Certificate(fingerprint="f", names=("a",), chain=b"c", key=b"k")
    challenges = Challenges(tokens=(("token", "answer"),), validations=(shown,))
    delta = Delta(revision=3, put=(route,), removed=(RouteKey("b", "/y"),), keys=keys_, settings=MeshSettings())
    delta = msgspec.structs.replace(delta, challenges=challenges)
    snapshot = Snapshot(revision=2, routes=(route,), challenges=challenges, keys=keys_)
    for value in (delta, snapshot):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=Snapshot | Delta) == value
