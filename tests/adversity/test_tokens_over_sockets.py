"""The attacks on mesh tokens, sent by a visitor: each is refused with its status, and the target hears of none."""

from __future__ import annotations

import time
from typing import Final

from mesh.policies import Target
from mesh.routes import MeshSettings, Route
from tests.adversity.token_cases import Attack, attacks
from tests.adversity.verdict import barrier, request
from tests.support.client import Answer, Visitor
from tests.support.mesh_node import route_to, start_mesh
from tests.support.origin import Origin
from tests.support.tokens import OWNER, access_keys, bearer, claims, mint

HOST: Final = "api.zexio.internal"
# RFC 9110 section 5.5: these are in no field value, so the head is refused before anybody reads a token.
NEVER_IN_VALUES: Final = (b"\0", b"\n", b"\r")
# Some tokens of the table become valid a second beyond the usual leeway, which would be while this test runs. What
# happens exactly at the limit is tested with a clock that stands still.
LEEWAY_S: Final = 1.0


class Attacker:
    """Sends one request after the other, on one connection for as long as the proxy keeps it."""

    def __init__(self, port: int) -> None:
        """Not connected yet."""
        self.connections = 0
        self._port = port
        self._visitor: Visitor | None = None

    async def ask(self, authorization: bytes) -> Answer:
        """The answer to a request with this Authorization."""
        if self._visitor is None:
            self.connections += 1
            self._visitor = await Visitor.connect(self._port)
        raw = request(b"GET /secret HTTP/1.1", b"Authorization: " + authorization, host=HOST.encode())
        await self._visitor.send(raw)
        answer = await self._visitor.answer()
        assert answer is not None, f"no answer to {authorization[:200]!r}"
        if answer.announces_close:
            self.leave()
        return answer

    def leave(self) -> None:
        """Close the connection, if there is one."""
        if self._visitor is not None:
            self._visitor.close()
            self._visitor = None


async def test_every_attack_on_a_tenant_route() -> None:
    """The whole table on connections that an honest token has been used on before."""
    now = int(time.time())
    table = attacks(now)
    async with Origin() as origin:
        tenant = Route(host=HOST, targets=(Target(f"http://127.0.0.1:{origin.port}"),), org_id=OWNER, access="tenant")
        async with await start_mesh(tenant, route_to(origin.port), keys=access_keys(leeway_s=LEEWAY_S)) as mesh:
            attacker = Attacker(mesh.port)
            assert (await attacker.ask(bearer(mint(claims(now))))).status == 200
            assert [seen.target for seen in origin.requests] == [b"/secret"]
            origin.forget()
            answers = [await attacker.ask(attack.authorization) for attack in table]
            attacker.leave()
            await barrier(mesh.port)
        assert [seen.target for seen in origin.requests] == [b"/barrier"]
    pairs = list(zip(table, answers, strict=True))
    assert {str(attack): answer.status for attack, answer in pairs if answer.status != _status(attack)} == {}
    assert all(answer.values(b"www-authenticate") for answer in answers if answer.status == 401)
    assert attacker.connections <= 1 + sum(_status(attack) not in {401, 403} for attack in table)


def _status(attack: Attack) -> int:
    """What the attack earns over a wire."""
    if len(attack.authorization) > MeshSettings().max_head_bytes:
        return 431
    return 400 if any(octet in attack.authorization for octet in NEVER_IN_VALUES) else attack.status
