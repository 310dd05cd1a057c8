"""What the operator says about certificates: well-known authorities, and no secret in what a log could show."""

from __future__ import annotations

from certs.settings import ISSUERS, CertsSettings, IssuerSpec


def test_well_known_authorities_go_by_their_names() -> None:
    """Each is asked over https, its staging twin too."""
    for name, spec in ISSUERS.items():
        assert spec.name == name
        assert all(url.startswith("https://") for url in (spec.directory, spec.staging) if url is not None)


def test_nothing_secret_is_shown() -> None:
    """Neither the key that binds an account, nor what events are signed with."""
    issuer = IssuerSpec(name="own", directory="https://ca.example/dir", eab_kid="kid", eab_hmac="c2VjcmV0")
    settings = CertsSettings(issuers=(issuer,), warn_url="https://hook.example/", warn_secret="whsec")
    for shown in (repr(settings), str(settings), f"{settings}", repr(issuer)):
        assert "c2VjcmV0" not in shown
        assert "whsec" not in shown
