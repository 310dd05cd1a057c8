"""The origin of gRPC calls: nghttpd, which speaks HTTP/2 without TLS, reads the whole message and adds trailers.

nginx would do as well, but answers before it has read the message, and now and then its refusal of the rest wins.
"""

from __future__ import annotations

import shutil

from benchmarks.load.process import Program

PATH = "/say.grpc"


def is_installed() -> bool:
    """Whether nghttpd can be found."""
    return shutil.which("nghttpd") is not None


def origin(port: int) -> Program:
    """The origin on a loopback port."""
    return Program(
        name="grpc",
        port=port,
        argv=(
            *("nghttpd", "--no-tls", "--address=127.0.0.1", "--max-concurrent-streams=1000"),
            *("--mime-types-file=types", "--trailer=grpc-status: 0", str(port)),
        ),
        # No proxy looks into the messages.
        files={PATH[1:]: "Hello, World!", "types": "application/grpc grpc\n"},
    )
