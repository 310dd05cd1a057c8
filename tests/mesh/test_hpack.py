"""HPACK against another implementation, and against blocks that nobody should send."""

from __future__ import annotations

import contextlib

import hpack as reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import hpack
from mesh.frames import COMPRESSION_ERROR, ConnectionFault

NAMES = st.sampled_from(
    [b":path", b":status", b"cookie", b"x-a", b"accept", b"te", b"x-" + b"long" * 40, b"set-cookie"]
)
VALUES = st.binary(max_size=200) | st.sampled_from([b"", b"200", b"gzip, deflate", b"a" * 3000])
HEADERS = st.sampled_from([reference.HeaderTuple, reference.NeverIndexedHeaderTuple])
FIELDS = st.lists(st.builds(lambda header, name, value: header(name, value), HEADERS, NAMES, VALUES), max_size=8)


def pairs(fields: list[hpack.Field]) -> list[tuple[bytes, bytes]]:
    """Names and values."""
    return [(name, value) for name, value, _line, _kind in fields]


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.sampled_from([None, 0, 60, 500, 4096])), max_size=12))
def test_what_another_encoder_writes_is_read(
    blocks: list[tuple[list[reference.HeaderTuple], bool, int | None]],
) -> None:
    """Its table and ours stay the same, whatever is indexed, evicted, or resized."""
    encoder, decoder = reference.Encoder(), hpack.Decoder()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        expected = [tuple(one) for one in fields]
        assert pairs(decoder.decode(block)) == expected
        # Unchanged means that the same bytes say the same again.
        if not decoder.is_changed:
            assert pairs(decoder.decode(block)) == expected


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_another_decoder_reads_what_is_written(fields: list[tuple[bytes, bytes]]) -> None:
    """And its table stays empty, so that a block means the same on every connection."""
    decoder = reference.Decoder(1 << 20)
    block = b"".join(hpack.encode(name, value) for name, value in fields)
    assert [tuple(field) for field in decoder.decode(block, raw=True)] == fields
    assert len(decoder.header_table.dynamic_entries) == 0


def test_secrets_are_never_indexed_by_anybody() -> None:
    """RFC 7541 section 7.1.3."""
    for name in (b"authorization", b"cookie", b"set-cookie"):
        ((field),) = reference.Decoder().decode(hpack.encode(name, b"secret"), raw=True)
        assert not field.indexable
    ((field),) = reference.Decoder().decode(hpack.encode(b"x-a", b"b"), raw=True)
    assert isinstance(field, reference.HeaderTuple)


def test_lines_of_http1_become_fields() -> None:
    """Names in lower case, values without the white space around them."""
    block = hpack.encode_lines(b"Content-Type: text/html \r\nX-A:b\r\nEmpty:\r\n")
    fields = reference.Decoder().decode(block, raw=True)
    assert [tuple(field) for field in fields] == [(b"content-type", b"text/html"), (b"x-a", b"b"), (b"empty", b"")]


def test_lines_about_the_connection_have_no_place() -> None:
    """A route's own edits may bring them in."""
    assert hpack.encode_lines(b"Connection: close\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n") == b""


def test_a_block_of_indexed_fields_leaves_the_table_alone() -> None:
    """That is what makes it worth remembering."""
    encoder, decoder = reference.Encoder(), hpack.Decoder()
    fields = [(b":method", b"GET"), (b"x-a", b"b")]
    decoder.decode(encoder.encode(fields))
    assert decoder.is_changed
    assert pairs(decoder.decode(encoder.encode(fields))) == fields
    assert not decoder.is_changed


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index zero"),
        pytest.param(b"\xbe", id="index behind the tables"),
        pytest.param(b"\xff\xff\xff\xff\xff\xff\xff\x0f", id="integer without end"),
        pytest.param(b"\xff\x80\x80\x80\x80\x01", id="integer in many octets"),
        pytest.param(b"\x7f", id="broken integer"),
        pytest.param(b"\x00", id="no name"),
        pytest.param(b"\x00\x05abc", id="name that breaks off"),
        pytest.param(b"\x00\x01a\x0aabc", id="value that breaks off"),
        pytest.param(b"\x00\x01a\xff\xff\xff\xff\x7f", id="length of gigabytes"),
        pytest.param(b"\x00\x01a", id="no value"),
        pytest.param(b"\x7e\x01a", id="literal with an index behind the tables"),
        pytest.param(b"\x3f\xe2\x1f", id="table above the limit"),
        pytest.param(b"\x82\x20", id="table size behind a field"),
        pytest.param(b"\x00\x01a\x81\x18", id="Huffman padding of zeros"),
        pytest.param(b"\x00\x01a\x82\x1f\xff", id="Huffman padding of a whole octet"),
        pytest.param(b"\x00\x01a\x84\xff\xff\xff\xff", id="Huffman end of string"),
        pytest.param(b"\x00\x01a\x81\xff", id="Huffman padding alone"),
    ],
)
def test_a_malformed_block_ends_the_connection(block: bytes) -> None:
    """What follows could not be read any more (RFC 9113 section 4.3)."""
    with pytest.raises(ConnectionFault) as raised:
        hpack.Decoder().decode(block)
    assert raised.value.code == COMPRESSION_ERROR


@given(st.binary(max_size=64))
def test_noise_is_read_or_refused(block: bytes) -> None:
    """Nothing else comes out of any bytes."""
    decoder = hpack.Decoder()
    with contextlib.suppress(ConnectionFault):
        decoder.decode(block)
        decoder.decode(block)


def test_the_table_is_bounded() -> None:
    """Entries go when others come, and one that is larger than the table empties it (RFC 7541 section 4.4)."""
    encoder, decoder = reference.Encoder(), hpack.Decoder()
    for number in range(1000):
        decoder.decode(encoder.encode([(b"x-a", b"%d" % number * 50)]))
    assert len(decoder._table) < 62 + hpack.TABLE_SIZE // 32
    decoder.decode(b"\x40\x01a\x7f\xa1\x1f" + b"v" * 4128)
    assert len(decoder._table) == 62
    assert decoder._size == 0


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        (b"accept", b"*/*", hpack.PLAIN),
        (b"x-empty", b"", hpack.PLAIN),
        (b"x-latin", b"\xe9", hpack.PLAIN),
        (b":path", b"/", hpack.PSEUDO),
        (b":anything", b"", hpack.PSEUDO),
        (b"cookie", b"a=b", hpack.CAREFUL),
        (b"te", b"trailers", hpack.CAREFUL),
        (b"Accept", b"*/*", hpack.MALFORMED),
        (b"", b"a", hpack.MALFORMED),
        (b"a b", b"a", hpack.MALFORMED),
        (b"a:b", b"a", hpack.MALFORMED),
        (b"a\r\nb", b"a", hpack.MALFORMED),
        (b"connection", b"close", hpack.MALFORMED),
        (b"transfer-encoding", b"chunked", hpack.MALFORMED),
        (b"upgrade", b"h2c", hpack.MALFORMED),
        (b"keep-alive", b"", hpack.MALFORMED),
        (b"proxy-connection", b"", hpack.MALFORMED),
        (b"x-a", b"a\r\nb: c", hpack.MALFORMED),
        (b"x-a", b"a\nb", hpack.MALFORMED),
        (b"x-a", b"a\x00", hpack.MALFORMED),
        (b"x-a", b" a", hpack.MALFORMED),
        (b"x-a", b"a\t", hpack.MALFORMED),
        (b":path", b"/\r\nx: y", hpack.MALFORMED),
        (b"cookie", b"a=b\r\nx: y", hpack.MALFORMED),
        (b"host", b"a\nb", hpack.MALFORMED),
    ],
)
def test_fields_are_judged_by_name_and_value(name: bytes, value: bytes, kind: int) -> None:
    """RFC 9113 section 8.2: none of these may reach a line of HTTP/1."""
    assert hpack.kind_of(name, value) == kind


def test_the_size_of_a_list_counts_as_the_rfc_does() -> None:
    """Section 6.5.2: names, values, and 32 for each field."""
    assert hpack.size_of([hpack.field(b"abc", b"de"), hpack.field(b"x", b"")]) == 3 + 2 + 32 + 1 + 32
