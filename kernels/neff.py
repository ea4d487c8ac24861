"""Writes NEFF files that are well formed and hold no program: what the fake runtime runs. The Rust writer makes the same bytes.

Specification, little-endian. Header of 1,024 bytes, zero where nothing is said: u64 package version 2 @0; u64 header size 1024 @8; u64 data
size @16; u64 major 2 @24; u64 minor 0 @32; compiler version, NUL-terminated, 128 bytes @40; u32 cores 1 @168; hash @172, 32 bytes: the MD5 of
the data with the bytes of each of its four 4-byte words reversed, then zeros; uuid @204, the first 16 bytes of the data's SHA-256; name,
NUL-terminated, 256 bytes @220; u32 cores asked for 1 @476; u8 cores of each node, 1 for the first @480; u64 feature bits 0 @544; u32 LNC @552.

Data: an uncompressed ustar archive, files of mode 0644, owner and time 0, in the order below, closed by two zero blocks and nothing more.
JSON is UTF-8, keys sorted, `,` and `:` without blanks. Members:

    neff.json            {"name", "version": "2.0"}
    kelf-0.json          {"target": "cayman" (trn2) or "mariana" (trn3)}
    info.json            {"tool_version"}
    hlo_stats.json       {}
    longhaul.json        {"arguments": {...}, "kernel"}: what the fake computes; compile-time arguments by name
    sgNN/tensor_map.json for each core: {name: {"dtype", "kind": "input" | "output", "tf_shape"}}
"""

import hashlib
import json
import struct
from dataclasses import dataclass

TARGETS = {"trn2": "cayman", "trn3": "mariana"}
BLOCK = 512


@dataclass(frozen=True)
class Tensor:
    """An input or output of a program."""

    name: str
    kind: str
    dtype: str
    shape: tuple


def write_neff(name, kernel, arguments, tensors, target, lnc, compiler_version):
    """The bytes of a NEFF that names `kernel` and its compile-time `arguments`."""
    tensor_map = {t.name: {"dtype": t.dtype, "kind": t.kind, "tf_shape": list(t.shape)} for t in tensors}
    members = {
        "neff.json": {"name": name, "version": "2.0"},
        "kelf-0.json": {"target": TARGETS[target]},
        "info.json": {"tool_version": compiler_version},
        "hlo_stats.json": {},
        "longhaul.json": {"arguments": arguments, "kernel": kernel},
    }
    members |= {f"sg{core:02}/tensor_map.json": tensor_map for core in range(lnc)}
    data = b"".join(_member(path, _json(value)) for path, value in members.items()) + bytes(2 * BLOCK)
    header = bytearray(1024)
    struct.pack_into("<5Q", header, 0, 2, 1024, len(data), 2, 0)
    struct.pack_into("128s", header, 40, compiler_version.encode()[:127])
    struct.pack_into("<I32s16s256s", header, 168, 1, package_hash(data), hashlib.sha256(data).digest()[:16], name.encode()[:255])
    struct.pack_into("<IB", header, 476, 1, 1)
    struct.pack_into("<QI", header, 544, 0, lnc)
    return bytes(header) + data


def package_hash(data):
    """The hash of package version 2: MD5, the bytes of each 4-byte word reversed."""
    return struct.pack(">4I", *struct.unpack("<4I", hashlib.md5(data).digest()))


def _json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _member(path, content):
    """A ustar entry: header block and content, padded to whole blocks."""
    fields = (
        (0, path),
        (100, "0000644"),
        (108, "0000000"),
        (116, "0000000"),
        (124, f"{len(content):011o}"),
        (136, "0" * 11),
        (148, " " * 8),
        (156, "0"),
        (257, "ustar"),
        (263, "00"),
    )
    block = bytearray(BLOCK)
    for offset, text in fields:
        block[offset : offset + len(text)] = text.encode()
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block) + content + bytes(-len(content) % BLOCK)
