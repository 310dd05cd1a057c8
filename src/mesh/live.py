"""A route in use in one worker: its targets and its balancer, what its policies come to, and what it has done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mesh.targets import LiveRoute

if TYPE_CHECKING:
    from mesh.counts import RouteCounts
    from mesh.routes import Route
    from mesh.rules import Rules
    from mesh.sides import TargetSide
    from mesh.targets import TargetState


class Live(LiveRoute["TargetSide"]):
    """What an exchange holds of its route."""

    __slots__ = ("counts", "rules")

    def __init__(
        self,
        route: Route,
        targets: Iterable[TargetState[TargetSide]],
        split_targets: Iterable[TargetState[TargetSide]],
        rules: Rules,
        counts: RouteCounts,
    ) -> None:
        """See `LiveRoute`; `rules` are those of `route`, `counts` take what becomes of its requests."""
        super().__init__(route, targets, split_targets=split_targets)
        self.rules = rules
        self.counts = counts
