"""The supervisor of one tunnel, as moves from state to state: events in, the next state and actions out.

Theory of operation. At most one program of a tunnel is alive, and `life` says what is known of it: nothing is, one is
being spawned, it runs, or it was told to end. Every spawn has a number, its generation, and an event of another
generation than the present one is about something that is over: it changes nothing. What a tunnel is to do after its
program has ended is decided when that is told to end (`after`), because only the end of a program makes room for the
next. There is one timer, set to `deadline`, and what is due then follows from the phase. Nothing here reads a clock:
`now` is seconds of one that never jumps, `jitter` a random number in [0, 1).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, assert_never

import msgspec

from tunnels.backoff import Budget, Pace, pause_s, slow_pause_s

Phase = Literal["stopped", "starting", "connecting", "ready", "degraded", "backoff", "failed", "stopping"]
Life = Literal["none", "spawning", "running", "ending"]
After = Literal["stop", "start", "retry", "fail"]

KEPT_EXITS: Final = 10


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor puts up with; times in seconds.

    `misses` bad probes in a row make a ready tunnel degraded, `hits` good ones a degraded one ready. One that is
    degraded for `dead_s`, or not connected `connect_s` after its spawn, is started anew. A program that was told to
    end is killed `grace_s` later, which is its provider's grace and a little more, and again every `kill_again_s`.
    """

    pace: Pace = Pace()
    misses: int = 3
    hits: int = 2
    connect_s: float = 120.0
    dead_s: float = 120.0
    grace_s: float = 12.0
    kill_again_s: float = 2.0


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a program: when, by which status or signal (a negative number; None: it was never there), and why."""

    at: float
    status: int | None
    reason: str


class Start(msgspec.Struct, frozen=True):
    """The operator wants the tunnel; what has failed is tried again at once."""


class Stop(msgspec.Struct, frozen=True):
    """The operator does not want it any more."""


class Restart(msgspec.Struct, frozen=True):
    """The operator wants a new program in place of the present one, or what the tunnel is was changed."""


class Spawned(msgspec.Struct, frozen=True):
    """The program of a generation was started."""

    generation: int


class SpawnFailed(msgspec.Struct, frozen=True):
    """It could not be started, and nothing of it is there."""

    generation: int
    reason: str
    is_permanent: bool = False


class Exited(msgspec.Struct, frozen=True):
    """The program has ended and was reaped, and nothing of its group is left."""

    generation: int
    status: int
    reason: str
    is_permanent: bool = False


class Probed(msgspec.Struct, frozen=True):
    """A round of probes: whether it is connected to its provider, and why not."""

    generation: int
    is_connected: bool
    reason: str = ""


class Refused(msgspec.Struct, frozen=True):
    """The program lives, and no new start can help: it told so."""

    generation: int
    reason: str


class Unfit(msgspec.Struct, frozen=True):
    """The program lives, and must not go on: too much memory, or nothing but output."""

    generation: int
    reason: str


class Due(msgspec.Struct, frozen=True):
    """The timer has come to its time. Early, late or twice does no harm."""


Event: TypeAlias = Start | Stop | Restart | Spawned | SpawnFailed | Exited | Probed | Refused | Unfit | Due


class Spawn(msgspec.Struct, frozen=True):
    """Start a program; answer with Spawned or SpawnFailed of this generation, and with Exited when it has ended."""

    generation: int


class Terminate(msgspec.Struct, frozen=True):
    """Ask the program and its group to end (SIGTERM)."""

    generation: int


class Kill(msgspec.Struct, frozen=True):
    """End the program, its group and its strays (SIGKILL)."""

    generation: int


class SetTimer(msgspec.Struct, frozen=True):
    """Send Due at this time, and at no other; None: not at all."""

    at: float | None


class Report(msgspec.Struct, frozen=True):
    """What people see of the tunnel has changed."""


Action: TypeAlias = Spawn | Terminate | Kill | SetTimer | Report


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """All that a supervisor remembers.

    `since` is when the phase began, `failures` counts those in a row, `restarts` the spawns that followed a failure.
    `reason` says why it is not ready, or why it was started last; with `is_permanent` nothing is tried any more.
    `next_try` is when it is. `is_slow`: a crash loop, and not over yet. `exits` are the last ones, the newest last.
    """

    policy: Policy = Policy()
    phase: Phase = "stopped"
    life: Life = "none"
    after: After = "stop"
    generation: int = 0
    since: float = 0.0
    deadline: float | None = None
    ready_since: float | None = None
    hits: int = 0
    misses: int = 0
    failures: int = 0
    restarts: int = 0
    budget: Budget = Budget()
    is_slow: bool = False
    is_permanent: bool = False
    reason: str = ""
    next_try: float | None = None
    exits: tuple[Exit, ...] = ()

    @property
    def is_wanted(self) -> bool:
        """Whether it runs, or will."""
        return self.phase != "stopped" and (self.phase != "stopping" or self.after != "stop")


def step(machine: Machine, event: Event, now: float, jitter: float) -> tuple[Machine, tuple[Action, ...]]:
    """The next state, and what to do, in this order."""
    if isinstance(event, Spawned | SpawnFailed | Exited | Probed | Refused | Unfit) and (
        event.generation != machine.generation or machine.life == "none"
    ):
        return machine, ()
    moved, actions = _move(machine, event, now, jitter)
    if moved.deadline != machine.deadline:
        actions = (*actions, SetTimer(moved.deadline))
    if _seen(moved) != _seen(machine):
        actions = (*actions, Report())
    return moved, actions


_Moved: TypeAlias = tuple[Machine, tuple[Action, ...]]


def _move(machine: Machine, event: Event, now: float, jitter: float) -> _Moved:  # noqa: PLR0911 (one for each event)
    match event:
        case Start() | Restart():
            return _wanted(machine, now, is_new=isinstance(event, Restart))
        case Stop():
            return _unwanted(machine, now)
        case Spawned():
            return _spawned(machine, now)
        case SpawnFailed():
            return _ended(machine, Exit(at=now, status=None, reason=event.reason), jitter, is_final=event.is_permanent)
        case Exited():
            end = Exit(at=now, status=event.status, reason=event.reason)
            return _ended(machine, end, jitter, is_final=event.is_permanent)
        case Probed():
            return _probed(machine, event, now)
        case Refused():
            return _end(machine, now, "fail", event.reason)
        case Unfit():
            return _end(machine, now, "retry", event.reason)
        case Due():
            return _due(machine, now)
        case _:
            assert_never(event)


def _wanted(machine: Machine, now: float, *, is_new: bool) -> _Moved:
    if machine.life == "none":
        # Whatever it waits for, an operator who starts it knows better.
        if machine.phase == "backoff" and not is_new:
            return machine, ()
        return _spawn(_forgiven(machine), now)
    if machine.phase == "stopping":
        # What ends makes room first; an end for the sake of a restart stays one.
        return msgspec.structs.replace(_forgiven(machine), after="start"), ()
    if not is_new:
        return machine, ()
    return _end(_forgiven(machine), now, "start", "an operator asked for a new start")


def _unwanted(machine: Machine, now: float) -> _Moved:
    if machine.life == "none":
        return _at_rest(machine, now, "stopped", ""), ()
    if machine.phase == "stopping":
        return msgspec.structs.replace(machine, after="stop", reason=""), ()
    return _end(machine, now, "stop", "")


def _spawn(machine: Machine, now: float) -> _Moved:
    generation = machine.generation + 1
    begun = msgspec.structs.replace(
        machine,
        phase="starting",
        life="spawning",
        generation=generation,
        since=now,
        deadline=None,
        ready_since=None,
        next_try=None,
        is_permanent=False,
        hits=0,
        misses=0,
    )
    return begun, (Spawn(generation),)


def _spawned(machine: Machine, now: float) -> _Moved:
    if machine.life != "spawning":
        return machine, ()
    if machine.phase == "stopping":
        # It was told to end before it was there to be told.
        ending = msgspec.structs.replace(machine, life="ending", deadline=now + machine.policy.grace_s)
        return ending, (Terminate(machine.generation),)
    running = msgspec.structs.replace(
        machine, phase="connecting", life="running", since=now, deadline=now + machine.policy.connect_s
    )
    return running, ()


def _probed(machine: Machine, event: Probed, now: float) -> _Moved:
    if machine.life != "running":
        return machine, ()
    hits, misses = (machine.hits + 1, 0) if event.is_connected else (0, machine.misses + 1)
    machine = msgspec.structs.replace(machine, hits=hits, misses=misses)
    if event.is_connected:
        # One good answer makes it ready at first; after it was lost, one may be an accident.
        needed = 1 if machine.phase == "connecting" else machine.policy.hits
        if machine.phase != "ready" and hits >= needed:
            return _ready(machine, now), ()
        return _settled(machine, now), ()
    if machine.phase == "ready" and misses >= machine.policy.misses:
        lost = msgspec.structs.replace(
            machine,
            phase="degraded",
            since=now,
            deadline=now + machine.policy.dead_s,
            reason=event.reason or "has lost its connection",
        )
        return lost, ()
    if machine.phase != "ready" and event.reason:
        return msgspec.structs.replace(machine, reason=event.reason), ()
    return machine, ()


def _ready(machine: Machine, now: float) -> Machine:
    return msgspec.structs.replace(machine, phase="ready", since=now, ready_since=now, deadline=None, reason="")


def _settled(machine: Machine, now: float) -> Machine:
    if machine.phase == "ready" and machine.failures and _is_stable(machine, now):
        return msgspec.structs.replace(machine, failures=0, is_slow=False, budget=Budget())
    return machine


def _is_stable(machine: Machine, now: float) -> bool:
    # A tunnel that is lost now has to be ready again for that long.
    since = machine.ready_since if machine.phase == "ready" else None
    return since is not None and now - since >= machine.policy.pace.stable_s


def _end(machine: Machine, now: float, after: After, reason: str) -> _Moved:
    """Have the program end, and remember what is to come then."""
    if machine.phase == "stopping":
        # The first to ask has said what for; that it makes no sense to go on counts more than a try.
        if machine.after == "retry" and after == "fail":
            machine = msgspec.structs.replace(machine, after="fail", reason=reason)
        return machine, ()
    stopping = msgspec.structs.replace(
        _settled(machine, now), phase="stopping", after=after, reason=reason, since=now, next_try=None
    )
    if machine.life == "spawning":
        return msgspec.structs.replace(stopping, deadline=None), ()
    deadline = now + machine.policy.grace_s
    return msgspec.structs.replace(stopping, life="ending", deadline=deadline), (Terminate(machine.generation),)


def _ended(machine: Machine, end: Exit, jitter: float, *, is_final: bool) -> _Moved:
    now = end.at
    was_told = machine.phase == "stopping"
    after = machine.after if was_told else "retry"
    if was_told:
        end = msgspec.structs.replace(end, reason="was stopped" if after == "stop" else machine.reason or end.reason)
    gone = msgspec.structs.replace(
        _settled(machine, now), life="none", exits=(*machine.exits, end)[-KEPT_EXITS:], ready_since=None
    )
    if after == "stop":
        return _at_rest(gone, now, "stopped", ""), ()
    if after == "start":
        return _spawn(gone, now)
    if after == "fail" or (is_final and not was_told):
        failed = msgspec.structs.replace(gone, failures=gone.failures + 1, is_permanent=True)
        return _at_rest(failed, now, "failed", end.reason), ()
    return _failed(gone, now, end.reason, jitter), ()


def _failed(machine: Machine, now: float, reason: str, jitter: float) -> Machine:
    pace = machine.policy.pace
    budget = machine.budget.with_end(now, pace)
    failures = machine.failures + 1
    is_slow = machine.is_slow or budget.is_spent(now, pace)
    next_try = now + (slow_pause_s(jitter, pace) if is_slow else pause_s(failures, jitter, pace))
    rested = _at_rest(machine, now, "failed" if is_slow else "backoff", reason)
    return msgspec.structs.replace(
        rested, failures=failures, budget=budget, is_slow=is_slow, next_try=next_try, deadline=next_try
    )


def _due(machine: Machine, now: float) -> _Moved:
    if machine.deadline is None or now < machine.deadline:
        # Of a timer that was set before, or by a clock that was read too early.
        return machine, () if machine.deadline is None else (SetTimer(machine.deadline),)
    match machine.phase:
        case "connecting":
            return _end(machine, now, "retry", machine.reason or "did not connect in time")
        case "degraded":
            return _end(machine, now, "retry", f"was alive, but not connected any more: {machine.reason}")
        case "stopping":
            again = msgspec.structs.replace(machine, deadline=now + machine.policy.kill_again_s)
            return again, (Kill(machine.generation),)
        case _:
            # A wait is over: nothing else has a deadline.
            return _spawn(msgspec.structs.replace(machine, restarts=machine.restarts + 1), now)


def _at_rest(machine: Machine, now: float, phase: Phase, reason: str) -> Machine:
    return msgspec.structs.replace(
        machine,
        phase=phase,
        since=machine.since if machine.phase == phase else now,
        reason=reason,
        deadline=None,
        next_try=None,
        is_permanent=machine.is_permanent and phase == "failed",
    )


def _forgiven(machine: Machine) -> Machine:
    return msgspec.structs.replace(machine, failures=0, is_slow=False, is_permanent=False, budget=Budget())


def _seen(machine: Machine) -> tuple[object, ...]:
    return (
        machine.phase,
        machine.generation,
        machine.reason,
        machine.is_permanent,
        machine.next_try,
        machine.restarts,
        machine.exits,
    )
