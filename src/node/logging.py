"""What the node says: structured entries for people or machines on stderr, and the same entries for `/system/logs`."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog

from node.settings import LogSection
from node.values import Secret
from state.journal import Journal

REDACTED: Final = "[redacted]"

_SECRET_NAME: Final = re.compile(
    r"secret|token|passw|authorization|cookie|credential|signature|private|api_?key|dsn", re.IGNORECASE
)
# Loggers of libraries that speak of every request or every frame below this level; acme's shows what it signs.
_TALKATIVE: Final = ("acme", "aiohttp.access", "aiosqlite", "asyncio", "sqlalchemy", "urllib3")
_NOT_VALUES: Final = frozenset({"event", "level", "timestamp", "exc_info", "stack"})

Entry = MutableMapping[str, Any]


def configure(log: LogSection, journal: Journal, stream: TextIO) -> None:
    """Send every entry, structlog's and the standard library's, to `stream` and to `journal`; may be called again."""
    level = getattr(logging, log.level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            redact,
            _Stamp(),
            _Remember(journal),
            *_rendering(log, stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_SinkFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    logging.basicConfig(handlers=[_Bridge()], level=level, force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def redact(_logger: object, _method: str, entry: Entry) -> Entry:
    """Replace the values of keys that name a secret, at any depth; the event's own text is left as it is."""
    return {key: value if key == "event" else _redacted(key, value) for key, value in entry.items()}


def one_line(entry: Mapping[str, Any]) -> str:
    """An entry as one line of text: the event, then its values as `key=value`, and the exception if any."""
    values = [f"{key}={_shown(value)}" for key, value in entry.items() if key not in _NOT_VALUES]
    error = _exception(entry.get("exc_info"))
    return " ".join([str(entry.get("event", "")), *values, *([f"{type(error).__name__}: {error}"] if error else [])])


def _redacted(key: str, value: object) -> object:
    if isinstance(value, Secret) or (_SECRET_NAME.search(key) and value is not None):
        return REDACTED
    if isinstance(value, Mapping):
        return {str(name): _redacted(str(name), inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(key, inner) for inner in value]
    return value


def _exception(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1]  # type: ignore[no-any-return]
    return sys.exc_info()[1] if exc_info else None


def _shown(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(sign.isspace() for sign in text) else text


def _rendering(log: LogSection, stream: TextIO) -> list[structlog.typing.Processor]:
    if log.format == "human" or (log.format == "auto" and stream.isatty()):
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    return [
        structlog.processors.format_exc_info,
        _message_first,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _message_first(_logger: object, _method: str, entry: Entry) -> Entry:
    leading = {"timestamp": entry.pop("timestamp"), "level": entry.pop("level"), "message": entry.pop("event")}
    return {**leading, **entry}


def _to_json(entry: object, **_options: object) -> str:
    return msgspec.json.encode(entry, enc_hook=str).decode()


class _Stamp:
    def __call__(self, _logger: object, _method: str, entry: Entry) -> Entry:
        entry["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        return entry


class _Remember:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __call__(self, _logger: object, _method: str, entry: Entry) -> Entry:
        level = entry["level"].upper().replace("WARNING", "WARN")
        self._journal.append(level, one_line(entry), datetime.fromisoformat(entry["timestamp"]))
        return entry


class _SinkFactory:
    def __init__(self, stream: TextIO) -> None:
        self._sink = _Sink(stream)

    def __call__(self, *_names: object) -> _Sink:
        return self._sink


class _Sink:
    """The last stop of an entry; a closed or full stderr must never take the node down."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = msg


class _Bridge(logging.Handler):
    """Hands the standard library's records (aiohttp, asyncio, warnings) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        # structlog knows the five standard levels only.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        extra = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger().log(level, record.getMessage(), logger=record.name, **extra)
