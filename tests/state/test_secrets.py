"""Secrets: sealed for one key and one place, and files that are made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import SecretError
from state.secrets import Secrets, hash_token, secret_file, verify_token

KEY = bytes(range(32))


@given(st.binary(max_size=100), st.text(max_size=20))
def test_what_is_sealed_opens_in_its_context(plain: bytes, context: str) -> None:
    """And is not there to be read."""
    secrets = Secrets(KEY)
    blob = secrets.seal(plain, context)
    assert secrets.open(blob, context) == plain
    assert len(plain) < 8 or plain not in blob


def test_sealing_twice_gives_two_blobs() -> None:
    """Nobody sees that two values are the same."""
    assert Secrets(KEY).seal(b"x", "a") != Secrets(KEY).seal(b"x", "a")


def test_another_context_does_not_open_it() -> None:
    """A row cannot be copied over another."""
    secrets = Secrets(KEY)
    with pytest.raises(SecretError, match="tunnels/b/token was altered"):
        secrets.open(secrets.seal(b"x", "tunnels/a/token"), "tunnels/b/token")


def test_another_key_is_told_by_its_name() -> None:
    """An operator can find out which key file belongs to the store."""
    mine, other = Secrets(KEY), Secrets(KEY[::-1])
    with pytest.raises(SecretError) as error:
        other.open(mine.seal(b"x", "a"), "a")
    assert str(error.value) == f"a was sealed with the node key {mine.key_id}, and the key here is {other.key_id}"


@pytest.mark.parametrize("place", [0, 1, 8, 9, 20, 21, 22, -1])
def test_any_altered_byte_is_noticed(place: int) -> None:
    """In the head, the nonce, the text and the tag."""
    secrets = Secrets(KEY)
    blob = bytearray(secrets.seal(b"plain", "a"))
    blob[place] ^= 1
    with pytest.raises(SecretError):
        secrets.open(bytes(blob), "a")


@pytest.mark.parametrize("size", [0, 1, 9, 20, 21, 36])
def test_a_blob_that_was_cut_is_noticed(size: int) -> None:
    """Wherever it was cut."""
    secrets = Secrets(KEY)
    with pytest.raises(SecretError):
        secrets.open(secrets.seal(b"", "a")[:size], "a")


def test_a_key_has_one_size() -> None:
    """AES-256 takes no other."""
    with pytest.raises(SecretError, match="32 bytes, not 16"):
        Secrets(KEY[:16])


def test_a_node_key_is_made_once(tmp_path: Path) -> None:
    """The second start reads what the first one made."""
    path = tmp_path / "data" / "node.key"
    first, second = Secrets.load_or_create(path), Secrets.load_or_create(path)
    assert second.open(first.seal(b"x", "a"), "a") == b"x"
    assert len(bytes.fromhex(path.read_text())) == 32


@pytest.mark.parametrize("text", ["00" * 31, "00" * 33, "zz" * 32, "key"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    """It is never replaced: the right key may be in a backup."""
    path = tmp_path / "node.key"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(SecretError, match="holds no node key: it must be 64 hexadecimal digits"):
        Secrets.load_or_create(path)
    assert path.read_text() == text


def test_a_secret_file_is_made_and_read(tmp_path: Path) -> None:
    """What an operator wrote there with an editor counts as well."""
    path = tmp_path / "worker.secret"
    assert secret_file(path, lambda: "made") == "made"
    path.write_text("  by hand \n")
    assert secret_file(path, lambda: "made") == "by hand"


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff", "is not text")])
def test_a_secret_file_without_a_secret_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """An empty secret would let everybody in."""
    path = tmp_path / "worker.secret"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(SecretError, match=reason):
        secret_file(path, lambda: "made")


def test_a_secret_file_in_an_impossible_place_is_refused(tmp_path: Path) -> None:
    """With the reason of the system."""
    (tmp_path / "file").touch()
    with pytest.raises(SecretError, match=r"file/worker\.secret cannot be read or made: Not a directory"):
        secret_file(tmp_path / "file" / "worker.secret", lambda: "made")


def test_a_token_is_known_by_its_hash() -> None:
    """The token itself is nowhere."""
    hashed = hash_token("rp_0123")
    assert "rp_0123" not in hashed
    assert verify_token("rp_0123", hashed)
    assert not verify_token("rp_0124", hashed)
    assert not verify_token("rp_0123", "")
