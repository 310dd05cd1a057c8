"""What a route's policies come to in a worker, worked out once: limits, checks, edits and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.answers import failure_answer, prefers_data
from mesh.checks import checks_of, rate_check
from mesh.credentials import Credentials
from mesh.dressing import dressing_of
from mesh.edits import edits_of, folded
from mesh.pages import Pages
from mesh.paths import rewrite_of

if TYPE_CHECKING:
    from mesh.errors import Failure
    from mesh.forward import ResponseFields
    from mesh.routes import MeshSettings, Route
    from mesh.wire import StatusLine


class Rules:
    """A route's own wishes where it has any, and the worker's settings where it has none. 0 is no limit."""

    __slots__ = (
        "_pages",
        "body_idle_s",
        "checks",
        "checks_s",
        "connect_s",
        "credentials",
        "dressing",
        "idle_s",
        "is_judged_by_status",
        "is_open",
        "last_check",
        "max_body_bytes",
        "min_bytes_per_s",
        "owned_fields",
        "preserves_host",
        "request_edits",
        "response_s",
        "retries",
        "rewrite",
        "takes_time",
        "total_s",
    )

    def __init__(self, route: Route, settings: MeshSettings) -> None:
        """The rules of `route` under `settings`."""
        own = route.timeouts
        self.connect_s = own.connect_s or settings.connect_timeout_s
        self.response_s = own.response_s or settings.response_timeout_s
        self.idle_s = own.idle_s or settings.idle_timeout_s
        self.body_idle_s = own.body_idle_s or min(settings.body_idle_s, self.idle_s)
        self.total_s = settings.total_timeout_s if own.total_s is None else own.total_s
        self.min_bytes_per_s = settings.min_bytes_per_s
        own_max = route.limits.max_body_bytes
        self.max_body_bytes = settings.max_body_bytes if own_max is None else own_max
        self.checks = checks_of(route, settings)
        rate = route.rate_limit
        self.last_check = rate_check(route, rate) if rate is not None and rate.by == "token" else None
        self.credentials = Credentials(route.basic_auth) if route.basic_auth is not None else None
        is_paused = route.traffic.mode == "pause"
        self.takes_time = is_paused or self.credentials is not None or route.forward_auth is not None
        # For how long a request may be with the checks that take time.
        self.checks_s = 1.0 + self.connect_s + self.response_s + (route.traffic.hold_s if is_paused else 0.0)
        # Whether anybody may come with any request, so that nothing has to be checked.
        self.is_open = route.access == "public" and not (self.checks or self.last_check or self.takes_time)
        # Whether some answers count as failures of the target.
        self.is_judged_by_status = bool(route.ejection.statuses)
        self.retries = route.retries
        self.preserves_host = route.preserve_host
        self.rewrite = rewrite_of(route)
        self.request_edits = edits_of(route.request_headers)
        self.owned_fields = _owned(route)
        self._pages = Pages(route.error_pages, settings.error_page)
        self.dressing = dressing_of(route, self._pages)

    def failure_answer(
        self, failure: Failure, accept: bytes, request_id: bytes
    ) -> tuple[StatusLine, ResponseFields, bytes]:
        """The status line, the fields and the body that tell a visitor of `failure`."""
        page = None
        if not prefers_data(accept):
            page = self._pages.page(failure.status, failure.detail, request_id.decode("ascii"))
        return failure_answer(failure, accept, request_id, page)


def _owned(route: Route) -> frozenset[bytes]:
    """The folded names of what the route itself says to targets; visitors must not say it behind the body either."""
    edits = route.request_headers
    names = [*edits.remove, *(name for name, _value in (*edits.set, *edits.add))]
    if route.forward_auth is not None:
        names += route.forward_auth.copy_headers
    return frozenset(folded(name.encode("latin-1")) for name in names)
