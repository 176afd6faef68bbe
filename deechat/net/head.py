"""A response's head: most are plain and read at a glance, the others by h11, as in the HTTP library's own transport.

What is plain is a part of what h11 takes, and means the same to it, so the same servers are taken and refused as there.
To read each head with h11, and to tell it of each request before, was a twelfth of all the calls that an answer of one
token is made of.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

# RFC 9112, sections 4 and 5, without what is obsolete in it: other letters than ASCII's, and folded lines.
_PLAIN = re.compile(rb"HTTP/1\.1 200 ([\t\x20-\x7e]*)\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e]*\r\n)+)\r\n")

_FRAMING = frozenset({b"transfer-encoding", b"content-length"})

Fields = list[tuple[bytes, bytes]]


class Head(NamedTuple):
    """A response's head. The names of `fields` are in small letters, those of `raw` as they came."""

    status: int
    reason: bytes
    version: bytes
    fields: Fields
    raw: Fields

    @classmethod
    def of(cls, response: h11.Response) -> Head:
        """Takes what h11 read."""
        fields, raw = list(response.headers), response.headers.raw_items()
        return cls(response.status_code, bytes(response.reason), bytes(response.http_version), fields, raw)

    @property
    def is_chunked(self) -> bool:
        """Whether its body is in chunks; h11 takes no other coding of a transfer."""
        return any(name == b"transfer-encoding" for name, _ in self.fields) and self.status not in {204, 304}

    @property
    def keeps_alive(self) -> bool:
        """Whether its connection is to be used again; RFC 9112, section 9.3, without HTTP/1.0's own ways."""
        options = b",".join(value for name, value in self.fields if name == b"connection").lower().split(b",")
        return self.version >= b"1.1" and b"close" not in {option.strip() for option in options}


def read_plainly(raw: bytes) -> tuple[Head, bytes] | None:
    """Gives the head that the first read of a response holds, and what of the read is behind it.

    None where it is not all there, or is not plain: HTTP/1.1, 200, in chunks that alone say where the body ends. It is
    not asked about the response to HEAD, which has no body.
    """
    found = _PLAIN.match(raw)
    if found is None:
        return None
    lines = [line.partition(b":") for line in found[2].split(b"\r\n")[:-1]]
    fields = [(name, value.strip(b" \t")) for name, _, value in lines]
    small = [(name.lower(), value) for name, value in fields]
    if [each for each in small if each[0] in _FRAMING] != [(b"transfer-encoding", b"chunked")]:
        return None
    return Head(200, found[1], b"1.1", small, fields), raw[found.end() :]
