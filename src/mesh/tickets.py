"""Session tickets that every worker of a node can open, so that a visitor who comes back need not shake hands anew.

OpenSSL makes a key for tickets with each context, and `ssl` has no way to give it one (nginx shares its own by
forking). So it is given by OpenSSL's own function, found in the library that `ssl` has loaded. Where that cannot be
done (`ssl` has its OpenSSL built in, or this is not CPython) each worker opens only the tickets that it gave.
"""

from __future__ import annotations

import ctypes
import re
import ssl
import sys
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# tls1.h: SSL_CTX_set_tlsext_ticket_keys is a macro for this; name, HMAC key and AES key together.
_SET_TICKET_KEYS: Final = 59
_KEY_BYTES: Final = 80
_PERIOD_S: Final = 12 * 3600
_LIBRARY: Final = re.compile(r"\s(/\S*/libssl\S*\.so\S*)$", re.MULTILINE)


def period(wall: float) -> int:
    """The number of the period, of twelve hours, in which tickets are made with the same key."""
    return int(wall // _PERIOD_S)


def prepare() -> bool:
    """Look for what `share` needs, which reads a file; whether it is there."""
    return _library() is not None


def share(context: ssl.SSLContext, secret: bytes, label: bytes) -> bool:
    """Make the tickets of `context` with the key that `secret` gives for `label`; whether that was possible.

    The label says all that a session may not be carried across: the certificate, who is asked for one, and the time.
    """
    library = _library()
    if library is None:
        return False
    key = HKDF(SHA256(), _KEY_BYTES, None, b"zexio session tickets " + label).derive(secret)
    return bool(library.SSL_CTX_ctrl(_pointer(context), _SET_TICKET_KEYS, len(key), key) == 1)


@cache
def _library() -> ctypes.CDLL | None:
    """The OpenSSL that `ssl` uses, if it is one that others can use too."""
    if sys.implementation.name != "cpython":
        return None
    try:
        paths = set(_LIBRARY.findall(Path("/proc/self/maps").read_text(encoding="utf-8")))
        library = ctypes.CDLL(paths.pop()) if len(paths) == 1 else None
    except OSError:
        return None
    if library is None:
        return None
    library.SSL_CTX_ctrl.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    library.SSL_CTX_ctrl.restype = ctypes.c_long
    library.SSL_CTX_get_options.argtypes = (ctypes.c_void_p,)
    library.SSL_CTX_get_options.restype = ctypes.c_uint64
    return library if _is_the_same(library) else None


def _pointer(context: ssl.SSLContext) -> int | None:
    # The first field behind the head of the object, in every CPython since 2.7.9 (Modules/_ssl.c, PySSLContext).
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value


def _is_the_same(library: ctypes.CDLL) -> bool:
    """Whether the library sees in a context what `ssl` sees in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for option in (0, ssl.OP_NO_TICKET):
        context.options |= option
        if library.SSL_CTX_get_options(_pointer(context)) != context.options:
            return False
    return True
