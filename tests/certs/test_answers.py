"""What authorities answer is read strictly where it matters, and ends in plain words where it is no good."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs import answers
from certs.answers import Authorization, Challenge, Directory, Identifier, Order, Problem, read, retry_after_s
from certs.errors import IssueError

NOON = 1_795_262_400.0  # Sat, 21 Nov 2026 12:00:00 GMT

ACME = "urn:ietf:params:acme:error:"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("0" * 5000 + "9", 9.0),
        ("99999999999999999999", answers.LONGEST_WAIT_S),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\u0663", None),
        ("Sat, 21 Nov 2026 12:01:00 GMT", 60.0),
        ("Saturday, 21-Nov-26 12:01:00 GMT", 60.0),
        ("Sat Nov 21 12:01:00 2026", 60.0),
        ("Sat, 21 Nov 2026 12:01:00 -0000", 60.0),
        ("Sat, 21 Nov 2026 07:01:00 -0500", 60.0),
        ("Sat, 21 Nov 2026 21:01:00 +0900", 60.0),
        ("Sat, 21 Nov 2026 17:31:00 +0530", 60.0),
        ("Sat, 21 Nov 2026 07:01:00 EST", 60.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("Sat, 21 Nov 9999 11:00:00 GMT", answers.LONGEST_WAIT_S),
        ("Sat, 99 Nov 2026 11:00:00 GMT", None),
        ("Sat, 21 Nov 2026 11:00:00 +9999", None),
    ],
)
def test_a_wait_in_every_form(value: str | None, seconds: float | None) -> None:
    """Seconds, the three forms of a date, and zones; what is none is none."""
    assert retry_after_s(value, None, NOON) == seconds


def test_a_wait_is_held_against_the_date_of_the_answer() -> None:
    """So a clock of ours that is a day off waits as long as any other; without a date that can be read, ours counts."""
    value = "Sat, 21 Nov 2026 12:01:00 GMT"
    assert retry_after_s(value, "Sat, 21 Nov 2026 12:00:30 GMT", NOON + 86_400) == 30.0
    assert retry_after_s(value, "yesterday", NOON) == 60.0


@given(st.text(max_size=60))
def test_a_wait_is_never_negative_and_never_raises(value: str) -> None:
    """Whatever the field says."""
    found = retry_after_s(value, value, NOON)
    assert found is None or 0.0 <= found <= answers.LONGEST_WAIT_S


def test_a_directory_with_more_than_we_know() -> None:
    """Unknown fields are nobody's business."""
    body = {
        **{name: f"https://ca.example/{name}" for name in ("newNonce", "newAccount", "newOrder", "revokeCert", "x")},
        "renewalInfo": "https://ca.example/ari",
        "meta": {"externalAccountRequired": True, "profiles": {"short": "six days"}, "y": 1},
    }
    found = read(Directory, json.dumps(body).encode())
    assert found.new_order == "https://ca.example/newOrder"
    assert found.renewal_info == "https://ca.example/ari"
    assert found.meta.external_account_required
    assert found.meta.profiles == {"short": "six days"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"newNonce": 1}', b"\xff", b'"x"', b"null", b"[" * 100_000, b'{"newNonce": "\xed\xa0\x80"}'],
)
def test_what_is_no_directory(body: bytes) -> None:
    """One line, and nothing of the body in it."""
    with pytest.raises(IssueError) as caught:
        read(Directory, body)
    assert caught.value.kind == "badAnswer"
    assert "\n" not in str(caught.value)


def test_a_problem() -> None:
    """The kind is the last part of its type, the words are one line and end somewhere."""
    body = json.dumps({"type": f"{ACME}caa", "detail": "no\r\n\x1b[31m " + "x" * 5000}).encode()
    error = answers.failure_of(403, body, 5.0)
    assert (error.kind, error.status, error.retry_after_s) == ("caa", 403, 5.0)
    assert error.detail.startswith("no [31m xxx")
    assert len(error.detail) < 510


def test_a_problem_of_several() -> None:
    """The one that names a name is the one to tell."""
    inner = {"type": f"{ACME}rejectedIdentifier", "detail": "no", "identifier": {"type": "dns", "value": "b.example"}}
    body = {"type": f"{ACME}compound", "detail": "several", "subproblems": [{"type": f"{ACME}malformed"}, inner]}
    error = answers.failure_of(400, json.dumps(body).encode())
    assert (error.kind, error.detail, error.identifier) == ("rejectedIdentifier", "no", "b.example")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("about:blank", "badAnswer"),
        ("https://example.com/errors/rateLimited", "badAnswer"),
        (f"{ACME}newKindOfError", "newKindOfError"),
        (f"{ACME}evil\n\nkind", "badAnswer"),
        (ACME, "badAnswer"),
    ],
)
def test_problem_types_that_are_not_ours(kind: str, expected: str) -> None:
    """Only those of ACME are taken at their word."""
    assert answers.failure_of(400, json.dumps({"type": kind}).encode()).kind == expected


@pytest.mark.parametrize(
    ("status", "kind"), [(500, "serverInternal"), (503, "serverInternal"), (429, "rateLimited"), (404, "badAnswer")]
)
def test_statuses_speak_where_there_is_no_problem(status: int, kind: str) -> None:
    """As behind many a load balancer."""
    error = answers.failure_of(status, b"<html>")
    assert (error.kind, error.detail) == (kind, f"the authority answered {status}")


def test_a_failure_without_a_problem() -> None:
    """There are words for that too."""
    assert answers.failure(None).detail == "the authority gave no reason"
    assert answers.failure(Problem(title="only a title")).detail == "only a title"


@pytest.mark.parametrize(
    "token", ["", "short", "../../../../etc/passwd", "a" * 600, "with space in it here", "x\r\nX-Evil: 1yyyyyyy"]
)
def test_tokens_that_must_not_become_a_path(token: str) -> None:
    """RFC 8555 section 8: base64url with at least 128 bits."""
    with pytest.raises(IssueError, match="token for http-01 is not base64url"):
        answers.checked_token(Challenge(type="http-01", url="", token=token))


def test_an_order_and_an_authorization_as_they_come() -> None:
    """With what we need, and without what we do not."""
    order = read(
        Order,
        b'{"status":"pending","identifiers":[{"type":"dns","value":"a.example"}],"authorizations":["u"],"finalize":"f","notAfter":null}',
    )
    assert order.identifiers == (Identifier("dns", "a.example"),)
    authorization = read(
        Authorization,
        b'{"status":"valid","identifier":{"type":"dns","value":"a"},"challenges":[{"type":"dns-persist-01","url":"u","x":[]}]}',
    )
    assert authorization.challenges[0].token == ""
