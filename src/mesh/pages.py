"""The operator's own pages for errors, with what is known of the error filled in."""

from __future__ import annotations

import html
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.policies import ErrorPages

# Only these; every other brace belongs to the page, to its styles and scripts.
_PLACEHOLDER: Final = re.compile(r"\{(status|reason|detail|request_id)\}")


class Page:
    """One page, cut at its placeholders."""

    __slots__ = ("_parts",)

    def __init__(self, text: str) -> None:
        """HTML with any of {status}, {reason}, {detail} and {request_id}, as often as one likes."""
        # Text and names of values, by turns.
        self._parts = tuple(_PLACEHOLDER.split(text))

    def filled(self, values: Mapping[str, str]) -> bytes:
        """The page with `values`, which are escaped for text and for quoted attributes."""
        parts = list(self._parts)
        parts[1::2] = [html.escape(values[name]) for name in parts[1::2]]
        return "".join(parts).encode("utf-8", "replace")


class Pages:
    """The pages of a route, and the one of the node for all other errors."""

    __slots__ = ("_default", "_intercepts", "_pages")

    def __init__(self, pages: ErrorPages | None, default_html: str) -> None:
        """`default_html` stands for any status without a page of its own; empty: there is none."""
        own = pages.pages if pages is not None else ()
        self._pages = {page.statuses.lower(): Page(page.html) for page in own}
        self._intercepts = pages is not None and pages.intercept
        self._default = Page(default_html) if default_html else None

    def page(self, status: int, detail: str, request_id: str) -> bytes | None:
        """The page for `status` in UTF-8: that of the status, else of its class (`5xx`), else the default, if any."""
        page = self._own(status) or self._default
        if page is None:
            return None
        values = {"status": str(status), "reason": _reason(status), "detail": detail, "request_id": request_id}
        return page.filled(values)

    def intercepts(self, status: int) -> bool:
        """Whether an answer of a target with `status` is replaced; the route has to have a page for it."""
        return self._intercepts and status >= 400 and self._own(status) is not None

    def _own(self, status: int) -> Page | None:
        return self._pages.get(str(status)) or self._pages.get(f"{status // 100}xx")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
