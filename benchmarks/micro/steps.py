"""The steps of a request that cost something, each as a function of no arguments that takes the step once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from benchmarks.load.heads import NUMBER, SITE, head
from benchmarks.load.seed import seeded_host
from benchmarks.load.zexio import ISSUER, ORGANIZATION, SECRET, token
from benchmarks.micro.secured import secured_steps
from mesh.access import Verifier
from mesh.accesslog import json_line
from mesh.forward import Peer, compose
from mesh.heads import RequestHeads, ResponseHeads
from mesh.policies import Target
from mesh.ports import AccessRecord
from mesh.routes import AccessKeys, Delta, Route, VerifyKey
from mesh.table import RouteTable
from mesh.wire import ChunkedBody, chunk, parse_request_line

Step = Callable[[], object]

MANY = 100_000
MAX_FIELDS = 100
MAX_TARGET = 8192
ORIGIN = (Target("http://127.0.0.1:9000"),)
RESPONSE = (
    b"Server: nginx\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b'Content-Length: 13\r\nConnection: keep-alive\r\nETag: "%016x"\r\n\r\n'
)


def steps() -> dict[str, Step]:
    """Every step by its name, in the order in which a request takes them."""
    return {**_heads(), **_routes(), **_tokens(), **_bodies(), **_records(), **secured_steps()}


def _heads() -> dict[str, Step]:
    whole = head(0).encode()
    line, _, section = whole.partition(b"\r\n")
    unseen = head(0, unique=True).encode().partition(b"\r\n")[2].replace(NUMBER.encode(), b"%08x")
    numbers = itertools.count()
    requests, responses = RequestHeads(MAX_FIELDS, MAX_TARGET), ResponseHeads()
    fields = requests.fields(section, requests.line(line).minor)
    peer, host = Peer("192.0.2.1", b"http", lambda _address: False), SITE.encode()

    def compose_anew() -> bytes:
        fields.prepared_peer = None
        return compose(fields, peer, host)

    return {
        "request line, checked": lambda: parse_request_line(line, MAX_TARGET),
        "request head, seen before": lambda: requests.known(whole),
        "request fields, two lines new": lambda: requests.fields(unseen % (number := next(numbers), number), 1),
        "request fields, all lines new": lambda: RequestHeads(MAX_FIELDS, MAX_TARGET).fields(section, 1),
        "head for the target, new": compose_anew,
        "response fields, one line new": lambda: responses.fields(RESPONSE % next(numbers), 1),
        "response fields, all lines new": lambda: ResponseHeads().fields(RESPONSE % 0, 1),
    }


def _routes() -> dict[str, Step]:
    one = RouteTable([Route(host=seeded_host(0), targets=ORIGIN)])
    many = RouteTable(Route(host=seeded_host(number), targets=ORIGIN) for number in range(MANY))
    hosts = itertools.cycle([seeded_host(number * 997 % MANY).encode() for number in range(1024)])
    only = seeded_host(0).encode()
    revisions = itertools.count(1)

    def change_one() -> None:
        many.apply(Delta(revision=next(revisions), put=(Route(host=seeded_host(77), targets=ORIGIN),)))

    return {
        "route among 1": lambda: one.match(only, b"/shop"),
        "route among 100,000": lambda: many.match(next(hosts), b"/shop"),
        "route unknown among 100,000": lambda: many.match(b"nobody.bench.test", b"/shop"),
        "one changed route among 100,000": change_one,
    }


def _tokens() -> dict[str, Step]:
    key = VerifyKey(algorithm="HS256", material=SECRET.encode())
    rules = AccessKeys(issuer=ISSUER, keys=(key,))
    route = Route(host=SITE, targets=ORIGIN, access="tenant", org_id=ORGANIZATION)
    bearer, now = b"Bearer " + token(0).encode(), time.time()
    warm, forgetful = Verifier(rules), Verifier(rules, cache_ttl_s=0.0)
    return {
        "token, verified before": lambda: warm.check(bearer, route, now),
        "token, never seen (HS256)": lambda: forgetful.check(bearer, route, now),
    }


def _bodies() -> dict[str, Step]:
    piece = bytes(16 * 1024)
    framed = chunk(piece)
    body = ChunkedBody()
    return {
        "16 KiB chunk, decoded": lambda: body.feed(framed),
        "16 KiB chunk, framed": lambda: chunk(piece),
    }


def _records() -> dict[str, Step]:
    made = _record()
    return {
        "access record, made": _record,
        "access record, as a JSON line": lambda: json_line(made),
    }


def _record() -> AccessRecord:
    return AccessRecord(
        began_at=1_795_000_000.25,
        duration_s=0.00123,
        peer="192.0.2.1",
        method="GET",
        host=SITE,
        target="/shop/items/1000?page=0",
        version="HTTP/1.1",
        status=200,
        received=0,
        sent=13,
        request_id="0123456789abcdef",
        route=SITE,
        upstream="http://127.0.0.1:9000",
        user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    )
