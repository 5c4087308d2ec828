"""Inputs of tools/fuzz: how the seeds of each format are made and how they are damaged.

A mutation is a function of a random generator and a seed's bytes. If a format protects itself (checksums, lengths, a sha256),
most mutations repair the protection afterwards, so that the code behind it is reached.
"""

import hashlib
import json
import re
import struct
import zlib

# --- numbers and bytes ------------------------------------------------------------------------------------------------------

INTERESTING = [0, 1, 2, 3, 7, 8, 16, 17, 64, 127, 128, 255, 256, 1000, 4096, 16384, 32767, 32768, 65535, 65536, 1 << 20,
               (1 << 24) - 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
NUMBERS = [b"0", b"-0", b"1", b"-1", b"2", b"3", b"7", b"16", b"255", b"65536", b"100000", b"2147483648", b"4294967296",
           b"9223372036854775807", b"-9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"1e300", b"-1e300",
           b"1e-300", b"1e999", b"nan", b"inf", b"-inf", b"0.5", b"1.1", b"0x10", b"1_000", b"+5", b"007", b""]
WORDS = [b"", b" ", b"\n", b"\t", b"\xff\xfe", b"\xc3", b"a\nb", b"\x1b[2J", b"'", b'"', b"\\", b"*", b"**", b"[", b"%s", b"../..", b"-",
         b"--", b"--help", b"null", b"true", b"\xe2\x80\xae", b"a" * 300, b"cpu", b"nowhere/x.png", b"."]


def near(rng, value):
    """Returns an interesting number, or one near `value`."""
    return rng.choice(INTERESTING) if rng.random() < 0.7 else max(0, value + rng.choice([-2, -1, 1, 2, value, 255]))


def fit(value, size):
    return value & ((1 << 8 * size) - 1)


def damage(rng, data, others=(), times=None):
    """Returns `data` with one to four changes that need no knowledge of the format."""
    data = bytearray(data)
    for _ in range(times or rng.choice([1, 1, 1, 2, 2, 3, 4])):
        n = len(data)
        at = rng.randrange(n) if n else 0
        what = rng.randrange(10)
        if n == 0 or what == 0:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 2, 4, 16, 64])))
        elif what == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 2:
            data[at] = rng.choice([0, 1, 127, 128, 254, 255, rng.randrange(256)])
        elif what in (3, 4):
            size = rng.choice([1, 2, 2, 4, 4, 4, 8])
            data[at:at + size] = fit(rng.choice(INTERESTING), size).to_bytes(size, rng.choice(["little", "big"]))
        elif what == 5:
            del data[at:]
        elif what == 6:
            del data[at:at + rng.choice([1, 2, 4, 16, n // 4 + 1])]
        elif what == 7:
            piece = bytes(data[at:at + rng.choice([1, 4, 16, 64, 256])])
            data[at:at] = piece * rng.choice([1, 2, 16, max(1, 20000 // max(1, len(piece)))])
        elif what == 8:
            end = at + rng.choice([1, 4, 16, 64])
            data[at:end] = bytes([rng.choice([0, 255, rng.randrange(256)])]) * len(data[at:end])
        else:
            other = rng.choice(list(others) or [bytes(data)])
            begin = rng.randrange(len(other)) if other else 0
            piece = other[begin:begin + rng.choice([4, 16, 64, 256, len(other)])]
            data[at:at + rng.choice([0, len(piece)])] = piece
    return bytes(data)


def noise(n, step=31):
    return bytes((i * step + i * i // 3) % 256 for i in range(n))


# --- PNG and APNG -----------------------------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind, data, length=None):
    return struct.pack(">I", len(data) if length is None else fit(length, 4)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_rows(width, height, samples):
    return b"".join(b"\0" + noise(width * samples, 7 + i) for i in range(height))


def png(width=4, height=3, colour=2, depth=8, extra=(), frames=0):
    """Returns a PNG, or with `frames` an APNG whose first frame is the picture."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth // 8
    out = PNG + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    out += b"".join(png_chunk(*e) for e in extra)
    if colour == 3:
        out += png_chunk(b"PLTE", noise(768)) + png_chunk(b"tRNS", noise(100))
    packed = zlib.compress(png_rows(width, height, samples))
    control = lambda i: struct.pack(">IIIIIHHBB", i, width, height, 0, 0, 5 + i, 100, i % 3, i % 2)
    if frames:
        out += png_chunk(b"acTL", struct.pack(">II", frames, 0)) + png_chunk(b"fcTL", control(0))
    out += png_chunk(b"IDAT", packed)
    for i in range(1, frames):
        out += png_chunk(b"fcTL", control(2 * i - 1)) + png_chunk(b"fdAT", struct.pack(">I", 2 * i) + packed)
    return out + png_chunk(b"IEND", b"")


def png_parse(data):
    chunks, at = [], len(PNG)
    while at + 8 <= len(data):
        length = struct.unpack(">I", data[at:at + 4])[0]
        chunks.append([data[at + 4:at + 8], data[at + 8:at + 8 + length]])
        at += 12 + length
    return chunks


BOMBS = {}


def bomb(megabytes):
    """Returns zlib data that unpacks to `megabytes` MiB of zeros."""
    if megabytes not in BOMBS:
        packer = zlib.compressobj(9)
        BOMBS[megabytes] = b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()
    return BOMBS[megabytes]


def png_extra(rng):
    megabytes = rng.choice([1, 4, 64, 300, 900])
    return rng.choice([
        lambda: [b"iCCP", b"x\0\0" + bomb(megabytes)],
        lambda: [b"zTXt", b"Comment\0\0" + bomb(megabytes)],
        lambda: [b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb(megabytes)],
        lambda: [b"tEXt", b"Comment\0" + b"x" * rng.choice([10, 100000])],
        lambda: [b"eXIf", tiff_of([exif_page(rng)])],
        lambda: [b"acTL", struct.pack(">II", fit(near(rng, 2), 4), fit(near(rng, 0), 4))],
        lambda: [b"fcTL", struct.pack(">IIIIIHHBB", fit(near(rng, 0), 4), *(fit(near(rng, 4), 4) for _ in range(4)), 1, 0, rng.randrange(4), rng.randrange(3))],
        lambda: [b"fdAT", struct.pack(">I", fit(near(rng, 2), 4)) + rng.choice([bomb(64), noise(40), b""])],
        lambda: [b"PLTE", noise(rng.choice([0, 1, 3, 768, 771]))],
        lambda: [b"tRNS", noise(rng.choice([0, 1, 2, 6, 256, 300]))],
        lambda: [b"pHYs", struct.pack(">IIB", fit(near(rng, 3000), 4), fit(near(rng, 3000), 4), rng.randrange(3))],
        lambda: [rng.choice([b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"cICP", b"mDCV", b"tIME", b"abcd", b"ABCD"]), noise(rng.choice([0, 1, 4, 32, 500]))],
    ])()


def png_mutate(rng, data, others):
    chunks = png_parse(data)
    if not chunks:
        return damage(rng, data, others)
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(chunks))
        what = rng.randrange(8)
        if what == 0:
            chunks[at][1] = damage(rng, chunks[at][1])
        elif what == 1:
            ihdr = bytearray(chunks[0][1].ljust(13, b"\0"))
            field, size = rng.choice([(0, 4), (4, 4), (8, 1), (9, 1), (10, 1), (11, 1), (12, 1)])
            value = near(rng, ihdr[field]) if size == 4 else rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 255])
            ihdr[field:field + size] = fit(value, size).to_bytes(size, "big")
            chunks[0][1] = bytes(ihdr)
        elif what == 2:
            chunks.insert(at, list(rng.choice(chunks)))
        elif what == 3 and len(chunks) > 1:
            del chunks[at]
        elif what == 4:
            rng.shuffle(chunks)
        elif what == 5:
            rows = [i for i, c in enumerate(chunks) if c[0] in (b"IDAT", b"fdAT")]
            if rows:
                i = rng.choice(rows)
                head = chunks[i][1][:4] if chunks[i][0] == b"fdAT" else b""
                try:
                    # Limits what is unpacked from a bomb: this process's own peak would count in every child's.
                    raw = zlib.decompressobj().decompress(chunks[i][1][len(head):], 1 << 20)
                except zlib.error:
                    raw = b""
                chunks[i][1] = head + rng.choice([bomb(64), bomb(900), zlib.compress(damage(rng, raw)), zlib.compress(raw[:len(raw) // 2])])
        else:
            extra = [png_extra(rng) for _ in range(rng.choice([1, 1, 1, 2, 30]))]
            # Compressed extras are cheap to send and costly to read; a few of them test as much as thirty.
            chunks[min(at, 1):min(at, 1)] = extra if sum(len(e[1]) for e in extra) < 4_000_000 else extra[:2]
    out = PNG
    for kind, body in chunks:
        out += png_chunk(kind, body, near(rng, len(body)) if rng.random() < 0.03 else None)
    return out


# --- JPEG -------------------------------------------------------------------------------------------------------------------


def jpeg_parse(data):
    """Returns segments as [marker, payload], the last one with everything from SOS on."""
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2:at + 4])[0]
        if marker == 0xDA:
            return parts + [[marker, data[at + 2:]]]
        parts.append([marker, data[at + 4:at + 2 + length]])
        at += 2 + length
    return parts


def jpeg_segment(rng, marker, body):
    if marker == 0xDA:
        return b"\xff\xda" + body
    length = len(body) + 2
    if rng.random() < 0.03:
        length = near(rng, length)
    return bytes([0xFF, marker]) + struct.pack(">H", fit(length, 2)) + body


def jpeg_mutate(rng, data, others):
    parts = jpeg_parse(data)
    if not parts:
        return damage(rng, data, others)
    icc = lambda i, n, size: [0xE2, b"ICC_PROFILE\0" + bytes([i % 256, n % 256]) + noise(size)]
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(parts))
        what = rng.randrange(10)
        frames = [p for p in parts if p[0] in (0xC0, 0xC1, 0xC2)]
        if what <= 1:
            parts[at][1] = damage(rng, parts[at][1])[:65533 if parts[at][0] != 0xDA else None]
        elif what <= 3 and frames:
            frame = bytearray(rng.choice(frames)[1].ljust(9, b"\0"))
            at, size = rng.choice([(0, 1), (1, 2), (3, 2), (5, 1)] + [(i, 1) for i in range(6, len(frame))])
            value = rng.choice([0, 1, 2, 3, 4, 8, 12, 0x11, 0x14, 0x41, 0x44, 255]) if size == 1 else near(rng, 8)
            frame[at:at + size] = fit(value, size).to_bytes(size, "big")
            rng.choice(frames)[1] = bytes(frame)
        elif what == 4:
            parts.insert(at, list(rng.choice(parts[:-1] or parts)))
        elif what == 5 and len(parts) > 1:
            del parts[at]
        elif what == 6:
            count = rng.choice([1, 2, 255, 2000])
            parts[0:0] = [icc(i + rng.choice([0, 1]), count, 65000 if count < 300 else 100) for i in range(count)]
        elif what == 7:
            parts.insert(0, [0xE1, b"Exif\0\0" + tiff_of([exif_page(rng)], rng.choice("<>"))])
        elif what == 8:
            kind = rng.choice([0xE0, 0xE1, 0xED, 0xEE, 0xFE, 0xDD, 0xC4, 0xDB, 0xC2, 0xC9, 0xCC, 0xDC])
            parts.insert(at, [kind, noise(rng.choice([0, 1, 2, 5, 64, 65000]), rng.randrange(1, 99))])
        else:
            parts[-1][1] = parts[-1][1].replace(b"\xff\xd9", rng.choice([b"", b"\xff\xd0", b"\xff\xda", b"\xff\xd9\xff\xd8"]))
    return b"\xff\xd8" + b"".join(jpeg_segment(rng, *p) for p in parts)


# --- WebP -------------------------------------------------------------------------------------------------------------------


def riff_parse(data):
    chunks, at = [], 12
    while at + 8 <= len(data):
        length = struct.unpack("<I", data[at + 4:at + 8])[0]
        chunks.append([data[at:at + 4], data[at + 8:at + 8 + length]])
        at += 8 + length + length % 2
    return chunks


def riff_chunk(kind, body, length=None):
    return kind + struct.pack("<I", len(body) if length is None else fit(length, 4)) + body + b"\0" * (len(body) % 2)


def riff(chunks):
    body = b"WEBP" + b"".join(riff_chunk(*c) for c in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def u24(value):
    return fit(value, 3).to_bytes(3, "little")


def webp_animated(still, width, height, frames=3, flags=2):
    """Returns an animation that repeats the picture of a still WebP `frames` times."""
    picture = [c for c in riff_parse(still) if c[0] in (b"VP8 ", b"VP8L", b"ALPH")]
    inner = b"".join(riff_chunk(*c) for c in picture)
    frame = lambda i: [b"ANMF", u24(0) + u24(0) + u24(width - 1) + u24(height - 1) + u24(40 * i) + bytes([i % 4]) + inner]
    head = [b"VP8X", bytes([flags, 0, 0, 0]) + u24(width - 1) + u24(height - 1)]
    return riff([head, [b"ANIM", struct.pack("<IH", 0, 0)]] + [frame(i) for i in range(frames)])


def webp_mutate(rng, data, others):
    chunks = riff_parse(data)
    if not chunks:
        return damage(rng, data, others)
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(chunks))
        what = rng.randrange(9)
        if what <= 1:
            chunks[at][1] = damage(rng, chunks[at][1])
        elif what == 2:
            head = bytearray(chunks[0][1].ljust(10, b"\0")) if chunks[0][0] == b"VP8X" else None
            if head is None:
                chunks.insert(0, [b"VP8X", bytes([rng.randrange(64), 0, 0, 0]) + u24(near(rng, 8)) + u24(near(rng, 6))])
            else:
                field = rng.choice([0, 4, 7])
                head[field:field + (3 if field else 1)] = u24(near(rng, 8)) if field else bytes([rng.randrange(256)])
                chunks[0][1] = bytes(head)
        elif what == 3:
            chunks.insert(at, list(rng.choice(chunks)))
        elif what == 4 and len(chunks) > 1:
            del chunks[at]
        elif what == 5:
            rng.shuffle(chunks)
        elif what == 6:
            kind = rng.choice([b"ICCP", b"EXIF", b"XMP ", b"ALPH", b"ANIM", b"abcd"])
            body = tiff_of([exif_page(rng)]) if kind == b"EXIF" else noise(rng.choice([0, 1, 100, 70000, 3_000_000]))
            chunks.insert(min(at, 1), [kind, body])
        elif what == 7:
            frames = [c for c in chunks if c[0] == b"ANMF"]
            if frames:
                frame = rng.choice(frames)
                field = rng.choice([0, 3, 6, 9, 12])
                body = bytearray(frame[1].ljust(16, b"\0"))
                body[field:field + 3] = u24(near(rng, 4))
                frame[1] = bytes(body)
                if rng.random() < 0.2:
                    chunks.extend([list(frame)] * 2000)
        else:
            # The sizes at the beginning of the lossless and the lossy bit streams.
            for c in chunks:
                if c[0] == b"VP8L" and len(c[1]) > 5:
                    c[1] = c[1][:1] + struct.pack("<I", fit(near(rng, 8) | near(rng, 6) << 14, 4)) + c[1][5:]
                elif c[0] == b"VP8 " and len(c[1]) > 10:
                    c[1] = c[1][:6] + struct.pack("<HH", fit(near(rng, 8), 2), fit(near(rng, 6), 2)) + c[1][10:]
    body = b"WEBP" + b"".join(riff_chunk(*c, near(rng, len(c[1])) if rng.random() < 0.03 else None) for c in chunks)
    return b"RIFF" + struct.pack("<I", fit(near(rng, len(body)), 4) if rng.random() < 0.1 else len(body)) + body


# --- BMP --------------------------------------------------------------------------------------------------------------------


def bmp(width=5, height=4, bits=24, compression=0):
    colours = noise(4 << bits) if bits <= 8 else b""
    row = (width * bits + 31) // 32 * 4
    body = noise(row * height) if compression == 0 else b"\x05\x01\x00\x00" * height + b"\x00\x01"
    offset = 54 + len(colours)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + colours + body


def bmp_mutate(rng, data, others):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        at, size = rng.choice([(2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4), (50, 4), (54, 4)])
        value = near(rng, 4)
        if at == 14:
            value = rng.choice([0, 12, 16, 40, 52, 56, 64, 108, 124, 255])
        elif at == 28:
            value = rng.choice([0, 1, 2, 4, 8, 16, 24, 32, 48, 64])
        elif at == 30:
            value = rng.choice([0, 1, 2, 3, 4, 5, 6, 11])
        elif at in (18, 22) and rng.random() < 0.5:
            value = -rng.choice([1, 4, 1000, 1 << 31])
        data[at:at + size] = fit(value, size).to_bytes(size, "little")
    if rng.random() < 0.3:
        return damage(rng, bytes(data), others)
    if rng.random() < 0.7:
        # A file that claims more than its actual length is rejected before its decoder sees it.
        data[2:6] = struct.pack("<I", len(data))
    return bytes(data)


# --- TIFF, which also carries EXIF --------------------------------------------------------------------------------------------

TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def tiff_page(width=5, height=4, samples=3, compression=1, bits=8):
    """Returns the tags of a page as {tag: (type, value bytes or numbers)}; 273 is filled in by `tiff_of`."""
    rows = noise(width * height * samples * bits // 8)
    if compression == 8:
        rows = zlib.compress(rows)
    elif compression == 32773:
        rows = b"".join(bytes([0, b]) for b in rows)
    return {256: (3, [width]), 257: (3, [height]), 258: (3, [bits] * samples), 259: (3, [compression]),
            262: (3, [2 if samples >= 3 else 1]), 273: (4, [0]), 277: (3, [samples]), 278: (3, [height]), 279: (4, [len(rows)]),
            "data": rows}


def exif_page(rng):
    return {274: (rng.choice([3, 3, 3, 1, 4, 2]), [rng.choice([0, 1, 3, 6, 8, 9, 255])]), 34665: (4, [rng.choice([8, 0, 26, 0xFFFFFFFF])]),
            256: (3, [4]), 282: (5, noise(8)), 270: (2, b"x" * rng.choice([1, 5, 3000])), 40962: (4, [8]), 40963: (4, [6])}


def tiff_of(pages, order="<", following=None):
    """Returns the bytes of pages from `tiff_page`. `following` replaces every page's offset of the next page."""
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for page in pages:
        data = page.get("data", b"")
        data_at = len(out)
        out += data + b"\0" * (len(data) % 2)
        entries, values = [], bytearray()
        values_at = len(out)
        for tag in sorted(t for t in page if t != "data"):
            kind, value = page[tag][:2]
            if tag in (273, 324) and value == [0]:
                value = [data_at]
            size = TIFF_SIZES.get(kind, 4)
            body = value if isinstance(value, bytes) else b"".join(fit(v, size).to_bytes(size, "little" if order == "<" else "big") for v in value)
            count = page[tag][2] if len(page[tag]) > 2 else len(body) // size
            if len(body) > 4:
                place = values_at + len(values)
                values += body + b"\0" * (len(body) % 2)
                body = struct.pack(order + "I", fit(page[tag][3] if len(page[tag]) > 3 else place, 4))
            entries.append(struct.pack(order + "HHI", fit(tag, 2), fit(kind, 2), fit(count, 4)) + body.ljust(4, b"\0")[:4])
        out += values
        at = len(out)
        out[link:link + 4] = struct.pack(order + "I", at)
        out += struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
        link = len(out) - 4
        if following is not None:
            out[link:link + 4] = struct.pack(order + "I", fit({"self": at, "first": 8}.get(following, following), 4))
    return bytes(out)


def tiff_mutate(rng, data, others):
    """Builds a damaged file from scratch, without the seed, because adding a tag would invalidate its offsets."""
    pages = [tiff_page(samples=rng.choice([1, 2, 3, 4]), compression=rng.choice([1, 8, 32773]), bits=rng.choice([8, 8, 16, 32]))
             for _ in range(rng.choice([1, 1, 2, 3]))]
    for _ in range(rng.choice([1, 1, 2, 3])):
        page = rng.choice(pages)
        tags = [t for t in page if t != "data"]
        tag = rng.choice(tags)
        kind, value = page[tag][:2]
        what = rng.randrange(8)
        if what <= 2 and not isinstance(value, bytes):
            page[tag] = (rng.choice([kind, 4, 16]), [near(rng, v) for v in value])
        elif what == 3:
            page[tag] = (rng.choice(list(TIFF_SIZES) + [0, 99]), value)
        elif what == 4:
            page[tag] = (kind, value, near(rng, 1))
        elif what == 5:
            page[tag] = (kind, value if isinstance(value, bytes) else value * 9, near(rng, 9), near(rng, 8))
        elif what == 6:
            new = rng.choice([259, 262, 266, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339, 347, 530, 700, 34665, 34675, 34853])
            page[new] = (rng.choice([3, 4, 7]), rng.choice([[rng.choice([0, 1, 2, 3, 5, 6, 7, 8, 32, 50000, 65535])], noise(900)]))
        else:
            del page[tag]
    following = rng.choice([None, None, None, "self", "first", 0xFFFFFFFF])
    return tiff_of(pages, rng.choice("<>"), following)


# --- GIF --------------------------------------------------------------------------------------------------------------------


def gif_parse(data):
    """Returns [header with its colours, block, block, …]; a block is an extension, a frame or the trailer."""
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    blocks = [data[:at]]

    def sub_blocks(at):
        while at < len(data) and data[at]:
            at += 1 + data[at]
        return at + 1

    while at < len(data):
        begin = at
        if data[at] == 0x21:
            at = sub_blocks(at + 2)
        elif data[at] == 0x2C and at + 10 < len(data):
            local = data[at + 9]
            at = sub_blocks(at + 11 + (3 << (local & 7) + 1 if local & 128 else 0))
        else:
            at = len(data)
        blocks.append(data[begin:at])
    return blocks


def gif_animated(still, frames=3):
    blocks = gif_parse(still)
    frame = [b for b in blocks if b[:1] == b"\x2c"]
    control = lambda i: b"\x21\xf9\x04" + bytes([i % 4 << 2]) + struct.pack("<H", 10 + i) + b"\0\0"
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    return blocks[0] + loop + b"".join(control(i) + frame[0] for i in range(frames)) + b";" if frame else still


def gif_mutate(rng, data, others):
    blocks = [bytearray(b) for b in gif_parse(data)]
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(blocks))
        frames = [b for b in blocks if b[:1] == b"\x2c" and len(b) > 11]
        what = rng.randrange(8)
        if what == 0:
            blocks[at] = bytearray(damage(rng, bytes(blocks[at])))
        elif what == 1 and len(blocks[0]) >= 13:
            field = rng.choice([6, 8])
            blocks[0][field:field + 2] = struct.pack("<H", fit(near(rng, 8), 2))
        elif what <= 3 and frames:
            frame, field = rng.choice(frames), rng.choice([1, 3, 5, 7])
            frame[field:field + 2] = struct.pack("<H", fit(near(rng, 8), 2))
        elif what == 4 and frames:
            frame = rng.choice(frames)
            field = rng.choice([9, 10])
            frame[field] = rng.randrange(256)
        elif what == 5:
            blocks[at:at] = [bytearray(rng.choice(blocks[1:] or blocks))] * rng.choice([1, 2, 20, 2000])
        elif what == 6 and len(blocks) > 1:
            del blocks[at]
        else:
            label = rng.choice([0xF9, 0xFE, 0x01, 0xFF, 0x77])
            body = noise(rng.choice([0, 1, 4, 11, 255]))
            blocks.insert(max(at, 1), bytearray(b"\x21" + bytes([label, len(body)]) + body + b"\0"))
    return b"".join(map(bytes, blocks))


# --- ONNX: protocol buffers -------------------------------------------------------------------------------------------------


def varint(value):
    value, out = fit(value, 8), bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def pb(*fields):
    """Returns a message of fields (number, value), where a value is an integer, bytes, text, or a float."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        elif isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def onnx_tensor(name, dims, raw=None):
    n = 1
    for d in dims:
        n *= d
    raw = struct.pack(f"<{n}f", *((i * 37 % 101) / 101 - 0.5 for i in range(n))) if raw is None else raw
    return pb(*((1, d) for d in dims), (2, 1), (8, name), (9, raw))


def onnx_value(name, dims):
    shape = pb(*((1, pb((1, d)) if isinstance(d, int) else pb((2, d))) for d in dims))
    return pb((1, name), (2, pb((1, pb((1, 1), (2, shape))))))


def onnx_ints(name, values):
    return pb((1, name), *((8, v) for v in values), (20, 7))


def onnx_int(name, value):
    return pb((1, name), (3, value), (20, 2))


def onnx_node(op, inputs, output, attributes=()):
    return pb(*((1, i) for i in inputs), (2, output), (3, "n_" + output), (4, op), *((5, a) for a in attributes))


def onnx_model(nodes, tensors, x, y):
    graph = pb(*((1, n) for n in nodes), (2, "net"), *((5, t) for t in tensors), (11, onnx_value("x", x)), (12, onnx_value("y", y)))
    return pb((1, 8), (7, graph), (8, pb((1, ""), (2, 13))))


def onnx_seeds():
    conv = lambda x, y, w, *more: onnx_node("Conv", [x, w, "b"], y, [onnx_ints("kernel_shape", [3, 3]), *more])
    pads = onnx_ints("pads", [1, 1, 1, 1])
    chain = onnx_model(
        [conv("x", "c", "w", pads), onnx_node("Relu", ["c"], "r"), conv("r", "y", "v", pads)],
        [onnx_tensor("w", [2, 1, 3, 3]), onnx_tensor("b", [2]), onnx_tensor("v", [2, 2, 3, 3])], ["n", 1, 5, 4], ["n", 2, 5, 4])
    strided = onnx_model(
        [conv("x", "y", "w", onnx_ints("pads", [2, 1, 2, 1]), onnx_ints("strides", [2, 1]), onnx_ints("dilations", [2, 1]), onnx_int("group", 2))],
        [onnx_tensor("w", [2, 1, 3, 3]), onnx_tensor("b", [2])], [1, 2, 7, 6], [1, 2, 4, 6])
    return [chain, strided]


def huge_onnx():
    """Returns a few hundred bytes that claim an input of [1,1,32768,32768]."""
    pads = onnx_ints("pads", [1, 1, 1, 1])
    return onnx_model([onnx_node("Conv", ["x", "w"], "y", [onnx_ints("kernel_shape", [3, 3]), pads])],
                      [onnx_tensor("w", [1, 1, 3, 3])], [1, 1, 32768, 32768], [1, 1, 32768, 32768])


def pb_parse(data, depth=0):
    """Returns fields as [number, wire type, value]; a value is an integer, bytes, or a list of fields if the bytes are a message."""
    fields, at = [], 0

    def read(at):
        value, shift = 0, 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at
            if shift > 63:
                raise ValueError

    while at < len(data):
        key, at = read(at)
        number, wire = key >> 3, key & 7
        if number == 0 or number > 100:
            raise ValueError
        if wire == 0:
            value, at = read(at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at:at + size], at + size
        elif wire == 2:
            length, at = read(at)
            if at + length > len(data):
                raise ValueError
            value, at = data[at:at + length], at + length
            if depth < 8 and length > 1:
                try:
                    value = pb_parse(value, depth + 1)
                except (ValueError, IndexError):
                    pass
        else:
            raise ValueError
        fields.append([number, wire, value])
    return fields


def pb_bytes(fields):
    out = b""
    for number, wire, value in fields:
        body = varint(value) if isinstance(value, int) else pb_bytes(value) if isinstance(value, list) else value
        out += varint(number << 3 | wire) + (varint(len(body)) if wire == 2 else b"") + body
    return out


def pb_walk(fields):
    for field in fields:
        yield fields, field
        if isinstance(field[2], list):
            yield from pb_walk(field[2])


def onnx_mutate(rng, data, others):
    try:
        tree = pb_parse(data)
    except (ValueError, IndexError):
        return damage(rng, data, others)
    names = [f[2] for _, f in pb_walk(tree) if isinstance(f[2], bytes) and 0 < len(f[2]) < 20]
    for _ in range(rng.choice([1, 1, 2, 3])):
        everything = list(pb_walk(tree))
        if not everything:
            break
        siblings, field = rng.choice(everything)
        what = rng.randrange(7)
        if what <= 1 and isinstance(field[2], int):
            field[2] = near(rng, field[2])
        elif what <= 3 and isinstance(field[2], bytes):
            # A changed name creates cycles, and values that nothing computes or that are computed twice.
            field[2] = rng.choice([rng.choice(names or [b""]), rng.choice(WORDS), damage(rng, field[2]), field[2][:len(field[2]) // 2]])
        elif what == 4:
            siblings.extend([field] * rng.choice([1, 1, 2, 50, 3000]))
            if sum(1 for _ in pb_walk(tree)) > 100_000:
                break
        elif what == 5:
            siblings.remove(field)
        else:
            rng.shuffle(siblings)
    out = pb_bytes(tree)
    return damage(rng, out, others, 1) if rng.random() < 0.1 else out


# --- npy --------------------------------------------------------------------------------------------------------------------


def npy(shape, descr="'<f4'", order="False", version=1, data=None):
    n = 1
    for d in shape:
        n *= d
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''}), }}"
    header = header.ljust(117) + "\n"
    data = struct.pack(f"<{n}f", *(i % 7 / 7 for i in range(n))) if data is None else data
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header.encode() + data


def npy_mutate(rng, data, others):
    what = rng.randrange(6)
    if what <= 1:
        return damage(rng, data, others)
    shape = [rng.choice([0, 1, 1, 2, 4, 5, near(rng, 4), -1]) for _ in range(rng.choice([0, 1, 2, 3, 4, 4, 5, 40]))] if what == 2 else [1, 1, 5, 4]
    version = rng.choice([1, 1, 2, 3, 0, 9])
    descr = rng.choice(["'<f4'"] * 4 + ["'>f4'", "'<f8'", "'|O'", "[('a', '<f4')]", "''", "'" + "x" * 999 + "'", "'\x1b[2J'"])
    values = noise(80) if rng.random() < 0.5 else struct.pack("<20f", *([float("nan"), float("inf"), 3e38, -3e38, 1e-45] * 4))
    out = npy(shape, descr, rng.choice(["False"] * 4 + ["True", "Maybe", ""]), version, values)
    if what == 5:
        at = out.index(b"{")
        out = out[:at] + damage(rng, out[at:at + 90]) + out[at + 90:]
    return out


# --- safetensors ------------------------------------------------------------------------------------------------------------


def safetensors_parse(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + length]), data[8 + length:]


def safetensors_bytes(header, body, length=None, keep_sum=False):
    header = dict(header)
    if isinstance(header.get("__metadata__"), dict) and "sha256" in header["__metadata__"] and not keep_sum:
        header["__metadata__"] = {**header["__metadata__"], "sha256": hashlib.sha256(body).hexdigest()}
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text) if length is None else fit(length, 8)) + text + body


def safetensors_mutate(rng, data, others):
    try:
        header, body = safetensors_parse(data)
        metadata = header.setdefault("__metadata__", {})
        tensors = [k for k in header if k != "__metadata__"]
    except (ValueError, struct.error, AttributeError):
        return damage(rng, data, others)
    if not tensors:
        return damage(rng, data, others)
    for _ in range(rng.choice([1, 1, 2, 3])):
        name = rng.choice(tensors)
        entry = header.get(name)
        what = rng.randrange(14)
        if not isinstance(entry, dict) or not {"shape", "data_offsets", "dtype"} <= entry.keys():
            continue
        if what == 0:
            entry["shape"] = [near(rng, d) for d in entry["shape"]]
        elif what == 1:
            entry["shape"] = rng.choice([[], [0], [1] * 9, [1 << 33, 1 << 33], [-1], ["a"], "x", None, entry["shape"][::-1], entry["shape"][:-1]])
        elif what == 2:
            entry["data_offsets"] = [near(rng, d) for d in entry["data_offsets"]]
        elif what == 3:
            entry["data_offsets"] = rng.choice([[0, 0], entry["data_offsets"][::-1], [], [0], [0, 1, 2], "x", header[rng.choice(tensors)].get("data_offsets", [])])
        elif what == 4:
            entry["dtype"] = rng.choice(["F64", "F16", "BF16", "I8", "BOOL", "F8_E4M3", "F4", "", None, 7])
        elif what == 5:
            header[rng.choice(["", "\n", "\x1b[2J", "a" * 5000, "\ud800", "__metadata__2", name + ".w"])] = header.pop(name)
            tensors = [k for k in header if k != "__metadata__"]
        elif what == 6:
            del header[name]
            tensors.remove(name)
            if not tensors:
                break
        elif what == 7:
            key = rng.choice(list(metadata) or ["step"])
            metadata[key] = rng.choice(["", "0", "-1", "nan", "1e999", "18446744073709551615", "18446744073709551616", "{", "[]", "{}", "\n", "x" * 9999, "\x1b[2J"])
        elif what == 8:
            key = rng.choice(list(metadata) or ["step"])
            metadata[key] = damage(rng, str(metadata.get(key, "")).encode()).decode("utf-8", "replace")
        elif what == 9 and metadata:
            metadata.pop(rng.choice(list(metadata)))
        elif what == 10:
            header["__metadata__"] = rng.choice([{}, None, [], {"sha256": "x"}, {"a": 1}, "x"])
            metadata = header["__metadata__"] if isinstance(header["__metadata__"], dict) else {}
        elif what == 11:
            special = struct.pack("<f", rng.choice([float("nan"), float("inf"), 3.4e38, -3.4e38, 1e-45]))
            at = rng.randrange(max(1, len(body) // 4)) * 4
            body = body[:at] + special * rng.choice([1, 64]) + body[at + 4:]
            body = body[:len(data)]
        elif what == 12:
            body = damage(rng, body)
        else:
            return b"".join([struct.pack("<Q", fit(near(rng, 100), 8)), rng.choice([b"{" * 100000, b"[" * 100000, b'{"a":' * 50000, b" " * 1000, b'{"x":[' + b"0," * 500000])])
    length = near(rng, 1000) if rng.random() < 0.05 else None
    return safetensors_bytes(header, body, length, rng.random() < 0.1)


# --- texts: TOML, CSV, JSON ---------------------------------------------------------------------------------------------------


def text_mutate(rng, data, others):
    """Replaces numbers and words, and adds and removes lines."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        what = rng.randrange(6)
        tokens = list(re.finditer(rb"-?[0-9][0-9.e+-]*|\"[^\"\n]*\"|[A-Za-z_]+", data))
        if what <= 3 and tokens:
            token = rng.choice(tokens)
            word = token.group()
            if word[:1] == b'"' and rng.random() < 0.7:
                new = b'"' + rng.choice(WORDS + NUMBERS) + b'"'
            else:
                new = rng.choice(NUMBERS if word[:1].isdigit() or word[:1] == b"-" or rng.random() < 0.3 else WORDS)
            data = data[:token.start()] + new + data[token.end():]
        else:
            lines = data.split(b"\n")
            at = rng.randrange(len(lines))
            if what == 4:
                lines.insert(at, rng.choice(lines) if rng.random() < 0.7 else rng.choice([b"[[", b"a" * 70000, b"\xff\xff", b"[" * 3000, b"," * 3000, b"\r"]))
            else:
                del lines[at]
            data = b"\n".join(lines)
    return data


# --- how large a picture claims to be, and whether a file is whole -----------------------------------------------------------


def claimed_pixels(data):
    """Returns the pixels that a picture's header claims, all frames together, or 0 if unknown."""
    try:
        if data[:8] == PNG:
            width, height = struct.unpack(">II", data[16:24])
            return width * height * (1 + data.count(b"fcTL"))
        if data[:2] == b"\xff\xd8":
            return max((struct.unpack(">HH", p[1:5])[0] * struct.unpack(">HH", p[1:5])[1] for m, p in jpeg_parse(data) if m in (0xC0, 0xC1, 0xC2)), default=0)
        if data[:2] == b"BM":
            width, height = struct.unpack("<ii", data[18:26])
            return abs(width * height)
        if data[:4] == b"GIF8":
            width, height = struct.unpack("<HH", data[6:10])
            return width * height * max(1, data.count(b"\x2c"))
        if data[:4] == b"RIFF":
            side = lambda body, at: 1 + int.from_bytes(body[at:at + 3], "little")
            canvas = [side(b, 4) * side(b, 7) for k, b in riff_parse(data) if k == b"VP8X"]
            if canvas:
                return max(canvas) * max(1, data.count(b"ANMF"))
            chunks = dict((k, b) for k, b in riff_parse(data))
            if b"VP8L" in chunks:
                bits = struct.unpack("<I", chunks[b"VP8L"][1:5])[0]
                return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
            width, height = struct.unpack("<HH", chunks[b"VP8 "][6:10])
            return width * height
        if data[:2] in (b"II", b"MM"):
            order = "<" if data[:2] == b"II" else ">"
            at = struct.unpack(order + "I", data[4:8])[0]
            sides = {}
            for i in range(struct.unpack(order + "H", data[at:at + 2])[0]):
                tag, kind, _ = struct.unpack(order + "HHI", data[at + 2 + 12 * i:at + 10 + 12 * i])
                value = data[at + 10 + 12 * i:at + 14 + 12 * i]
                sides[tag] = struct.unpack(order + ("H" if kind == 3 else "I"), value[:2] if kind == 3 else value)[0]
            return sides.get(256, 0) * sides.get(257, 0)
    except (struct.error, KeyError, IndexError):
        pass
    return 0


def broken_output(name, data):
    """Returns why an output file is not whole, or None."""
    if not data:
        return "is empty"
    kind = name.rsplit(".", 1)[-1].lower()
    if kind in ("png", "apng"):
        chunks = png_parse(data)
        sound = sum(12 + len(body) for _, body in chunks) + 8 == len(data)
        if data[:8] != PNG or not sound or not chunks or chunks[-1][0] != b"IEND":
            return "is not a whole PNG"
        at = 8
        for k, body in chunks:
            if data[at + 8 + len(body):at + 12 + len(body)] != struct.pack(">I", zlib.crc32(k + body)):
                return "has a PNG chunk with a wrong checksum"
            at += 12 + len(body)
    elif kind in ("jpg", "jpeg") and not (data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"):
        return "is not a whole JPEG"
    elif kind == "webp" and not (data[:4] == b"RIFF" and struct.unpack("<I", data[4:8])[0] + 8 == len(data)):
        return "is not a whole WebP"
    elif kind == "gif" and not (data[:4] == b"GIF8" and data[-1:] == b";"):
        return "is not a whole GIF"
    elif kind == "bmp" and not (data[:2] == b"BM" and struct.unpack("<I", data[2:6])[0] == len(data)):
        return "is not a whole BMP"
    elif kind in ("tif", "tiff") and not (data[:4] in (b"II*\0", b"MM\0*") and claimed_pixels(data) > 0):
        return "is not a whole TIFF"
    elif kind == "safetensors":
        try:
            header, body = safetensors_parse(data)
            ends = [e["data_offsets"][1] for n, e in header.items() if n != "__metadata__"]
            if max(ends, default=0) != len(body):
                return "is not a whole safetensors file"
        except (ValueError, struct.error, KeyError):
            return "is not a safetensors file"
    elif kind == "json":
        try:
            json.loads(data)
        except ValueError:
            return "is not JSON"
    return None
