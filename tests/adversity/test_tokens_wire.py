"""Attacks on tenant isolation that need a wire: where the token sits, how often, and who says who the visitor is.

The numbers are those of the list of token attacks; 1 to 57 are pure and live in `test_tokens.py`.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import msgspec
import pytest

from mesh.policies import Target
from mesh.routes import AccessKeys, Route, VerifyKey
from tests.adversity.verdict import NEXT, Door, barrier, request
from tests.support.client import Visitor, ask
from tests.support.mesh_node import route_to, start_mesh

_SECRET = b"a secret of the mesh that is long enough for HMAC"
_KEYS = AccessKeys(generation=1, keys=(VerifyKey(algorithm="HS256", material=_SECRET),))
_TENANT = b"api.zexio.internal"
_GET = b"GET / HTTP/1.1"
_UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
_SPOOFED_NAMES = (
    b"X-Zexio-Org",
    b"x-zexio-org",
    b"X-ZEXIO-USER",
    b"X-Zexio-Source",
    b"X-Zexio-Anything",
    b"X_Zexio_Org",
    b"X-Zexio_Org",
    b"X.Zexio.Org",
    b"X-Zexio.User",
    b"x_zexio_source",
)
_SPOOFS = tuple(name + b": spoofed" for name in _SPOOFED_NAMES)


def _claims(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    claims = {
        "iss": "zexio-service-mesh",
        "exp": int(time.time()) + 600,
        "userId": "user_a",
        "orgId": "org_a",
        "sourceService": "web",
        "targetService": "api",
    }
    return claims | changes


def _token(**changes: Any) -> bytes:  # noqa: ANN401
    return jwt.encode(_claims(**changes), _SECRET, algorithm="HS256").encode()


def _signed(header: bytes, payload: bytes) -> bytes:
    """A token with a right signature over whatever these bytes are."""
    signing = base64.urlsafe_b64encode(header).rstrip(b"=") + b"." + base64.urlsafe_b64encode(payload).rstrip(b"=")
    signature = hmac.digest(_SECRET, signing, "sha256")
    return signing + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


def _bearer(token: bytes | None = None) -> bytes:
    return b"Authorization: Bearer " + (token or _token())


@pytest.fixture
async def door(our_door: Door) -> AsyncIterator[Door]:
    """A proxy with a public route and one for the tenants of `org_a`, both to the same origin."""
    targets = (Target(f"http://127.0.0.1:{our_door.origin.port}"),)
    public = msgspec.structs.replace(route_to(our_door.origin.port), org_id="org_a")
    tenant = Route(host=_TENANT.decode(), targets=targets, org_id="org_a", access="tenant")
    async with await start_mesh(public, tenant, keys=_KEYS) as mesh:
        yield Door(mesh.port, our_door.origin)


async def _refused(door: Door, *fields: bytes, line: bytes = _GET, status: tuple[int, ...] = (401,)) -> None:
    """The tenant route answers with one of `status`, and the origin saw nothing."""
    answer = await ask(door.port, request(line, *fields, host=_TENANT))
    await barrier(door.port)
    assert answer.status in status
    assert [seen.target for seen in door.origin.requests] == [b"/barrier"]
    if answer.status == 401:
        assert answer.values(b"www-authenticate")[0].startswith(b"Bearer")


async def test_the_right_token_passes_and_is_taken_off(door: Door) -> None:
    """The origin learns who it is from us, and never sees the token."""
    answer = await ask(door.port, request(_GET, _bearer(), host=_TENANT))
    assert answer.status == 200
    (seen,) = door.origin.requests
    assert seen.values(b"x-zexio-org") == [b"org_a"]
    assert seen.values(b"x-zexio-user") == [b"user_a"]
    assert seen.values(b"x-zexio-source") == [b"web"]
    assert not seen.values(b"authorization")


async def test_another_organization_is_refused(door: Door) -> None:
    """A right token of somebody else is 403, and reaches nothing."""
    await _refused(door, _bearer(_token(orgId="org_b")), status=(403,))


@pytest.mark.parametrize(
    "second",
    [b"Authorization: Bearer garbage", b"authorization: Basic dTpw", b"Authorization:", b"AUTHORIZATION: Bearer "],
)
@pytest.mark.parametrize("order", [1, -1], ids=["right_first", "right_last"])
async def test_058_two_authorization_headers(door: Door, second: bytes, order: int) -> None:
    """Two lines are refused, whichever is right."""
    await _refused(door, *(_bearer(), second)[::order], status=(400, 401))


async def test_058_the_same_authorization_twice(door: Door) -> None:
    """A repeat is refused even when both are right."""
    await _refused(door, _bearer(), _bearer(), status=(400, 401))


@pytest.mark.parametrize(
    "template", [b"Bearer %b, Bearer %b", b"Bearer %b,%b", b"Bearer %b Bearer %b", b"Bearer %b %b"]
)
async def test_059_two_tokens_in_one_header(door: Door, template: bytes) -> None:
    """A list of tokens is no token."""
    await _refused(door, b"Authorization: " + template % (_token(), _token()))


@pytest.mark.parametrize(
    "template",
    [
        b"Bearer\t%b",
        b"Bearer%b",
        b"Bearer \t%b",
        b"%b",
        b"Bearer: %b",
        b'Bearer "%b"',
        b"Bearer=%b",
        b"Basic %b",
        b"Bearer  %b",
    ],
)
async def test_060_white_space_and_shape_of_the_header(door: Door, template: bytes) -> None:
    """Spaces between the scheme and the token, nothing else."""
    await _refused(door, b"Authorization: " + template % _token())


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"BeArEr"])
async def test_061_the_scheme_has_no_case(door: Door, scheme: bytes) -> None:
    """RFC 9110 section 11.1: the scheme has no case."""
    answer = await ask(door.port, request(_GET, b"Authorization: %b %b" % (scheme, _token()), host=_TENANT))
    assert answer.status == 200


@pytest.mark.parametrize("name", [b"access_token", b"token", b"jwt", b"authorization"])
async def test_062_a_token_in_the_query(door: Door, name: bytes) -> None:
    """A token in the target is not looked at."""
    await _refused(door, line=b"GET /?%b=%b HTTP/1.1" % (name, _token()))


@pytest.mark.parametrize(
    "template",
    [
        b"Cookie: access_token=%b",
        b"Cookie: Authorization=Bearer %b",
        b"Sec-WebSocket-Protocol: bearer, %b",
        b"Proxy-Authorization: Bearer %b",
        b"X-Authorization: Bearer %b",
        b"X-Forwarded-Authorization: Bearer %b",
        b"X-Zexio-Token: %b",
        b"X_Authorization: Bearer %b",
    ],
)
async def test_062_a_token_in_another_field(door: Door, template: bytes) -> None:
    """Only Authorization carries a token."""
    await _refused(door, template % _token())


async def test_062_a_token_as_a_websocket_protocol(door: Door) -> None:
    """An upgrade is checked like any request."""
    await _refused(door, *_UPGRADE, b"Sec-WebSocket-Protocol: " + _token(), line=b"GET /-/websocket HTTP/1.1")


@pytest.mark.parametrize("size", [64 * 1024, 1024 * 1024], ids=["64_kib", "1_mib"])
async def test_063_a_token_beyond_the_head_limit(door: Door, size: int) -> None:
    """A head that is too large is 431 before anything is computed."""
    await _refused(door, _bearer(b"a" * size), status=(431,))


async def test_063_a_right_token_beyond_the_token_limit(door: Door) -> None:
    """A token over the limit is refused although its signature is right."""
    await _refused(door, _bearer(_token(padding="a" * 9000)), status=(401, 431))


@pytest.mark.parametrize(
    "change", [b"%b=", b"%b==", b"=%b", b"%b+", b"%b/", b"%b.", b".%b", b"%b\xc3\xbc", b"%b~", b"%b%%"]
)
async def test_064_characters_outside_the_alphabet(door: Door, change: bytes) -> None:
    """Nothing may be added to a right token, not even padding."""
    await _refused(door, _bearer(change % _token()))


async def test_064_the_ordinary_base64_alphabet(door: Door) -> None:
    """`+` and `/` are not read as `-` and `_`."""
    payload = json.dumps(_claims(padding=">>>???>>>???~~~~")).encode()
    token = _signed(b'{"alg":"HS256","typ":"JWT"}', payload)
    assert b"-" in token or b"_" in token
    await _refused(door, _bearer(token.replace(b"-", b"+").replace(b"_", b"/")))


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\n", b"\r"], ids=["fold", "fold_tab", "lf", "cr"])
async def test_064_a_line_end_inside(door: Door, fold: bytes) -> None:
    """A token over two lines is a malformed head."""
    token = _token()
    await _refused(door, _bearer(token[:20] + fold + token[20:]), status=(400,))


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(_claims()).encode("utf-16"),
        json.dumps(_claims()).encode("utf-16-le"),
        json.dumps(_claims()).encode("utf-32"),
        b"\xef\xbb\xbf" + json.dumps(_claims()).encode(),
        json.dumps(_claims()).encode()[:-1] + b',"x":"\xff\xfe"}',
    ],
    ids=["utf_16", "utf_16_le", "utf_32", "byte_order_mark", "invalid_utf_8"],
)
async def test_065_payloads_that_are_not_utf_8(door: Door, payload: bytes) -> None:
    """JSON in a token is UTF-8 (RFC 7519 section 7.2), however right the signature is."""
    await _refused(door, _bearer(_signed(b'{"alg":"HS256","typ":"JWT"}', payload)))


async def test_066_deep_json(door: Door) -> None:
    """Nesting as deep as fits under the limit breaks nothing."""
    payload = json.dumps(_claims()).encode()[:-1] + b',"x":' + b"[" * 2900 + b"]" * 2900 + b"}"
    await _refused(door, _bearer(_signed(b'{"alg":"HS256"}', payload)), status=(401,))


@pytest.mark.parametrize("payload", [b"[]", b"null", b'"orgId"', b"1", b"", b"{", b"{}{}", b'[{"orgId":"org_a"}]'])
async def test_067_payloads_that_are_no_object(door: Door, payload: bytes) -> None:
    """The claims are one JSON object."""
    await _refused(door, _bearer(_signed(b'{"alg":"HS256","typ":"JWT"}', payload)))


async def _ask_spoofing(door: Door, host: bytes, *fields: bytes, path: bytes = b"/") -> int:
    answer = await ask(door.port, request(b"GET %b HTTP/1.1" % path, *fields, *_SPOOFS, host=host))
    await barrier(door.port)
    assert b"spoofed" not in door.origin.received
    return answer.status


async def test_068_spoofed_identity_on_a_public_route(door: Door) -> None:
    """Nobody is told an identity that was not verified."""
    assert await _ask_spoofing(door, b"shop.example.com") == 200
    assert not any(name.lower().startswith(b"x-zexio-") for name, _ in door.origin.requests[0].headers)


async def test_068_spoofed_identity_on_a_public_route_with_a_foreign_token(door: Door) -> None:
    """A token that belongs to the application passes; the identity beside it does not."""
    foreign = b"Authorization: Bearer " + jwt.encode({"iss": "https://idp.example.net"}, "x" * 32, "HS256").encode()
    assert await _ask_spoofing(door, b"shop.example.com", foreign) == 200
    assert door.origin.requests[0].values(b"authorization")


async def test_068_spoofed_identity_beside_a_right_token(door: Door) -> None:
    """The verified identity is the only one."""
    assert await _ask_spoofing(door, _TENANT, _bearer()) == 200
    assert door.origin.requests[0].values(b"x-zexio-org") == [b"org_a"]


@pytest.mark.parametrize("path", [b"/", b"/health", b"/.well-known/acme-challenge/x", b"/metrics"])
async def test_068_spoofed_identity_without_a_token(door: Door, path: bytes) -> None:
    """No path of a tenant route is exempt."""
    assert await _ask_spoofing(door, _TENANT, path=path) == 401
    assert len(door.origin.requests) == 1


@pytest.mark.parametrize("method", [b"OPTIONS", b"HEAD", b"POST", b"FOO"])
async def test_068_no_method_is_exempt(door: Door, method: bytes) -> None:
    """A preflight needs a token like everything else, whatever it says about the method."""
    preflight = (
        b"Origin: https://evil.example.net",
        b"Access-Control-Request-Method: GET",
        b"X-HTTP-Method-Override: GET",
    )
    raw = request(method + b" / HTTP/1.1", *preflight, *_SPOOFS, host=_TENANT)
    answer = await ask(door.port, raw, method.decode())
    await barrier(door.port)
    assert answer.status == 401
    assert len(door.origin.requests) == 1


async def test_068_spoofed_identity_on_an_unknown_host(door: Door) -> None:
    """404, and nobody hears of it."""
    assert await _ask_spoofing(door, b"nobody.example.com") == 404
    assert len(door.origin.requests) == 1


@pytest.mark.parametrize(
    ("host", "fields"), [(b"shop.example.com", ()), (_TENANT, (_bearer(),))], ids=["public", "tenant"]
)
async def test_068_spoofed_identity_at_an_upgrade(door: Door, host: bytes, fields: tuple[bytes, ...]) -> None:
    """The request that opens a tunnel is cleaned too, and the tunnel then carries bytes as they are."""
    raw = request(b"GET /-/websocket HTTP/1.1", *_UPGRADE, *fields, *_SPOOFS, host=host)
    async with await Visitor.connect(door.port) as visitor:
        await visitor.send(raw)
        answer = await visitor.answer()
        assert answer is not None
        assert answer.status == 101
        assert b"spoofed" not in door.origin.received
        await visitor.send(b"\x81\x05hello")
        assert await visitor.octets(7) == b"\x81\x05hello"


async def test_068_an_upgrade_without_a_token(door: Door) -> None:
    """No token, no tunnel."""
    await _refused(door, *_UPGRADE, line=b"GET /-/websocket HTTP/1.1")


@pytest.mark.parametrize(
    ("host", "fields"), [(b"shop.example.com", ()), (_TENANT, (_bearer(),))], ids=["public", "tenant"]
)
async def test_068_spoofed_identity_in_trailers(door: Door, host: bytes, fields: tuple[bytes, ...]) -> None:
    """What comes behind the body is cleaned like what comes before it."""
    body = b"5\r\nhello\r\n0\r\n" + b"".join(line + b"\r\n" for line in _SPOOFS) + b"Authorization: spoofed\r\n\r\n"
    raw = request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", *fields, host=host, body=body)
    answer = await ask(door.port, raw)
    await barrier(door.port)
    assert answer.status == 200
    assert b"spoofed" not in door.origin.received
    assert door.origin.requests[0].body == b"hello"


async def test_069_nominating_authorization_does_not_hide_it(door: Door) -> None:
    """The token is judged before anything is removed, and removed whatever Connection says."""
    await _refused(door, b"Connection: authorization", _bearer(b"garbage"))


@pytest.mark.parametrize("nominated", [b"authorization", b"x-zexio-org", b"X-Zexio-Org, X-Zexio-User", b"close, host"])
async def test_069_nominating_ours_does_not_remove_it(door: Door, nominated: bytes) -> None:
    """The identity that we set is not the visitor's to remove."""
    answer = await ask(door.port, request(_GET, b"Connection: " + nominated, _bearer(), host=_TENANT))
    assert answer.status == 200
    seen = door.origin.requests[0]
    assert seen.values(b"x-zexio-org") == [b"org_a"]
    assert seen.values(b"x-zexio-user") == [b"user_a"]
    assert not seen.values(b"authorization")


async def test_069_a_nominated_identity_does_not_pass(door: Door) -> None:
    """Nominating a spoofed name changes nothing about it."""
    assert await _ask_spoofing(door, b"shop.example.com", b"Connection: X-Zexio-Org, X_Zexio_Org") == 200


async def test_each_request_of_a_connection_needs_its_token(door: Door) -> None:
    """A token opens one request, not the connection, also when both come in one segment."""
    right = request(b"GET /first HTTP/1.1", _bearer(), host=_TENANT)
    without = request(b"GET /second HTTP/1.1", host=_TENANT)
    async with await Visitor.connect(door.port) as visitor:
        await visitor.send(right + without + NEXT)
        statuses = [answer.status if answer else 0 for answer in [await visitor.answer(), await visitor.answer()]]
    await barrier(door.port)
    assert statuses == [200, 401]
    assert b"/second" not in [seen.target for seen in door.origin.requests]


@pytest.mark.parametrize(
    "raw",
    [
        request(_GET, _bearer(_token(orgId="org_b")), b"X-Forwarded-Host: shop.example.com", host=_TENANT),
        request(_GET, _bearer(_token(orgId="org_b")), b"X-Original-Host: other", b"X-Host: other", host=_TENANT),
        request(b"GET http://api.zexio.internal/ HTTP/1.1", _bearer(_token(orgId="org_b")), host=_TENANT),
        request(b"GET http://api.zexio.internal/ HTTP/1.1", _bearer(_token(orgId="org_b")), host=b"shop.example.com"),
        request(_GET, _bearer(_token(orgId="org_b")), host=b"API.zexio.INTERNAL."),
        request(_GET, _bearer(_token(orgId="org_b")), host=b"api.zexio.internal:80"),
    ],
    ids=["x_forwarded_host", "x_host", "absolute_form", "absolute_form_mismatch", "case_and_dot", "port"],
)
async def test_052_no_other_name_of_the_host_helps(door: Door, raw: bytes) -> None:
    """Whatever else names a host, the route that is used is the one whose organization is compared."""
    answer = await ask(door.port, raw)
    await barrier(door.port)
    assert answer.status in {400, 403}
    assert len(door.origin.requests) == 1
