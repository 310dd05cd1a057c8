"""The moves of a supervisor: what starts, ends and is started again, whatever comes in whatever order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.backoff import Pace, ceiling_s
from tunnels.machine import (
    KEPT_EXITS,
    Action,
    Due,
    Event,
    Exited,
    Kill,
    Machine,
    Policy,
    Probed,
    Refused,
    Report,
    Restart,
    SetTimer,
    Spawn,
    Spawned,
    SpawnFailed,
    Start,
    Stop,
    Terminate,
    Unfit,
    step,
)

POLICY = Policy()
PACE = POLICY.pace
GRACE_S = POLICY.grace_s

# A wish of the operator's, something that happens to the program, or time that goes by.
Push: TypeAlias = str


class Run:
    """A machine with its clock, and all that it asked for."""

    def __init__(self, *, policy: Policy = POLICY, jitter: float = 0.5) -> None:
        """At rest."""
        self.machine = Machine(policy=policy)
        self.now = 100.0
        self.jitter = jitter
        self.timer: float | None = None

    def __call__(self, *events: Event, after_s: float = 0.0) -> list[Action]:
        """What is to be done after the events, without timers and reports."""
        self.now += after_s
        asked: list[Action] = []
        for event in events:
            self.machine, actions = step(self.machine, event, self.now, self.jitter)
            for action in actions:
                if isinstance(action, SetTimer):
                    self.timer = action.at
            asked += actions
        assert self.timer == self.machine.deadline
        return [action for action in asked if not isinstance(action, SetTimer | Report)]

    def to_timer(self) -> list[Action]:
        """What is to be done when the timer has come."""
        assert self.timer is not None
        self.now = max(self.timer, self.now)
        return self(Due())

    def ready(self) -> Run:
        """With a program that is connected."""
        self(Start())
        self(Spawned(self.generation), Probed(self.generation, is_connected=True))
        assert self.phase == "ready"
        return self

    def fails(self, *, is_permanent: bool = False) -> list[Action]:
        """With an end that nobody asked for."""
        return self(Exited(self.generation, 1, "fell over", is_permanent))

    @property
    def phase(self) -> str:
        """Where it is."""
        return self.machine.phase

    @property
    def generation(self) -> int:
        """The present spawn's."""
        return self.machine.generation


def test_a_tunnel_starts_connects_and_is_ready() -> None:
    """With one good probe."""
    run = Run()
    assert run(Start()) == [Spawn(1)]
    assert run.phase == "starting"
    assert run(Spawned(1)) == []
    assert run.phase == "connecting"
    assert run(Probed(1, is_connected=False, reason="no connection")) == []
    assert (run.phase, run.machine.reason) == ("connecting", "no connection")
    assert run(Probed(1, is_connected=True)) == []
    assert (run.phase, run.machine.reason, run.timer) == ("ready", "", None)


def test_a_start_is_asked_for_once() -> None:
    """Whatever it does at the moment."""
    run = Run()
    run(Start())
    assert run(Start()) == []
    run(Spawned(1))
    assert run(Start()) == []
    run(Probed(1, is_connected=True))
    assert run(Start()) == []


def test_a_start_does_not_cut_a_wait_short() -> None:
    """Only an operator who asks for a new one does."""
    run = Run().ready()
    run.fails()
    before = run.machine
    assert run(Start()) == []
    assert run.machine == before


def test_a_spawn_is_told_once() -> None:
    """A second word of it is none."""
    run = Run().ready()
    assert run(Spawned(1)) == []
    assert run.phase == "ready"


def test_a_stop_asks_then_ends() -> None:
    """TERM once, and KILL after the grace, and again."""
    run = Run().ready()
    assert run(Stop()) == [Terminate(1)]
    assert run.phase == "stopping"
    assert run(Stop()) == []
    assert run(Due(), after_s=GRACE_S / 2) == []
    assert run.to_timer() == [Kill(1)]
    assert run.to_timer() == [Kill(1)]
    assert run(Exited(1, -9, "was ended by SIGKILL")) == []
    assert (run.phase, run.timer, run.machine.reason) == ("stopped", None, "")
    assert [end.reason for end in run.machine.exits] == ["was stopped"]


def test_a_stop_before_the_program_is_there_ends_it_when_it_is() -> None:
    """The spawn cannot be taken back."""
    run = Run()
    run(Start())
    assert run(Stop()) == []
    assert run.phase == "stopping"
    assert run(Spawned(1)) == [Terminate(1)]
    run(Exited(1, 0, ""))
    assert run.phase == "stopped"


def test_a_stop_ends_a_wait_at_once() -> None:
    """There is no program to wait for."""
    run = Run().ready()
    run.fails()
    assert run.phase == "backoff"
    assert run(Stop()) == []
    assert (run.phase, run.timer) == ("stopped", None)


def test_a_start_while_it_stops_waits_for_the_end() -> None:
    """Two of one tunnel would share its requests."""
    run = Run().ready()
    run(Stop())
    assert run(Start()) == []
    assert run.phase == "stopping"
    assert run(Exited(1, 0, "")) == [Spawn(2)]
    assert run.phase == "starting"


def test_a_hundred_starts_and_stops_leave_what_was_said_last() -> None:
    """One program, or none."""
    run = Run().ready()
    for _ in range(100):
        run(Stop(), Start())
    assert run(Exited(1, 0, "")) == [Spawn(2)]
    for _ in range(100):
        run(Start(), Stop())
    assert run(Spawned(2)) == [Terminate(2)]
    assert run(Exited(2, 0, "")) == []
    assert run.phase == "stopped"


def test_a_restart_ends_one_and_starts_the_next_without_a_wait() -> None:
    """It is no failure."""
    run = Run().ready()
    assert run(Restart()) == [Terminate(1)]
    assert run(Exited(1, 0, "")) == [Spawn(2)]
    assert (run.machine.failures, run.machine.restarts) == (0, 0)


@pytest.mark.parametrize("is_permanent", [False, True])
def test_a_restart_tries_again_at_once(is_permanent: bool) -> None:
    """Also what has failed for good: the operator has changed something."""
    run = Run().ready()
    run.fails(is_permanent=is_permanent)
    assert run.phase == ("failed" if is_permanent else "backoff")
    assert run(Restart()) == [Spawn(2)]
    assert (run.machine.is_permanent, run.machine.failures) == (False, 0)


def test_an_end_is_followed_by_a_wait_and_a_new_start() -> None:
    """The wait is the jitter's share of its ceiling."""
    run = Run(jitter=0.5).ready()
    assert run.fails() == []
    assert (run.phase, run.machine.reason) == ("backoff", "fell over")
    assert run.machine.next_try == run.timer == pytest.approx(run.now + 0.55)
    assert run.to_timer() == [Spawn(2)]
    assert (run.machine.restarts, run.machine.next_try) == (1, None)


def test_the_wait_grows_with_failures_in_a_row() -> None:
    """And is forgotten after a while of being ready."""
    run = Run(jitter=0.999).ready()
    waits = []
    for _ in range(4):
        run.fails()
        assert run.timer is not None
        waits.append(run.timer - run.now)
        run.to_timer()
        run(Spawned(run.generation), Probed(run.generation, is_connected=True))
    assert waits == sorted(waits)
    assert waits[-1] > 7
    run(after_s=PACE.stable_s + 1)
    run.fails()
    assert run.machine.failures == 1


def test_a_tunnel_that_is_stable_has_not_failed() -> None:
    """Its figures say so while it runs."""
    run = Run().ready()
    run.fails()
    run.to_timer()
    run(Spawned(2), Probed(2, is_connected=True))
    run(Probed(2, is_connected=True), after_s=PACE.stable_s / 2)
    assert run.machine.failures == 1
    run(Probed(2, is_connected=True), after_s=PACE.stable_s / 2 + 1)
    assert run.machine.failures == 0


def test_a_permanent_error_is_the_end() -> None:
    """No timer, no storm of tries, and the reason."""
    run = Run()
    run(Start(), Spawned(1))
    assert run(Exited(1, 255, "the token is not valid", is_permanent=True)) == []
    assert (run.phase, run.timer, run.machine.next_try) == ("failed", None, None)
    assert (run.machine.is_permanent, run.machine.reason) == (True, "the token is not valid")


def test_a_program_that_is_not_there_is_a_permanent_error() -> None:
    """Nothing was spawned."""
    run = Run()
    run(Start())
    assert run(SpawnFailed(1, "cloudflared is not installed", is_permanent=True)) == []
    assert run.phase == "failed"
    assert [end.status for end in run.machine.exits] == [None]


def test_a_spawn_that_fails_is_tried_again() -> None:
    """Too many processes are a matter of time."""
    run = Run()
    run(Start(), SpawnFailed(1, "try again"))
    assert run.phase == "backoff"
    assert run.to_timer() == [Spawn(2)]


def test_a_program_that_never_ends_by_itself_is_ended_for_a_permanent_error() -> None:
    """As newt, which tries refused credentials for ever."""
    run = Run()
    run(Start(), Spawned(1))
    assert run(Refused(1, "credentials refused")) == [Terminate(1)]
    assert run(Refused(1, "credentials refused")) == []
    run(Exited(1, 0, "ended by itself"))
    assert (run.phase, run.machine.reason, run.machine.is_permanent) == ("failed", "credentials refused", True)
    assert [end.reason for end in run.machine.exits] == ["credentials refused"]


def test_a_few_bad_probes_change_nothing() -> None:
    """They do not add up."""
    run = Run().ready()
    for _ in range(10):
        run(Probed(1, is_connected=False), Probed(1, is_connected=False), Probed(1, is_connected=True))
    assert run.phase == "ready"


def test_a_tunnel_is_degraded_and_back_without_a_restart() -> None:
    """One good probe is not enough to be back."""
    run = Run().ready()
    run(*[Probed(1, is_connected=False, reason="503")] * 3)
    assert (run.phase, run.machine.reason) == ("degraded", "503")
    run(Probed(1, is_connected=True), Probed(1, is_connected=False), Probed(1, is_connected=True))
    assert run.phase == "degraded"
    assert run(Probed(1, is_connected=True)) == []
    assert (run.phase, run.machine.restarts) == ("ready", 0)


def test_what_is_alive_and_dead_is_started_anew() -> None:
    """The most reported failure of all, which no exit code tells of."""
    run = Run().ready()
    run(*[Probed(1, is_connected=False, reason="503")] * 3)
    run(Probed(1, is_connected=False), after_s=POLICY.dead_s / 2)
    assert run.to_timer() == [Terminate(1)]
    assert run.to_timer() == [Kill(1)]
    run(Exited(1, -9, "was ended by SIGKILL"))
    assert run.phase == "backoff"
    assert "not connected any more: 503" in run.machine.reason
    assert run.to_timer() == [Spawn(2)]


def test_what_does_not_connect_is_started_anew() -> None:
    """After a while that is long enough for a slow network."""
    run = Run()
    run(Start(), Spawned(1))
    assert run.to_timer() == [Terminate(1)]
    run(Exited(1, 0, ""))
    assert (run.phase, run.machine.reason) == ("backoff", "did not connect in time")


def test_what_takes_too_much_is_started_anew() -> None:
    """Memory, or the log."""
    run = Run().ready()
    assert run(Unfit(1, "uses 2 GB")) == [Terminate(1)]
    run(Exited(1, 0, ""))
    assert (run.phase, run.machine.reason) == ("backoff", "uses 2 GB")


def test_a_stop_counts_more_than_a_restart_that_is_under_way() -> None:
    """Whatever it was for."""
    for event in (Unfit(1, "uses 2 GB"), Refused(1, "no"), Restart()):
        run = Run().ready()
        run(event, Stop())
        assert run(Exited(1, 0, "")) == []
        assert run.phase == "stopped"


def test_a_crash_loop_is_slow_until_it_is_stable() -> None:
    """It is not given up: what was wrong may be put right elsewhere."""
    run = Run(jitter=0.0)
    run(Start(), Spawned(1))
    for _ in range(PACE.budget):
        run.fails()
        assert run.phase == "backoff"
        run.to_timer()
        run(Spawned(run.generation))
    run.fails()
    assert (run.phase, run.machine.is_permanent) == ("failed", False)
    assert run.machine.next_try == run.now + PACE.slow_s
    assert run.to_timer() == [Spawn(PACE.budget + 2)]
    run(Spawned(run.generation))
    run(after_s=PACE.window_s)
    run.fails()
    assert run.phase == "failed"
    run.to_timer()
    run(Spawned(run.generation), Probed(run.generation, is_connected=True))
    run(after_s=PACE.stable_s + 1)
    run.fails()
    assert run.phase == "backoff"


def test_events_of_a_generation_that_is_over_change_nothing() -> None:
    """An exit that comes late would take the next program's place."""
    run = Run().ready()
    run(Restart(), Exited(1, 0, ""), Spawned(2))
    before = run.machine
    late = (
        *(Spawned(1), SpawnFailed(1, "x"), Exited(1, 1, "x"), Probed(1, is_connected=True)),
        *(Refused(1, "x"), Unfit(1, "x"), Exited(3, 1, "x")),
    )
    assert run(*late) == []
    assert run.machine == before


def test_an_end_is_told_once() -> None:
    """A second exit of the same generation is none."""
    run = Run().ready()
    run.fails()
    before = run.machine
    assert run.fails() == []
    assert run.machine == before


def test_a_timer_that_comes_early_is_set_again() -> None:
    """Clocks are read in two places."""
    run = Run().ready()
    run.fails()
    assert run.timer is not None
    machine, actions = step(run.machine, Due(), run.timer - 0.01, 0.0)
    assert (machine, actions) == (run.machine, (SetTimer(run.timer),))


def test_a_report_follows_what_people_see() -> None:
    """And nothing else: a good probe of a ready tunnel is none."""
    run = Run().ready()
    _, actions = step(run.machine, Probed(1, is_connected=True), run.now, 0.0)
    assert actions == ()
    _, actions = step(run.machine, Stop(), run.now, 0.0)
    assert Report() in actions


def test_the_last_ends_are_kept() -> None:
    """Ten of them, with when and why."""
    run = Run(jitter=0.0)
    run(Start(), Spawned(1))
    for _ in range(15):
        run.fails()
        run.to_timer()
        run(Spawned(run.generation))
    assert len(run.machine.exits) == KEPT_EXITS
    assert run.machine.exits[-1].at == pytest.approx(run.now, abs=PACE.slow_s * 2)


@pytest.mark.parametrize(
    ("phase", "is_wanted"),
    [("stopped", False), ("starting", True), ("ready", True), ("backoff", True), ("failed", True)],
)
def test_what_is_not_stopped_is_wanted(phase: str, is_wanted: bool) -> None:
    """Also what waits."""
    run = Run()
    if phase != "stopped":
        run(Start())
    if phase in {"ready", "backoff", "failed"}:
        run(Spawned(1), Probed(1, is_connected=True))
    if phase in {"backoff", "failed"}:
        run.fails(is_permanent=phase == "failed")
    assert (run.phase, run.machine.is_wanted) == (phase, is_wanted)


# A world for the machine: the programs that it asked for, some of them deaf, and things that happen to them.


class World:
    """Does what the machine asks, and checks that it never asks for what must not be."""

    def __init__(self, policy: Policy) -> None:
        """With a tunnel at rest."""
        self.machine = Machine(policy=policy)
        self.now = 0.0
        self.timer: float | None = None
        self.spawning: int | None = None
        self.alive: int | None = None
        self.is_deaf = False
        self.told: list[int] = []
        self.killed = False

    def tell(self, event: Event, jitter: float = 0.5) -> None:
        """Have the machine move."""
        self.machine, actions = step(self.machine, event, self.now, jitter)
        for action in actions:
            self._do(action)
        assert self.timer == self.machine.deadline
        assert len(self.machine.exits) <= KEPT_EXITS
        self._check(jitter)

    def push(self, push: Push, jitter: float) -> None:  # noqa: C901, PLR0912 (one line for each)
        """Have one thing happen, if it can."""
        generation = self.alive or self.machine.generation
        match push:
            case "start":
                self.tell(Start(), jitter)
            case "stop":
                self.tell(Stop(), jitter)
            case "restart":
                self.tell(Restart(), jitter)
            case "deaf":
                self.is_deaf = True
            case "spawned" if self.spawning is not None:
                self.alive, self.spawning = self.spawning, None
                self.tell(Spawned(self.alive), jitter)
            case "spawn fails" if self.spawning is not None:
                failed, self.spawning = self.spawning, None
                self.tell(SpawnFailed(failed, "no"), jitter)
            case "exit" | "permanent" if self.alive is not None:
                self._exit(is_permanent=push == "permanent", jitter=jitter)
            case "good":
                self.tell(Probed(generation, is_connected=True), jitter)
            case "bad":
                self.tell(Probed(generation, is_connected=False), jitter)
            case "refused":
                self.tell(Refused(generation, "no"), jitter)
            case "unfit":
                self.tell(Unfit(generation, "fat"), jitter)
            case "late":
                self.tell(Exited(generation - 1, 1, "late"), jitter)
            case "time":
                self.now += 200 * jitter
                self.tell(Due(), jitter)
            case _:
                pass

    def settle(self) -> None:
        """Let everything that is under way come to its end."""
        for _ in range(50):
            if self.spawning is not None:
                self.push("spawned", 0.5)
            elif self.killed and self.alive is not None:
                self._exit(is_permanent=False, jitter=0.5)
            elif self.machine.phase == "stopping":
                assert self.timer is not None, "nobody would come back to a program that does not end"
                self.now = max(self.now, self.timer)
                self.tell(Due())
            else:
                return
        raise AssertionError("it does not come to an end")

    def _do(self, action: Action) -> None:
        match action:
            case Spawn():
                assert self.alive is None, "a second program"
                assert self.spawning is None, "a second program"
                self.spawning, self.is_deaf, self.killed = action.generation, False, False
            case Terminate():
                assert action.generation == self.alive
                assert action.generation not in self.told, "a second TERM is an order to drop everything"
                self.told.append(action.generation)
            case Kill():
                assert action.generation == self.alive
                assert action.generation in self.told
                self.killed = True
            case SetTimer():
                self.timer = action.at
            case _:
                pass

    def _exit(self, *, is_permanent: bool, jitter: float) -> None:
        assert self.alive is not None
        ended, self.alive, self.killed = self.alive, None, False
        self.tell(Exited(ended, 1, "over", is_permanent), jitter)

    def _check(self, jitter: float) -> None:
        machine, pace = self.machine, self.machine.policy.pace
        assert (machine.life == "none") == (self.alive is None and self.spawning is None)
        if machine.phase == "backoff":
            assert machine.next_try is not None
            assert machine.since <= machine.next_try <= machine.since + ceiling_s(machine.failures, pace)
        if machine.phase == "failed":
            assert machine.is_permanent == (machine.next_try is None)
        if machine.phase in {"ready", "stopped", "starting"}:
            assert self.timer is None


PUSHES: Sequence[Push] = (
    *("start", "start", "stop", "restart", "deaf", "spawned", "spawned", "spawned", "spawn fails", "exit", "permanent"),
    *("good", "good", "bad", "bad", "refused", "unfit", "late", "time", "time"),
)
stories = st.lists(st.tuples(st.sampled_from(PUSHES), st.floats(0, 1, exclude_max=True)), max_size=30)
policies = st.builds(
    Policy,
    pace=st.builds(Pace, budget=st.integers(0, 4), window_s=st.floats(0, 1000)),
    misses=st.integers(1, 3),
    hits=st.integers(1, 3),
)


@given(stories, policies)
def test_whatever_happens_one_program_is_alive_at_most_and_a_stop_ends_it(
    story: list[tuple[Push, float]], policy: Policy
) -> None:
    """Deaf to TERM or not."""
    world = World(policy)
    for push, jitter in story:
        world.push(push, jitter)
    world.tell(Stop())
    world.settle()
    assert (world.machine.phase, world.alive, world.spawning, world.timer) == ("stopped", None, None, None)


@given(stories, policies)
def test_whatever_happens_a_start_leads_to_a_program(story: list[tuple[Push, float]], policy: Policy) -> None:
    """Nothing is so stuck that an operator could not start it."""
    world = World(policy)
    for push, jitter in story:
        world.push(push, jitter)
    world.tell(Restart())
    world.settle()
    assert world.machine.phase in {"connecting", "ready", "degraded"}
    assert world.alive == world.machine.generation


@given(stories, policies)
def test_whatever_happens_a_wanted_tunnel_is_alive_or_will_be(story: list[tuple[Push, float]], policy: Policy) -> None:
    """Or says why it never will."""
    world = World(policy)
    for push, jitter in story:
        world.push(push, jitter)
    world.settle()
    machine = world.machine
    if machine.is_wanted and world.alive is None:
        assert machine.is_permanent or world.timer is not None
        assert machine.reason
