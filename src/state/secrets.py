"""The node key and what it seals; secrets in files; tokens that are kept as hashes."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from state.errors import SecretError
from state.private_files import create_private, read_secret

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # NIST SP 800-38D section 8.2: random nonces of 96 bits, for up to 2**32 messages
_KEY_ID_BYTES: Final = 8
_VERSION: Final = b"\x01"
_HEAD_BYTES: Final = len(_VERSION) + _KEY_ID_BYTES


class Secrets:
    """Seals bytes with the node key by AES-256-GCM.

    A sealed blob is version (1 byte), key id (8), nonce (12), ciphertext and tag. The head and the context, which names
    the place that the blob belongs to, are authenticated: moved to another row, it does not open.
    """

    def __init__(self, key: bytes) -> None:
        """Secrets under `key`; raises SecretError when it is not 32 bytes."""
        if len(key) != _KEY_BYTES:
            raise SecretError(f"a node key is {_KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)
        self._head = _VERSION + hashlib.sha256(b"zexio node key id" + key).digest()[:_KEY_ID_BYTES]

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Secrets under the key in the file `path` (64 hexadecimal digits, 0600), which is made when there is none.

        Raises SecretError when the file holds no key or others can read it.
        """
        text = secret_file(path, lambda: os.urandom(_KEY_BYTES).hex())
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise SecretError(f"{path} holds no node key: it must be {2 * _KEY_BYTES} hexadecimal digits")
        return cls(key)

    @property
    def key_id(self) -> str:
        """The name of the key, in hexadecimal digits; it says nothing about the key."""
        return self._head[len(_VERSION) :].hex()

    def seal(self, plain: bytes, context: str) -> bytes:
        """`plain` so that only this key opens it, and only in this context (`table/row/field`)."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._head + nonce + self._cipher.encrypt(nonce, plain, self._head + context.encode())

    def open(self, blob: bytes, context: str) -> bytes:
        """What was sealed; raises SecretError when it was sealed with another key or context, or altered since."""
        if blob[:_HEAD_BYTES] != self._head:
            other = blob[len(_VERSION) : _HEAD_BYTES].hex()
            raise SecretError(f"{context} was sealed with the node key {other}, and the key here is {self.key_id}")
        nonce, sealed = blob[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES], blob[_HEAD_BYTES + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, sealed, self._head + context.encode())
        except (InvalidTag, ValueError):
            raise SecretError(f"{context} was altered after it was sealed") from None


def secret_file(path: Path, make: Callable[[], str]) -> str:
    """The text in the file `path` (0600), which is made with what `make` returns when there is none.

    Raises SecretError when the file cannot be read or made, others can read it, or it holds no text.
    """
    try:
        return _read_or_create(path, make)
    except OSError as error:
        raise SecretError(f"{path} cannot be read or made: {error.strerror}") from error


def _read_or_create(path: Path, make: Callable[[], str]) -> str:
    try:
        return read_secret(path)
    except FileNotFoundError:
        create_private(path, f"{make()}\n".encode())
        return read_secret(path)


def hash_token(token: str) -> str:
    """What is stored of a token that a machine made: SHA-256, in hexadecimal digits. Too fast for passwords."""
    return hashlib.sha256(token.encode()).hexdigest()


def verify_token(token: str, hashed: str) -> bool:
    """Whether `hashed` is the hash of `token`, in a time that says nothing about either."""
    return hmac.compare_digest(hash_token(token), hashed)
