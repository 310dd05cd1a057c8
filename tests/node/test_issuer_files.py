"""Issuers by name, by address and by file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from certs.settings import ISSUERS, IssuerSpec
from node.issuer_files import IssuerFile, read_issuers
from node.settings import CannotStart, CertsSection
from node.values import Contact
from tests.state.samples import certificate

HMAC = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
ZEROSSL = 'directory = "zerossl"\neab_kid = "kid-1"\neab_hmac_file = "hmac"\n'


def read(*issuers: str, **others: object) -> tuple[IssuerSpec, ...]:
    """The issuers that these texts name."""
    return read_issuers(msgspec.structs.replace(CertsSection(), issuers=issuers, **others))


def file(tmp_path: Path, text: str, name: str = "mine.toml") -> str:
    """The path of an issuer file with this text, beside a key and roots."""
    (tmp_path / "hmac").write_text(f"{HMAC}\n")
    (tmp_path / "hmac").chmod(0o600)
    (tmp_path / "roots.pem").write_text(certificate())
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def refused(*issuers: str) -> str:
    """The line with which a node does not start."""
    with pytest.raises(CannotStart) as caught:
        read(*issuers)
    return str(caught.value)


def test_well_known_issuers_go_by_name() -> None:
    """In the order in which they are named, with what the settings say for all."""
    found = read("letsencrypt-staging", "letsencrypt", contact=(Contact("ops@example.com"),), accept_terms=False)
    assert [spec.name for spec in found] == ["letsencrypt-staging", "letsencrypt"]
    assert found[1] == msgspec.structs.replace(
        ISSUERS["letsencrypt"], contact=("mailto:ops@example.com",), accept_terms=False
    )
    assert type(found[1].contact[0]) is str


def test_an_address_is_an_issuer() -> None:
    """It goes by its host; one that is well known is that one, staging twin included."""
    (spec,) = read("https://ca.example:9000/acme/directory")
    assert (spec.name, spec.directory) == ("ca.example:9000", "https://ca.example:9000/acme/directory")
    assert read(ISSUERS["letsencrypt"].directory) == read("letsencrypt")


def test_a_file_says_more(tmp_path: Path) -> None:
    """Paths in it start from its folder."""
    text = """
        name = "office"
        directory = "https://ca.example/dir"
        staging = "https://staging.ca.example/dir"
        contact = ["ca@example.com"]
        accept_terms = true
        eab_kid = "kid-1"
        eab_hmac_file = "hmac"
        roots = "roots.pem"
        profile = "shortlived"
        chain = "Office Root"
        orders_per_3h = 10
        certificates_per_domain_week = 5
    """
    (spec,) = read(file(tmp_path, text), accept_terms=False)
    assert spec == IssuerSpec(
        name="office",
        directory="https://ca.example/dir",
        staging="https://staging.ca.example/dir",
        contact=("mailto:ca@example.com",),
        accept_terms=True,
        eab_kid="kid-1",
        eab_hmac=HMAC,
        roots=tmp_path / "roots.pem",
        profile="shortlived",
        chain="Office Root",
        orders_per_3h=10,
        certificates_per_domain_week=5,
    )
    assert set(IssuerFile.__struct_fields__) - {"eab_hmac_file"} == set(IssuerSpec.__struct_fields__) - {"eab_hmac"}


def test_a_file_goes_by_its_own_name(tmp_path: Path) -> None:
    """Or by that of the well-known issuer in it, whose staging twin it has."""
    path = file(tmp_path, 'directory = "https://ca.example/dir"', "office.toml")
    known = file(tmp_path, 'directory = "letsencrypt"\nprofile = "tlsserver"')
    office, letsencrypt = read(path, known, contact=(Contact("ops@example.com"),))
    assert (office.name, office.contact) == ("office", ("mailto:ops@example.com",))
    assert (letsencrypt.name, letsencrypt.staging) == ("letsencrypt", ISSUERS["letsencrypt"].staging)
    assert letsencrypt.profile == "tlsserver"


def test_an_account_that_has_to_be_bound(tmp_path: Path) -> None:
    """With a file it can be; without, the operator is told before the first order fails."""
    (spec,) = read(file(tmp_path, ZEROSSL))
    assert (spec.name, spec.eab_kid, spec.eab_hmac) == ("zerossl", "kid-1", HMAC)
    assert HMAC not in repr(spec)
    for text in ("zerossl", ISSUERS["google"].directory):
        assert "opens no account without a key of theirs; give the path of a file" in refused(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nothing", "{path}: the directory is missing; give an https:// address or one of letsencrypt, "),
        ('directory = "http://ca.example/"', "http://ca.example/: this is not accepted; give an https:// address"),
        ('directory = "letsencript"', "letsencript: this is not accepted; give an https:// address"),
        ('directory = "zerossl"\neab_kid = "1"', "{path}: eab_kid and eab_hmac_file go together"),
        ('directory = "zerossl"\neab_kid = "1"\neab_hmac_file = "roots.pem"', "{folder}/roots.pem can be read by"),
        ('directory = "zerossl"\neab_kid = "1"\neab_hmac_file = "absent"', "{folder}/absent cannot be read: No such"),
        ('directory = "zerossl"\neab_kid = "1"\neab_hmac_file = "bad"', "{folder}/bad: the key is not base64url"),
        ('directory = "letsencrypt"\nroots = "hmac"', "{folder}/hmac: the file holds no certificate in PEM form"),
        ('directory = "letsencrypt"\nroots = "absent"', "{folder}/absent: the file cannot be read: No such file"),
        ('directory = "letsencrypt"\nprofil = "x"', "{path}: profil: there is no such key; the nearest is profile"),
        ('directory = "letsencrypt"\norders_per_3h = "9"', "{path}: orders_per_3h: '9' is not accepted; give a whole"),
        ("directory", "{path}: the file is not TOML: "),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, reason: str) -> None:
    """The setting, the file and the key are named, and what would do."""
    path = file(tmp_path, "" if text == "nothing" else text)
    (tmp_path / "bad").write_text("not base64!")
    (tmp_path / "bad").chmod(0o600)
    assert refused(path).startswith(f"certs.issuers: {reason.format(path=path, folder=tmp_path)}")


def test_a_name_that_is_none_and_no_file_either(tmp_path: Path) -> None:
    """A typing error names the nearest; a folder is no file."""
    line = refused("letsencript")
    assert line.startswith("certs.issuers: letsencript: there is no such file, and no such issuer; of letsencrypt, ")
    assert line.endswith("the nearest is letsencrypt")
    assert "the file cannot be read: Is a directory" in refused(str(tmp_path))
    (tmp_path / "long").write_bytes(b"#" * (1024 * 1024 + 1))
    assert "the file is too long" in refused(str(tmp_path / "long"))


def test_an_address_has_to_be_secure() -> None:
    """Who is asked for certificates must not be anybody."""
    assert "ftp://ca.example: this is not accepted; give an https:// address" in refused("ftp://ca.example")


def test_two_issuers_of_one_name() -> None:
    """What is remembered of each would be mixed up."""
    assert "ca.example: two issuers go by this name" in refused("https://ca.example/a", "https://ca.example/b")
