"""Ways to spoil a file: functions `(content, random.Random) -> content`, for the fuzzer and its tests.

Those of archives, arrays and PNG repair lengths and checksums, so that what they spoil is met further inside.
"""

import io
import json
import re
import struct
import warnings
import zipfile
import zlib

NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    127,
    128,
    255,
    256,
    4097,
    65_536,
    10**9,
    2**31,
    2**32,
    2**62,
    2**63,
    2**64,
    10**30,
]
WORDS = [
    "NaN",
    "Infinity",
    "-inf",
    "1e999",
    "-0.0",
    "null",
    "true",
    "None",
    "",
    "[]",
    "{}",
    "[[[[]]]]",
    '"',
    "'",
]
WORDS += [
    "()",
    "../x",
    "/etc/passwd",
    "\x00",
    "\n",
    "\r",
    ",",
    ";",
    "\t",
    "ä",
    "\u2028",
    "\x1b[2J",
    "\\ud800",
    "a" * 3000,
]
WORDS += ["9" * 5000, "__import__('os').abort()", "cos\nsystem\n(S'true'\ntR."]
DTYPES = [
    "|O",
    "|V8",
    "<U0",
    "<U400000000",
    "|S9",
    "<f2",
    ">f8",
    "<f16",
    "<c16",
    "<M8[s]",
    "|b1",
    "|u1",
    "<i8",
    "f",
    "('<f4', (2, 2))",
]
DTYPES += ["[('a', '<f4'), ('b', '|O')]", "<f4', 'descr': '|O"]


# ---- any bytes -----------------------------------------------------------------------------------


def flip(content, rng):
    """Change one to eight bits, half of the time near the end, where many formats have their directory."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if changed:
            start = max(0, len(changed) - 300) if rng.random() < 0.5 else 0
            changed[rng.randrange(start, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(content, rng):
    """Put an extreme number where 1, 2, 4 or 8 bytes were."""
    size = rng.choice([1, 2, 4, 8])
    at = rng.randrange(max(1, len(content) - size))
    number = (rng.choice(NUMBERS) & (2 ** (8 * size) - 1)).to_bytes(size, rng.choice(["little", "big"]))
    return content[:at] + number + content[at + size :]


def truncate(content, rng):
    """Leave the beginning, or the end."""
    at = rng.randrange(len(content) + 1)
    return content[:at] if rng.random() < 0.8 else content[at:]


def splice(content, rng):
    """Copy one part over, or between, another."""
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    at = rng.randrange(len(content) + 1)
    return (
        content[:at] + content[first:last] + content[rng.choice([at, min(len(content), at + last - first)]) :]
    )


def fill(content, rng):
    """Overwrite a stretch with one byte."""
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:first] + bytes([rng.choice([0, 255, 32, 10])]) * (last - first) + content[last:]


ANY = [flip, flip, overwrite, overwrite, truncate, splice, fill]


# mostly small changes, which pyarrow's many layers do not all notice
BINARY = [*[flip] * 6, *[overwrite] * 6, truncate, splice, fill]


# ---- text ----------------------------------------------------------------------------------------


def number(content, rng):
    """Replace a number by another, or by a word."""
    found = [*re.finditer(rb"-?\d+(\.\d+)?", content)]
    if not found:
        return content
    chosen = rng.choice(found)
    new = str(rng.choice(NUMBERS)) if rng.random() < 0.7 else rng.choice(WORDS)
    return content[: chosen.start()] + new.encode() + content[chosen.end() :]


def word(content, rng):
    """Replace a word, or what is quoted, by another."""
    found = [*re.finditer(rb"\"[^\"]*\"|'[^']*'|\w+", content)]
    if not found:
        return content
    chosen = rng.choice(found)
    new = rng.choice(found).group() if rng.random() < 0.5 else rng.choice(WORDS).encode()
    return content[: chosen.start()] + new + content[chosen.end() :]


def line(content, rng):
    """Leave out a line, or repeat one elsewhere."""
    lines = content.splitlines(keepends=True)
    if lines:
        chosen = rng.choice(lines) * rng.choice([1, 1, 50])
        at = rng.randrange(len(lines))
        lines[at : at + rng.choice([0, 1])] = [] if rng.random() < 0.5 else [chosen]
    return b"".join(lines)


def encode(content, rng):
    """Write text in another encoding."""
    return content.decode("utf-8", "replace").encode(
        rng.choice(["utf-16", "utf-32", "cp1252", "utf-7"]), "replace"
    )


def value(content, rng):
    """Replace, leave out or rename a value of a JSON file, which stays one."""
    try:
        tree = json.loads(content)
    except ValueError:  # spoiled before
        return content
    inside = tree
    while (
        isinstance(inside, dict) and any(isinstance(v, dict) for v in inside.values()) and rng.random() < 0.9
    ):
        inside = rng.choice([v for v in inside.values() if isinstance(v, dict)])
    if not isinstance(inside, dict) or not inside:
        return content
    key = rng.choice(sorted(inside))
    old = inside.pop(key)
    numbers = [0, 1, 2, 3, 64, 4096, 65_536, 10**6, -1, 0.5, 1e-3, 1e300, 10**400, rng.choice(NUMBERS)]
    new = rng.choice(
        [*numbers, rng.choice(WORDS), True, None, {}, [], [rng.choice(numbers)] * rng.choice([1, 3, 2000])]
    )
    if isinstance(old, list) and old and rng.random() < 0.5:
        new = [*old[:-1], rng.choice(numbers)]
    if rng.random() < 0.95:
        inside[key if rng.random() < 0.9 else rng.choice([*WORDS, "seed"])] = new
    return json.dumps(tree).encode()


TEXT = [number, number, number, word, word, line, encode, flip, truncate, splice]
JSON = [*[value] * 10, *TEXT]


# ---- arrays, archives and PNG --------------------------------------------------------------------


def array_header(content, rng):
    """Change a number, the type or a word of an .npy header, and repair the header's length."""
    length = int.from_bytes(content[8:10], "little")
    header, values = content[10 : 10 + length], content[10 + length :]
    if rng.random() < 0.4:
        header = re.sub(
            rb"'descr': '[^']*'", b"'descr': '" + rng.choice(DTYPES).encode() + b"'", header, count=1
        )
    else:
        header = rng.choice([number, number, word, flip])(header, rng)
    if rng.random() < 0.05:
        header += b" " * rng.choice([100, 50_000])
    version = content[6:8] if rng.random() < 0.9 else bytes([rng.choice([2, 3, 9]), 0])
    size = struct.pack("<I" if version[:1] == b"\x02" else "<H", min(len(header), 65_535))
    return content[:6] + version + size + header + values


ARRAY = [array_header, array_header, array_header, *ANY]


def member(content, rng):
    """Change a member, or the name of one, or repeat one, and write the archive anew, checksums and all."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # spoiled before
        return content
    if not members:
        return content
    at = rng.randrange(len(members))
    name, values = members[at]
    kind = rng.random()
    if kind < 0.7:
        members[at] = name, rng.choice(ARRAY)(values, rng)
    elif kind < 0.8:
        members[at] = (
            rng.choice(["../x.npy", "/x.npy", "x\x1b.npy", "x", ".npy", "x.npy", "x_test.npy", "a/b.npy"]),
            values,
        )
    elif kind < 0.9:
        members.append((rng.choice(members)[0], values))
    else:
        members.pop(at)
    new = io.BytesIO()
    methods = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED] * 15 + [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    with warnings.catch_warnings(), zipfile.ZipFile(new, "w", rng.choice(methods)) as archive:
        warnings.simplefilter("ignore")  # that a name is there twice
        for each in members:
            archive.writestr(*each)
    return new.getvalue()


def declared_size(content, rng):
    """Change the sizes that an archive's directory declares of a member."""
    entries = [m.start() for m in re.finditer(b"PK\x01\x02", content)]
    if not entries:
        return content
    at = rng.choice(entries) + rng.choice([20, 24])
    return content[:at] + struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF) + content[at + 4 :]


ARCHIVE = [*[member] * 20, declared_size, *ANY]


def png_chunk(content, rng):
    """Change a chunk of a PNG file and repair its checksum."""
    if not content.startswith(b"\x89PNG"):
        return rng.choice(ANY)(content, rng)
    chunks, at = [], 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return content
    chosen = rng.randrange(len(chunks))
    kind, body = chunks[chosen]
    body = overwrite(body, rng) if body and kind != b"IDAT" else rng.choice(ANY)(body, rng)
    chunks[chosen] = (kind if rng.random() < 0.9 else rng.choice(chunks)[0], body)
    parts = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return content[:8] + b"".join(parts)


IMAGE = [png_chunk, png_chunk, *ANY]
