"""When a certificate is renewed, when its authority is asked about that, and when a failed try is repeated.

Times are aware datetimes of the wall clock, because they outlive the process; random numbers come from the caller.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

# A third of the life is left for everything that can go wrong; jitter only makes it earlier, so that no warning is due.
_RENEW_SHARE: Final = 2 / 3
_SPREAD_SHARE: Final = 1 / 20
# Here a certificate is renewed whatever its authority says of windows.
_LAST_SHARE: Final = 9 / 10

# RFC 9773 section 4.3: six hours unless the authority says otherwise, within reasonable limits.
_POLL: Final = timedelta(hours=6)
_POLL_LEAST: Final = timedelta(minutes=1)
_POLL_MOST: Final = timedelta(days=1)
_POLL_SHARE: Final = 1 / 12
_POLL_MOST_SHARE: Final = 1 / 6

_EARLY_AGAIN: Final = timedelta(days=2)
_EARLY_AGAIN_SHARE: Final = 1 / 8

# Most failures are over in minutes, or when the customer has read the advice; what lasts for a day will last for more.
_PAUSES_S: Final = (60, 120, 120, 300, 600, 600, 1200, 1200, 1800, 1800, 3600, 3600, 7200, 10800, 21600)
_PAUSE_SHARE: Final = 1 / 20
_PAUSE_SPREAD: Final = 1 / 4
_RETRY_AFTER_MOST_S: Final = 7 * 86400.0
# Nothing here plans a try further ahead: a later one was planned by a clock that was wrong.
_FURTHEST: Final = timedelta(days=9)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """When an authority wants a certificate to be renewed (RFC 9773 section 4.2), and whose certificate it meant.

    `cert_id` is the identifier of section 4.1. `explanation_url` says why, for people.
    """

    cert_id: str
    start: datetime
    end: datetime
    explanation_url: str | None = None

    @property
    def is_valid(self) -> bool:
        """Whether it ends after it starts: others have to be treated as if they had not come (section 4.2)."""
        return self.start < self.end


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is planned for one certificate, to be kept beside it and discarded with it.

    `at` is a random number in [0, 1) that was chosen when the certificate came: the time of its renewal must not wander
    with each look. `is_early` says that it took the place of one that was not due by its age. `poll_at` is when
    the authority is asked for a window next; None: never.
    """

    cert_id: str
    not_before: datetime
    not_after: datetime
    obtained_at: datetime
    at: float
    is_early: bool = False
    window: Window | None = None
    poll_at: datetime | None = None

    @property
    def begin(self) -> datetime:
        """From when its life is counted.

        Authorities set the beginning back, by an hour as a rule. Of a life of two hours, half would be over when the
        certificate comes, and the next one would be due at once.
        """
        return max(self.not_before, min(self.obtained_at, self.not_after))

    @property
    def life(self) -> timedelta:
        """From its beginning to its end."""
        return self.not_after - self.begin

    @property
    def renew_at(self) -> datetime:
        """When it is renewed; in the past: now."""
        window = self.window
        if window is not None and (window.cert_id != self.cert_id or not window.is_valid):
            window = None
        chosen = renew_at(self.begin, self.not_after, window=window, at=self.at)
        if window is None or not self.is_early:
            return chosen
        # An authority that sees every new certificate in a window of the past would be asked for the next one at once.
        floor = self.obtained_at + min(_EARLY_AGAIN, self.life * _EARLY_AGAIN_SHARE)
        return min(max(chosen, floor), self.begin + self.life * _LAST_SHARE)

    def wants_poll(self, now: datetime) -> bool:
        """Whether the authority should be asked for a window; never about an expired certificate (section 4.3)."""
        return self.poll_at is not None and now < self.not_after and is_due(self.poll_at, now)

    def polled(self, window: Window | None, now: datetime, *, retry_after_s: float | None, jitter: float) -> Plan:
        """After the authority was asked: what it said, or None when it said nothing or something that makes no sense.

        What it said before holds until it says something else, for this very certificate.
        """
        if window is None or window.cert_id != self.cert_id or not window.is_valid:
            window = self.window
        usual = min(_POLL, self.life * _POLL_SHARE)
        pause = usual
        if retry_after_s is not None:
            least = min(_POLL_LEAST, self.life * _POLL_SHARE)
            most = min(_POLL_MOST, max(usual, self.life * _POLL_MOST_SHARE))
            pause = min(max(timedelta(seconds=min(retry_after_s, _RETRY_AFTER_MOST_S)), least), most)
        return msgspec.structs.replace(self, window=window, poll_at=_before(now + pause * (1 + jitter / 10), self))


def planned(
    cert_id: str, life: tuple[datetime, datetime], obtained_at: datetime, *, at: float, replaced: Plan | None = None
) -> Plan:
    """The plan for a certificate that has just come.

    Args:
        cert_id: Its own identifier (RFC 9773 section 4.1), or "" where there is none: its authority is not asked then.
        life: When it begins and ends to be valid.
        obtained_at: When it came, by our own clock.
        at: A random number in [0, 1).
        replaced: The plan of the certificate that it takes the place of.
    """
    is_early = replaced is not None and obtained_at < renew_at(replaced.begin, replaced.not_after, at=replaced.at)
    plan = Plan(
        cert_id=cert_id, not_before=life[0], not_after=life[1], obtained_at=obtained_at, at=at, is_early=is_early
    )
    if not cert_id:
        return plan
    first = obtained_at + min(_POLL, plan.life * _POLL_SHARE) * at
    return msgspec.structs.replace(plan, poll_at=_before(first, plan))


def renew_at(not_before: datetime, not_after: datetime, *, window: Window | None = None, at: float) -> datetime:
    """When a certificate is renewed: at two thirds of its life or a little before, or within the authority's window.

    `at` is a random number in [0, 1). A window in the past means now. Near the end of the life a window counts for
    nothing: a certificate that expires helps nobody.
    """
    life = max(not_after - not_before, timedelta())
    if window is None or not window.is_valid:
        return not_before + life * (_RENEW_SHARE - at * _SPREAD_SHARE)
    return min(window.start + (window.end - window.start) * at, not_before + life * _LAST_SHARE)


def next_try(
    failures: int,
    now: datetime,
    retry_after_s: float | None = None,
    jitter: float = 0.0,
    *,
    life: timedelta | None = None,
) -> datetime:
    """When to try again after so many failures in a row: soon at first, every six hours in the end, and for ever.

    Args:
        failures: How many in a row, 1 or more.
        now: The present time.
        retry_after_s: What the authority asked for; it is obeyed, up to a week.
        jitter: A random number in [0, 1); it only makes the pause longer.
        life: The life of the certificate that is to be renewed; of a short one the pauses are short as well.
    """
    pause = pause_s(failures, life) * (1 + jitter * _PAUSE_SPREAD)
    if retry_after_s is not None:
        asked = min(max(retry_after_s, 0.0), _RETRY_AFTER_MOST_S)
        pause = max(pause, asked + min(asked, 60.0) * jitter * _PAUSE_SPREAD)
    return now + timedelta(seconds=pause)


def pause_s(failures: int, life: timedelta | None = None) -> float:
    """The pause after so many failures in a row, in seconds, without jitter."""
    pause: float = _PAUSES_S[min(max(failures, 1), len(_PAUSES_S)) - 1]
    return pause if life is None else min(pause, max(life.total_seconds() * _PAUSE_SHARE, 1.0))


def is_due(at: datetime | None, now: datetime) -> bool:
    """Whether the time has come; also when it is so far ahead that the clock must have been set back since."""
    return at is None or at <= now or at - now > _FURTHEST


def _before(at: datetime, plan: Plan) -> datetime | None:
    return at if at < plan.not_after else None
