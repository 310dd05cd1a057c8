"""Classes that say something to mypyc are the same classes without it, and those that others extend let them."""

from __future__ import annotations

from mesh.connection import Connection
from mesh.core import Core
from mesh.h2_connection import H2Connection
from mesh.h2_stream import Stream
from mesh.native import mypyc_attr


def test_a_class_stays_what_it_is() -> None:
    """Nothing is put around it."""

    class Plain:
        pass

    assert mypyc_attr(allow_interpreted_subclasses=True)(Plain) is Plain


def test_what_is_made_to_be_extended_can_be() -> None:
    """By a class that is not compiled, whose methods then count."""

    class Heard(Stream):
        def __init__(self) -> None:
            super().__init__(1)
            self.heard: list[bytes] = []

        def on_data(self, data: bytes) -> None:
            self.heard.append(data)

    stream = Heard()
    stream.on_data(b"hello")
    assert (stream.id, stream.heard) == (1, [b"hello"])
    for base in (Connection, Core, H2Connection):
        assert issubclass(type("Extended", (base,), {}), base)
