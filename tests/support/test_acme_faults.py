"""Dates in every form that servers were seen to write, and documents as RFC 8555 has them."""

from __future__ import annotations

import datetime as dt
import email.utils
import json

import pytest

from tests.support.acme_faults import DateForm, http_date, problem, rate_limited, unavailable

MOMENT = dt.datetime(2026, 11, 8, 17, 0, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("gmt", "Sun, 08 Nov 2026 17:00:05 GMT"),
        ("offset", "Mon, 09 Nov 2026 02:00:05 +0900"),
        ("name", "Sun, 08 Nov 2026 12:00:05 EST"),
        ("rfc850", "Sunday, 08-Nov-26 17:00:05 GMT"),
        ("asctime", "Sun Nov  8 17:00:05 2026"),
        ("lower", "sun, 08 nov 2026 17:00:05 gmt"),
        ("no-zone", "Sun, 08 Nov 2026 17:00:05"),
    ],
)
def test_a_date_in_every_form(form: DateForm, text: str) -> None:
    """All are the same moment."""
    assert http_date(MOMENT, form) == text


@pytest.mark.parametrize("form", ["gmt", "offset", "name"])
def test_the_forms_with_a_zone_are_read_by_the_standard_library(form: DateForm) -> None:
    """To the second."""
    assert email.utils.parsedate_to_datetime(http_date(MOMENT, form)) == MOMENT


def test_a_problem_document() -> None:
    """With a subproblem for each name that is to blame (RFC 8555 section 6.7.1)."""
    fault = problem("caa", 403, detail="CAA forbids it", identifiers=("a.example",))
    document = json.loads(fault.body)
    assert (fault.status, document["type"]) == (403, "urn:ietf:params:acme:error:caa")
    assert document["subproblems"][0]["identifier"] == {"type": "dns", "value": "a.example"}
    assert "subproblems" not in json.loads(problem("malformed").body)
    assert fault.headers == {"Content-Type": "application/problem+json"}


def test_when_to_come_back() -> None:
    """Only if it is said."""
    assert rate_limited("7").headers["Retry-After"] == "7"
    assert "Retry-After" not in rate_limited().headers
    assert unavailable(retry_after="7").headers == {"Content-Type": "text/html", "Retry-After": "7"}
    assert unavailable().status == 503
