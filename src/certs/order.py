"""One issuance as a value that can be saved, and what comes next in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from certs.answers import Authorization, Challenge, Order, checked_token, failure, one_line
from certs.errors import IssueError
from certs.ports import Task
from certs.settings import ChallengeType, IssuerSpec, KeyType

Step = Literal["authorize", "finalize", "wait", "download"]

# An order is given up after so many points. A time limit, a refusal or an answer that is no good counts GRAVE of them,
# a connection or a server that fails one: that may be over in an hour, and a new order costs more than patience.
SETBACKS: Final = 12
GRAVE: Final = 4

# What says nothing about the order that it happened to: it is only not its turn, or not the account's.
_NO_SETBACK: Final = frozenset({"rateLimited", "accountDoesNotExist", "userActionRequired", "budget"})

# Another challenge may do better after these; after others (a rate limit, CAA) it would only waste an attempt.
_ROTATED: Final = frozenset(
    {
        *("connection", "unauthorized", "dns", "dnssec", "tls"),
        *("incorrectResponse", "unknownHost", "serverInternal", "solver"),
    }
)

_STEPS: Final[Mapping[str, Step]] = MappingProxyType(
    {"pending": "authorize", "ready": "finalize", "processing": "wait", "valid": "download"}
)


class IssueRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that is wanted: for `names`, from `issuer` by way of `directory` (its own, or that of its staging).

    `challenges` are tried in this order. `replaces` is the leaf in PEM that is renewed, if it is of the same authority.
    After `timeout_s` seconds the attempt ends; the next one goes on with the same order.
    """

    names: tuple[str, ...]
    issuer: IssuerSpec
    directory: str
    key_type: KeyType = "p256"
    challenges: tuple[ChallengeType, ...] = ("http-01", "tls-alpn-01", "dns-01")
    replaces: bytes | None = None
    timeout_s: float = 300.0

    @property
    def is_staging(self) -> bool:
        """Whether visitors will not trust what comes of it."""
        return self.directory == self.issuer.staging


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that it takes to go on after a crash, and nothing that the authority can tell again.

    `key` and `csr` are there before the order, so that no order is ever without them. `phase` is "made" while there is
    no order, "ordering" from just before one is asked for, and "ordered" once its URL is known. `tasks` are the
    challenges that may be on show. `tried` are challenge types that failed, `setbacks` are points of SETBACKS.
    """

    issuer: str
    directory: str
    is_staging: bool
    names: tuple[str, ...]
    key_type: KeyType
    key: bytes
    csr: bytes
    profile: str | None = None
    phase: Literal["made", "ordering", "ordered"] = "made"
    order: str | None = None
    challenge: ChallengeType | None = None
    tried: tuple[ChallengeType, ...] = ()
    tasks: tuple[Task, ...] = ()
    setbacks: int = 0

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"OrderState({', '.join(self.names)}, {self.directory!r}, {self.phase}, {self.order!r})"

    def encode(self) -> bytes:
        """As it is saved; it holds the key."""
        return _ENCODER.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> OrderState:
        """What `encode` made; raises ValueError when it is not that."""
        return _DECODER.decode(body)

    def serves(self, request: IssueRequest) -> bool:
        """Whether what was begun can still become what is wanted."""
        wanted = (request.directory, request.names, request.key_type, request.issuer.profile)
        return (self.directory, self.names, self.key_type, self.profile) == wanted

    def ordering(self) -> OrderState:
        """An order is about to be asked for."""
        return msgspec.structs.replace(self, phase="ordering")

    def ordered(self, order: Order) -> OrderState:
        """There is an order."""
        return msgspec.structs.replace(self, phase="ordered", order=order.url)

    def presenting(self, challenge: ChallengeType, tasks: tuple[Task, ...]) -> OrderState:
        """Challenges are about to be on show."""
        return msgspec.structs.replace(self, challenge=challenge, tasks=tasks)

    def failed(self, challenge: ChallengeType) -> OrderState:
        """A challenge type did not do it."""
        return msgspec.structs.replace(self, challenge=None, tried=(*self.tried, challenge), tasks=())

    def with_all_challenges(self) -> OrderState:
        """Those that failed may be tried again."""
        return msgspec.structs.replace(self, challenge=None, tried=(), tasks=())

    def without_order(self) -> OrderState:
        """The order has come to nothing: another one is needed, with the same key."""
        return msgspec.structs.replace(self, phase="made", order=None, challenge=None, tasks=(), setbacks=0)

    def afresh(self) -> OrderState:
        """As at the start."""
        return self.without_order().with_all_challenges()

    def with_setback(self, error: IssueError) -> OrderState:
        """The order came to no end; after SETBACKS points it is given up, so that no order is in the way for ever."""
        # Who says when to come back has not given it up.
        if self.order is None or error.kind in _NO_SETBACK or error.retry_after_s is not None:
            return self
        is_brief = error.kind == "unreachable" or (error.status is not None and error.status >= 500)
        points = self.setbacks + (1 if is_brief else GRAVE)
        return self.afresh() if points >= SETBACKS else msgspec.structs.replace(self, setbacks=points)


def step_of(order: Order) -> Step:
    """What an order waits for; raises IssueError when it has come to nothing."""
    if order.status == "invalid":
        raise failure(order.error, "the authority has given up the order, and did not say why")
    step = _STEPS.get(order.status)
    if step is None:
        raise IssueError("badAnswer", "the authority's order is in a state that nobody knows")
    return step


def is_for(order: Order, names: Collection[str]) -> bool:
    """Whether an order is for exactly these names."""
    return {identifier.value.lower() for identifier in order.identifiers} == set(names)


def pending(authorizations: Iterable[Authorization]) -> tuple[Authorization, ...]:
    """Those for which something has to be shown."""
    return tuple(authorization for authorization in authorizations if authorization.status == "pending")


def choose_challenge(
    authorizations: Sequence[Authorization], wanted: Sequence[ChallengeType], tried: Collection[ChallengeType]
) -> ChallengeType:
    """The first type wanted that was not tried yet and that every one of `authorizations` (one at least) offers.

    One type for all of them keeps it simple: names that need DNS-01 (wildcards) come with names that can have it.
    Raises IssueError of the kind `solver` when there is none.
    """
    offered = [{challenge.type for challenge in authorization.challenges} for authorization in authorizations]
    for candidate in wanted:
        if candidate not in tried and all(candidate in types for types in offered):
            return candidate
    common = one_line(", ".join(sorted(set.intersection(*offered)))) or "nothing"
    name = _spelled(authorizations[0])
    raise IssueError("solver", f"for {name} the authority takes {common}, which is not set up here")


def challenge_of(authorization: Authorization, wanted: ChallengeType) -> Challenge:
    """The challenge of a type; raises IssueError `badAnswer` when the authority offers it no more."""
    for challenge in authorization.challenges:
        if challenge.type == wanted:
            return challenge
    raise IssueError("badAnswer", f"the authority's {wanted} challenge has gone")


def task_of(authorization: Authorization, wanted: ChallengeType, thumbprint: str, account: str) -> Task:
    """What a solver has to show (RFC 8555 section 8.1)."""
    token = checked_token(challenge_of(authorization, wanted))
    return Task(
        name=authorization.identifier.value.lower(),
        is_wildcard=authorization.wildcard,
        type=wanted,
        token=token,
        key_authorization=f"{token}.{thumbprint}",
        account=account,
    )


def failed_validation(authorizations: Iterable[Authorization]) -> IssueError | None:
    """Why the first of the authorizations that failed did so; None when none did."""
    for authorization in authorizations:
        if authorization.status in {"pending", "valid"}:
            continue
        problem = next((challenge.error for challenge in authorization.challenges if challenge.error is not None), None)
        error = failure(problem, f"the authority's authorization is {authorization.status[:20]}, without a reason")
        return IssueError(error.kind, error.detail, identifier=_spelled(authorization))
    return None


def may_rotate(error: IssueError) -> bool:
    """Whether another challenge type could do better."""
    return error.kind in _ROTATED


def in_sum(errors: Mapping[ChallengeType, IssueError]) -> IssueError:
    """One error for all challenge types that failed: of the kind of the first, and with the words of each."""
    first = next(iter(errors.values()))
    if len(errors) == 1:
        return first
    detail = "; ".join(f"{challenge}: {error.detail}" for challenge, error in errors.items())
    return IssueError(first.kind, detail, status=first.status, identifier=first.identifier)


def _spelled(authorization: Authorization) -> str:
    return f"*.{authorization.identifier.value}" if authorization.wildcard else authorization.identifier.value


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(OrderState)
