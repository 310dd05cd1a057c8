"""Certificates of files among those that the node obtains."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certs.alarms import Event
from mesh.routes import Certificate
from node.file_facts import FileFacts
from state.cell import Cell
from state.observed import CertificateFact, Observed

NOW = datetime.now(UTC).replace(microsecond=0)


def certificate(*names: str, left: timedelta, life: timedelta = timedelta(days=90)) -> Certificate:
    """A certificate for these names that has so much of its life left."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Office")])
    building = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW + left - life)
        .not_valid_after(NOW + left)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        building = building.add_extension(alternatives, critical=False)
    made = building.sign(key, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM)
    return Certificate(fingerprint=made.fingerprint(hashes.SHA256()).hex(), names=names, chain=pem, key=b"k")


class Node:
    """Observed state, and what the operator was told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.observed = Cell(Observed())
        self.events: list[Event] = []
        self.files = FileFacts(self.observed, self.events.append)

    @property
    def facts(self) -> dict[str, CertificateFact]:
        """What is shown."""
        return dict(self.observed.value.certificates)

    def said(self, name: str) -> tuple[str, str]:
        """Where the certificate for a name is from, and its status."""
        fact = self.facts[name]
        return fact.source, fact.status


@pytest.fixture
def node() -> Node:
    """A node without certificates."""
    return Node()


def test_a_file_is_a_fact(node: Node) -> None:
    """Under the first name of its certificate, with everything that is known of it."""
    one = certificate("a.example", "*.a.example", left=timedelta(days=80))
    node.files.show([one])
    fact = node.facts["a.example"]
    assert (fact.status, fact.source, fact.issuer, fact.key_type) == ("active", "file", "Office", "p256")
    assert (fact.names, fact.fingerprint) == (one.names, one.fingerprint)
    assert fact.not_after == NOW + timedelta(days=80)
    assert node.events == []


def test_a_file_that_is_gone_is_no_fact(node: Node) -> None:
    """A reload shows those that there are; of two with one name, the one that lasts longer."""
    short, long = (certificate("a.example", left=timedelta(days=days)) for days in (60, 80))
    node.files.show([long, short, certificate("b.example", left=timedelta(days=80))])
    assert set(node.facts) == {"a.example", "b.example"}
    node.files.show([long, short])
    assert {name: fact.fingerprint for name, fact in node.facts.items()} == {"a.example": long.fingerprint}


def test_what_the_node_obtains_itself_keeps_its_fact(node: Node) -> None:
    """That one has more to tell; when it is gone, the file is shown."""
    node.observed.set(node.observed.value.with_certificates([CertificateFact(name="a.example")]))
    node.files.show([certificate("a.example", left=timedelta(days=80))])
    assert node.said("a.example") == ("acme", "pending")
    node.observed.set(node.observed.value.without_certificates(["a.example"]))
    node.files.look(NOW)
    assert node.said("a.example") == ("file", "active")


def test_nothing_new_is_no_change(node: Node) -> None:
    """Whoever watches is not woken up."""
    node.files.show([certificate("a.example", left=timedelta(days=80))])
    revision = node.observed.revision
    node.files.look(NOW)
    assert node.observed.revision == revision


def test_an_end_is_told_before_it_comes(node: Node) -> None:
    """Each time once; and again with a certificate that takes its place."""
    node.files.show([certificate("a.example", left=timedelta(days=80))])
    for days in (40, 55, 56, 66, 81):
        node.files.look(NOW + timedelta(days=days))
    assert [event.kind for event in node.events] == ["expiring", "expiring", "expired"]
    assert "expires in 25 days" in node.events[0].text
    assert node.said("a.example") == ("file", "failing")
    node.files.show([certificate("a.example", left=timedelta(days=5))])
    assert node.said("a.example") == ("file", "active")
    assert [event.kind for event in node.events][3:] == ["expiring"]


def test_the_end_of_a_long_life_is_told_late_enough_to_be_heeded(node: Node) -> None:
    """A third of ten years is no time to speak of it."""
    node.files.show([certificate("a.example", left=timedelta(days=3000), life=timedelta(days=3650))])
    for left, events in ((40, 0), (29, 1), (28, 1), (14, 2)):
        node.files.look(NOW + timedelta(days=3000 - left))
        assert len(node.events) == events


async def test_the_end_of_a_certificate_is_noticed_while_the_node_runs(node: Node) -> None:
    """Nobody has to ask."""
    told = asyncio.Event()
    files = FileFacts(node.observed, lambda _event: told.set())
    files.show([certificate("a.example", left=timedelta(days=80))])
    files._facts["a.example"] = msgspec.structs.replace(node.facts["a.example"], not_after=NOW)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(files.run(0.0))
        await told.wait()
        run.cancel()
    assert node.said("a.example") == ("file", "failing")


def test_a_certificate_that_says_little_is_left_out(node: Node) -> None:
    """Without alternative names there is no name to show it by."""
    node.files.show([certificate(left=timedelta(days=80))])
    assert node.facts == {}
