"""Specs of tunnels as operators write them, with made-up secrets, and a place for their programs."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from state.tunnels import TunnelSpec
from tunnels.providers.base import Launch, Place

TUNNEL_ID: Final = "2f6d1f0a-9a3f-4d1c-8a0e-5b1c2d3e4f50"
CLOUDFLARE_SECRET: Final = base64.b64encode(b"sssssssssssssssssssssssssssssssS").decode()
FOLDER: Final = "/var/lib/zexio/tunnels/office"
NONCE: Final = "n0ncen0ncen0nce0"

PLACE: Final = Place(
    folder=FOLDER,
    metrics_port=20241,
    local_port=8080,
    nonce=NONCE,
    programs={name: f"/usr/bin/{name}" for name in ("cloudflared", "newt", "ssh", "frpc", "bore")},
)


def spec(provider: Any, token: str = "", *, hostname: str | None = None, **options: str) -> TunnelSpec:  # noqa: ANN401
    """A tunnel of a provider."""
    return TunnelSpec(
        name="office",
        provider=provider,
        token=token,
        hostname=hostname,
        options=options,
        created_at=datetime(2026, 11, 21, tzinfo=UTC),
    )


def cloudflare_token(**parts: str) -> str:
    """A token as Cloudflare makes it."""
    held = {"a": "0123456789abcdef0123456789abcdef", "t": TUNNEL_ID, "s": CLOUDFLARE_SECRET, **parts}
    return base64.b64encode(json.dumps({key: value for key, value in held.items() if value}).encode()).decode()


def private_key() -> str:
    """A new key as ssh-keygen makes it."""
    key = Ed25519PrivateKey.generate()
    shape = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    return key.private_bytes(*shape).decode()


def key_with_passphrase() -> str:
    """The beginning of one that ssh-keygen has encrypted."""
    words = (b"aes256-ctr", b"bcrypt", b"\0" * 24)
    blob = b"openssh-key-v1\0" + b"".join(len(word).to_bytes(4) + word for word in words)
    mark = "OPENSSH PRIVATE KEY"
    return f"-----BEGIN {mark}-----\n{base64.b64encode(blob).decode()}\n-----END {mark}-----\n"


def public_key() -> str:
    """The line of a new host key."""
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def files_of(launch: Launch) -> dict[str, str]:
    """What is to be written, by name."""
    return {file.name: file.content.decode() for file in launch.files}
