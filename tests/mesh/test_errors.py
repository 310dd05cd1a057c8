"""Every way in which a request fails has a status, a cause that RFC 9209 knows, and one sentence."""

from __future__ import annotations

import re

import pytest

from mesh import errors
from mesh.errors import BAD_REQUEST, CONNECT_REFUSED, METHOD_REFUSED, NOT_PROCESSED, TARGET_CLOSED, Failure, Kind

KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, Kind)}

# RFC 9209 section 2.3, all of them.
_CAUSES = {
    *("dns_timeout", "dns_error", "destination_not_found", "destination_unavailable", "destination_ip_prohibited"),
    *("destination_ip_unroutable", "connection_refused", "connection_terminated", "connection_timeout"),
    *("connection_read_timeout", "connection_write_timeout", "connection_limit_reached", "tls_protocol_error"),
    *("tls_certificate_error", "tls_alert_received", "http_request_error", "http_request_denied"),
    *("http_response_incomplete", "http_response_header_section_size", "http_response_header_size"),
    *("http_response_body_size", "http_response_trailer_section_size", "http_response_trailer_size"),
    *("http_response_transfer_coding", "http_response_content_coding", "http_response_timeout"),
    *("http_upgrade_failed", "http_protocol_error", "proxy_internal_response", "proxy_internal_error"),
    *("proxy_configuration_error", "proxy_loop_detected"),
}
_BEFORE_ANYTHING_WAS_SENT = {
    *("dns_error", "connection_refused", "connection_timeout", "destination_ip_unroutable"),
    *("tls_certificate_error", "tls_protocol_error"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_has_a_known_cause_and_one_sentence(kind: Kind) -> None:
    """What is told to visitors is a registered word and a sentence that needs no escaping."""
    assert kind.cause in _CAUSES
    assert re.fullmatch(r"[A-Z][\x20-\x7e]*\.", kind.detail)
    assert '"' not in kind.detail


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_party_at_fault_has_the_right_class_of_status(kind: Kind) -> None:
    """Visitors are told 4xx, or that something is not spoken here; targets and the proxy are 5xx or a redirect."""
    assert kind.status // 100 in {"visitor": {4, 5}, "target": {5}, "proxy": {3, 5}}[kind.source]
    if kind.source == "visitor" and kind.status >= 500:
        assert kind.status in {501, 505}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_only_what_no_target_has_seen_may_always_be_tried_again(kind: Kind) -> None:
    """Another target is tried without a question only when connecting failed, or the target says so itself."""
    is_unseen = kind is NOT_PROCESSED or kind.cause in _BEFORE_ANYTHING_WAS_SENT
    assert (kind.retry == "always") == (kind.source == "target" and is_unseen)


def test_a_failure_says_what_its_kind_says() -> None:
    """Status, cause, source and sentence come from the table."""
    failure = Failure(CONNECT_REFUSED)
    assert (failure.status, failure.cause, failure.source) == (502, "connection_refused", "target")
    assert failure.detail == str(failure) == CONNECT_REFUSED.detail
    assert failure.retry == "always"
    assert failure.headers == ()


def test_a_failure_may_be_more_exact() -> None:
    """A sentence of its own replaces that of the kind, fields are added to the answer."""
    failure = Failure(BAD_REQUEST, "Lines end in CR LF.")
    assert str(failure) == failure.detail == "Lines end in CR LF."
    assert Failure(METHOD_REFUSED, headers=(("Allow", "GET"),)).headers == (("Allow", "GET"),)


def test_the_log_may_be_told_more_than_the_visitor() -> None:
    """Notes on a failure are for the operator."""
    failure = Failure(CONNECT_REFUSED)
    assert failure.said == CONNECT_REFUSED.detail
    failure.add_note("http://10.0.0.1:80")
    failure.add_note("second try")
    assert failure.said == "The target refused the connection.; http://10.0.0.1:80; second try"
    assert failure.detail == CONNECT_REFUSED.detail


def test_a_target_that_closes_allows_a_try_on_a_fresh_connection() -> None:
    """A connection from the pool may have been closed before it brought the request."""
    assert Failure(TARGET_CLOSED).retry == "fresh"
