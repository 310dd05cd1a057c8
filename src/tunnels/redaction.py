"""Output of programs without the secrets that stand in it: chunks in, short clean lines out.

A secret may come in two chunks, across the place where a long line is cut, in colours, or quoted as JSON and URLs do.
So lines are put together first, and nothing leaves before the secrets are out of it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

MOST_LINE: Final = 4096
REDACTED: Final = "[redacted]"

# Shorter ones stand in too many words.
_LEAST: Final = 4
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# Secrets that are nobody's that we know: of the session, or of a library. Each with words of which one has to be there,
# in lower case, because to look for a word is much faster than to look for a pattern.
_PATTERNS: Final = (
    # JSON Web Tokens, and the tokens of Cloudflare's tunnels.
    (("eyj",), re.compile(r"(?<![A-Za-z0-9_-])()eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){0,2}[A-Za-z0-9+/=_-]*")),
    (
        ("authorization", "cookie"),
        re.compile(r"(?i)(\b(?:authorization|cookie)\b\"?\s*[:=]\s*\"?(?:(?:bearer|basic)\s+)?)[^\s\",]+"),
    ),
    (("bearer",), re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}")),
    (("://",), re.compile(r"(://[^\s/:@\"']*:)[^\s/@\"']+(?=@)")),
    (
        ("token", "secret", "passw", "passphrase", "key"),
        re.compile(
            r"(?i)((?:token|secret|passw(?:or)?d|passphrase|api[_-]?key|private[_-]?key)\\?[\"']?"
            r"(?:\s*=\s*|:\s*(?=\\?[\"']))\\?[\"']?)[^\s\"'\\&,;}]+"
        ),
    ),
)


class Lines:
    """Puts chunks of output together to lines, none of which is longer than it may be.

    Of a longer line the rest is dropped as it comes, and counted.
    """

    def __init__(self, *, most: int = MOST_LINE) -> None:
        """Of lines beyond `most` bytes, only so many are kept."""
        self._most = most
        self._held = bytearray()
        self._dropped = 0

    def feed(self, chunk: bytes) -> Iterator[RawLine]:
        """The lines that end in `chunk`."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._hold(part)
            yield self._take()
        self._hold(rest)

    def end(self) -> Iterator[RawLine]:
        """What is left when nothing more comes."""
        if self._held or self._dropped:
            yield self._take()

    def _hold(self, part: bytes) -> None:
        room = self._most - len(self._held)
        self._held += part[:room]
        self._dropped += max(len(part) - room, 0)

    def _take(self) -> RawLine:
        line = RawLine(bytes(self._held), self._dropped)
        self._held.clear()
        self._dropped = 0
        return line


class RawLine:
    """A line as it came, without its end, and how many bytes of it were dropped. It may hold a secret."""

    __slots__ = ("dropped", "text")

    def __init__(self, text: bytes, dropped: int = 0) -> None:
        """As it came."""
        self.text = text
        self.dropped = dropped


class Redactor:
    """Takes the secrets of one tunnel out of its lines."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets` are found as they are, line by line, and as JSON, URLs and base64 write them."""
        forms = {form for secret in secrets for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)
        # The longest first: one may begin another.
        self._exact = re.compile("|".join(map(re.escape, self._forms))) if forms else None

    def clean(self, line: RawLine) -> str:
        """The line without control characters, colours and secrets, and a word on what was dropped."""
        text = _CONTROLS.sub("", _ESCAPES.sub("", line.text.decode(errors="replace"))).rstrip()
        if not line.dropped:
            return self.text(text)
        # What was cut may have been the rest of a secret.
        return f"{self.text(self._without_beginning(text))}... ({line.dropped} more bytes)"

    def text(self, text: str) -> str:
        """Any text without the secrets: also for reasons and errors that do not come from output."""
        if self._exact is not None:
            text = self._exact.sub(REDACTED, text)
        low = text.lower()
        for words, pattern in _PATTERNS:
            if any(word in low for word in words):
                text = pattern.sub(rf"\g<1>{REDACTED}", text)
        return text

    def _without_beginning(self, text: str) -> str:
        """Without the beginning of a secret in the end."""
        most = 0
        for form in self._forms:
            begun = next((size for size in range(min(len(form), len(text)), 0, -1) if text.endswith(form[:size])), 0)
            most = max(most, begun)
        return text[: len(text) - most]


def _forms(secret: str) -> Iterator[str]:
    for part in {secret.strip(), *(line.strip() for line in secret.splitlines())}:
        # The first and the last line of every key are the same.
        if len(part) < _LEAST or part.startswith("-----"):
            continue
        # Whole groups only: what stands behind changes the last signs.
        raw = part.encode()[: len(part.encode()) // 3 * 3]
        quoted = json.dumps(part)[1:-1]
        yield from (part, quoted, quoted.replace("/", "\\/"), quote(part, safe=""), quote(part))
        yield from (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())
