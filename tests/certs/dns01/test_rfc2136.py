"""Updates reach the right zone of a real server, signed, and refusals are explained without a secret."""

from __future__ import annotations

import base64
from pathlib import Path

import dns.rcode
import dns.tsig
import pytest

from certs.dns01.rfc2136 import Rfc2136, read_key
from certs.errors import IssueError
from certs.resolve import Resolver
from certs.settings import Rfc2136Spec
from tests.support.dns_server import DnsServer

PLACE = "_acme-challenge.shop.example.com"


def write(path: Path, key: dns.tsig.Key, secret: str = "", *, mode: int = 0o600) -> Path:
    """A key file as tsig-keygen writes it."""
    secret = secret or base64.b64encode(key.secret).decode()
    name = key.name.to_text(omit_final_dot=True)
    path.write_text(f'key "{name}" {{\n\talgorithm {key.algorithm.to_text()};\n\tsecret "{secret}";\n}};\n')
    path.chmod(mode)
    return path


@pytest.fixture
def spec(server: DnsServer, key: dns.tsig.Key, tmp_path: Path) -> Rfc2136Spec:
    """The server with its key."""
    return Rfc2136Spec(server=server.where, key_file=write(tmp_path / "key", key))


async def test_values_come_and_go_one_by_one(server: DnsServer, spec: Rfc2136Spec, resolver: Resolver) -> None:
    """Twice is as good as once, and what is not there can be removed."""
    provider = Rfc2136(spec, resolver)
    for value in ("one", "two", "two"):
        await provider.set(PLACE, value)
    assert server.texts(PLACE) == ["one", "two"]
    await provider.remove(PLACE, "one")
    await provider.remove(PLACE, "one")
    assert server.texts(PLACE) == ["two"]
    await provider.remove(PLACE, "two")
    assert server.texts(PLACE) == []


async def test_the_zone_is_found(server: DnsServer, spec: Rfc2136Spec) -> None:
    """The server that is updated knows, without a resolver."""
    await Rfc2136(spec, Resolver(["127.0.0.1:9"])).set("delegated.acme.example.net", "one")
    assert server.texts("delegated.acme.example.net") == ["one"]


async def test_the_zone_is_found_by_the_resolver(server: DnsServer, spec: Rfc2136Spec, key: dns.tsig.Key) -> None:
    """When the server does not say."""
    async with DnsServer({"example.com": {}}) as other:
        server.faults["*"] = "refused"
        await Rfc2136(spec, Resolver([other.where])).set(PLACE, "one")
        assert server.texts(PLACE) == ["one"]
        other.faults["*"] = "refused"
        with pytest.raises(IssueError, match=r"name it in certs\.rfc2136_zone"):
            await Rfc2136(spec, Resolver([other.where])).set(PLACE, "two")


async def test_the_zone_may_be_set(server: DnsServer, spec: Rfc2136Spec, resolver: Resolver) -> None:
    """Then nothing outside it is touched, and nobody is asked."""
    wanted = Rfc2136Spec(server=spec.server, key_file=spec.key_file, zone="example.com")
    await Rfc2136(wanted, resolver).set(PLACE, "one")
    assert (server.texts(PLACE), server.asked) == (["one"], [])
    with pytest.raises(IssueError, match=r"is not in the zone example\.com"):
        await Rfc2136(wanted, resolver).set("delegated.acme.example.net", "one")


async def test_without_a_key(resolver: Resolver) -> None:
    """Some servers look at the address alone."""
    async with DnsServer({"example.com": {}}) as open_server:
        await Rfc2136(Rfc2136Spec(server=open_server.where), resolver).set(PLACE, "one")
        assert open_server.texts(PLACE) == ["one"]


async def test_a_refusal_is_explained(server: DnsServer, resolver: Resolver) -> None:
    """An update without the key."""
    with pytest.raises(IssueError, match=r"refuses to update TXT .*: REFUSED \(may this key update it\?\)") as caught:
        await Rfc2136(Rfc2136Spec(server=server.where), resolver).set(PLACE, "one")
    assert caught.value.kind == "solver"
    with pytest.raises(IssueError, match=r"NOTAUTH \(is it the primary server of the zone\?\)"):
        async with DnsServer() as empty:
            await Rfc2136(Rfc2136Spec(server=empty.where, zone="example.com"), resolver).set(PLACE, "one")


@pytest.mark.parametrize("name", ["updates", "others"])
async def test_a_wrong_key_is_explained(server: DnsServer, resolver: Resolver, tmp_path: Path, name: str) -> None:
    """Of another secret or another name; neither is shown."""
    secret = "d3Jvbmcgc2VjcmV0"
    path = write(tmp_path / "key", dns.tsig.Key(name, secret))
    with pytest.raises(IssueError, match="does not know the TSIG key, or has another secret") as caught:
        await Rfc2136(Rfc2136Spec(server=server.where, key_file=path), resolver).set(PLACE, "one")
    assert secret not in repr(caught.value)
    assert server.updates == 0


async def test_clocks_that_differ_are_explained(server: DnsServer, spec: Rfc2136Spec, resolver: Resolver) -> None:
    """Signatures hold for some minutes (RFC 8945 section 5.2.3)."""
    server.tsig_error = dns.rcode.BADTIME
    with pytest.raises(IssueError, match="its clock and ours differ"):
        await Rfc2136(spec, resolver).set(PLACE, "one")


async def test_a_server_that_is_not_there(resolver: Resolver) -> None:
    """The port is closed, or nobody answers."""
    async with DnsServer() as gone:
        await gone.stop()
        with pytest.raises(IssueError, match="could not be asked to update TXT"):
            await Rfc2136(Rfc2136Spec(server=gone.where, zone="example.com"), resolver).set(PLACE, "one")


async def test_a_server_that_does_not_answer(server: DnsServer) -> None:
    """There is a limit for all of it."""
    server.faults["*"] = "silent"
    slow = Resolver([server.where], attempt_s=60)
    with pytest.raises(IssueError, match=r"did not take an update of TXT .* in 0.03 s"):
        await Rfc2136(Rfc2136Spec(server=server.where), slow, limit_s=0.03).set(PLACE, "one")


@pytest.mark.parametrize(
    "text",
    [
        'key "k" {\n\talgorithm hmac-sha512;\n\tsecret "Ly8vLw==";\n};\n',
        '// made by hand\nkey k { secret "Ly8vLw=="; /* short */ algorithm "hmac-sha512"; }; # end\n',
    ],
)
def test_keys_are_read(tmp_path: Path, text: str) -> None:
    """With comments; slashes in a secret begin none."""
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    key = read_key(path)
    assert (key.name.to_text(), key.algorithm, key.secret) == ("k.", dns.tsig.HMAC_SHA512, b"////")


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ('key "k" { secret "Ly8vLw=="; };', 0o640, "can be read by others"),
        ("c2VjcmV0", 0o600, "holds no key such as"),
        ('key "k" { algorithm hmac-sha256; };', 0o600, "holds no key such as"),
        ('key "k" { secret "c2VjcmV0c2VjcmV"; };', 0o600, "cannot be read"),
        ('key "k" { algorithm rot13; secret "c2VjcmV0"; };', 0o600, "of an algorithm that is not known"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, mode: int, reason: str) -> None:
    """And their content is not shown."""
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(IssueError, match=reason) as caught:
        read_key(path)
    assert "c2VjcmV0" not in str(caught.value)
    with pytest.raises(IssueError, match="No such file"):
        read_key(tmp_path / "none")


def test_the_server_is_an_address(resolver: Resolver) -> None:
    """The settings have seen to that."""
    with pytest.raises(ValueError, match=r"."):
        Rfc2136(Rfc2136Spec(server="ns.example.com:53"), resolver)
