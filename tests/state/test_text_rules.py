"""The syntax of what policies hold, each with what is one and what is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from state import text_rules
from tests.state.samples import certificate

HASH = "$argon2id$v=19$m=19456,t=2,p=1$fFhXfoIq6pCtV1aJuTUdqA$3nkkqI3zZo56unFT6SVuQX88OWp4R42lu4o/m51Xlj8"

GOOD: list[tuple[Callable[[str], str], str, str]] = [
    (text_rules.check_org_id, "acme:eu.prod-1", "acme:eu.prod-1"),
    (text_rules.check_request_path, "/ready?deep=1", "/ready?deep=1"),
    (text_rules.fold_authority, "", ""),
    (text_rules.fold_authority, "Shop.Example:0443", "shop.example:443"),
    (text_rules.fold_authority, "[::1]", "[::1]"),
    (text_rules.fold_authority, "[0::1]:80", "[::1]:80"),
    (text_rules.fold_name, "", ""),
    (text_rules.fold_name, "APP", "app"),
    (text_rules.fold_covered_name, "*.Example.com", "*.example.com"),
    (text_rules.fold_covered_name, "a.example", "a.example"),
    (text_rules.fold_statuses, "204", "204"),
    (text_rules.fold_statuses, "204-204", "204"),
    (text_rules.fold_statuses, "200-399", "200-399"),
    (text_rules.check_error_status, "502", "502"),
    (text_rules.check_error_status, "5xx", "5xx"),
    (text_rules.fold_network, "10.0.0.1", "10.0.0.1/32"),
    (text_rules.fold_network, "FD00::/8", "fd00::/8"),
    (text_rules.fold_origin, "*", "*"),
    (text_rules.fold_origin, "HTTPS://App.Example:8443", "https://app.example:8443"),
    (text_rules.fold_origin, "https://*.example.com", "https://*.example.com"),
    (text_rules.fold_origin, "http://[::1]:80", "http://[::1]:80"),
    (text_rules.check_url, "http://127.0.0.1:9001/auth?x=1", "http://127.0.0.1:9001/auth?x=1"),
    (text_rules.check_redirect, "https://www.{host}{path}?{query}", "https://www.{host}{path}?{query}"),
    (text_rules.check_redirect, "/new", "/new"),
    (text_rules.fold_media_type, "Text/*", "text/*"),
    (text_rules.fold_media_type, "application/vnd.a+*", "application/vnd.a+*"),
    (text_rules.check_realm, "Staff only", "Staff only"),
    (text_rules.check_user, "Ada Lovelace", "Ada Lovelace"),
    (text_rules.check_password_hash, HASH, HASH),
    (text_rules.check_password, HASH, HASH),
    (text_rules.check_password, "$ecret$1$ {Sha}", "$ecret$1$ {Sha}"),
    (text_rules.check_password, "$2 bill$", "$2 bill$"),
    (text_rules.check_certificates, "", ""),
]
BAD: list[tuple[Callable[[str], str], list[str]]] = [
    (text_rules.check_org_id, ["", "-a", "a b", "a" * 129]),
    (text_rules.check_path_prefix, ["", "a", "//", "/..", "/%2e", "/a?b", "/a b"]),
    (text_rules.check_request_path, ["", "x", "/a b", "/a\r\nX: y", "/a#b", "/é"]),
    (text_rules.fold_authority, [":80", "a:0", "a:65536", "a:b", "a:" + "9" * 5000, "a b", "::1:80"]),
    (text_rules.fold_name, ["a:80", "a b"]),
    (text_rules.fold_covered_name, ["*", "*.*.a", "a.*"]),
    (text_rules.fold_statuses, ["", "99", "600", "399-200", "200-", "2xx"]),
    (text_rules.check_error_status, ["", "200", "399", "6xx", "5x", "5xx "]),
    (text_rules.fold_network, ["", "10.0.0.1/8", "lan", "10.0.0.0/33"]),
    (
        text_rules.fold_origin,
        ["", "null", "example.com", "https://", "https://a/b", "https://u@a", "https://a b", "https://a:x"],
    ),
    (
        text_rules.check_url,
        ["", "a", "ftp://a", "http://", "http://a:x", "http://u:p@a/", "http://a/#b", "http://a/ b", "http://a:0"],
    ),
    (text_rules.check_redirect, ["", "a", "//a b", "ftp://a", "https://{user}", "https://a/{", "/a\r\nX: y", "/é"]),
    (text_rules.fold_media_type, ["", "text", "*/*", "text/", "text/a b", "text/*x"]),
    (text_rules.check_realm, ["", 'a"b', "a\\b", "é", "a\n"]),
    (text_rules.check_user, ["", "a:b", "a\n"]),
    (
        text_rules.check_password_hash,
        [
            "",
            "secret",
            HASH.replace("argon2id", "argon2i"),
            HASH.replace("m=19456", "m=9999999"),
            HASH.replace("t=2", "t=99"),
            HASH.replace("t=2", "t=0"),
            HASH.replace("p=1", "p=99"),
            HASH.replace("m=19456,t=2,p=1", "m=8,t=2,p=4"),
            HASH + "$",
        ],
    ),
    (
        text_rules.check_password,
        [
            "$2a$10$abcdefghijklmnopqrstuv",
            "$2b$10$abcdefghijklmnopqrstuv",
            "$2y$05$abcdefghijklmnopqrstuv",
            "$apr1$abcdefgh$abcdefghijklmnopqrstuv",
            "$1$abcdefgh$abcdefghijklmnopqrstuv",
            "$5$abcdefgh$x",
            "$6$rounds=5000$abcdefgh$x",
            "$y$j9T$abcdefgh$x",
            "$argon2i$v=19$m=8,t=1,p=1$x$y",
            "$pbkdf2-sha256$1000$x$y",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "{SSHA}x",
            "{ssha512}x",
            "{CRYPT}x",
        ],
    ),
    (text_rules.check_certificates, ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]),
]


@pytest.mark.parametrize(("fold", "text", "expected"), GOOD)
def test_what_is_one_gets_its_one_spelling(fold: Callable[[str], str], text: str, expected: str) -> None:
    """And what has it already stays."""
    assert fold(text) == expected
    assert fold(expected) == expected


@pytest.mark.parametrize(("fold", "text"), [(fold, text) for fold, texts in BAD for text in texts])
def test_what_is_none_is_refused(fold: Callable[[str], str], text: str) -> None:
    """With a reason that reads on after the name of the field."""
    with pytest.raises(ValueError, match=r"^(must|has|is|ends) "):
        fold(text)


def test_a_range_has_both_its_ends() -> None:
    """As the data plane is told them."""
    assert (text_rules.status_range("204"), text_rules.status_range("200-399")) == ((204, 204), (200, 399))


def test_certificates_come_without_keys() -> None:
    """What is shown to whoever may read a route must not be secret."""
    pem = certificate()
    assert text_rules.check_certificates(pem + pem) == pem + pem
    with pytest.raises(ValueError, match="has a private key"):
        text_rules.check_certificates(pem + "-----BEGIN EC PRIVATE " + "KEY-----\n")
