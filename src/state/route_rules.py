"""What a route may say: every field in its one spelling, or all that is wrong with it."""

from __future__ import annotations

from state.model import Route
from state.refusal import Problem, Refused
from state.rules import S, folded
from state.text_rules import check_org_id


def fold_route(route: Route) -> Route:
    """The route with every field in its one spelling; raises Refused with every problem there is."""
    return fold_value(route)


def fold_value(value: S, path: str = "") -> S:
    """`value`, which stands at `path`, in its one spelling; raises Refused with every problem there is."""
    problems: list[Problem] = []
    fixed = folded(value, problems, path)
    if problems:
        raise Refused("invalid", problems)
    return fixed


def org_id_reason(org_id: str) -> str | None:
    """Why `org_id` cannot name an organization; None when it can."""
    try:
        check_org_id(org_id)
    except ValueError as reason:
        return str(reason)
    return None
