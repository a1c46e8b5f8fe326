"""Image files that are damaged, misstate their size, or expand to far more than their bytes."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

import cv2
import numpy as np
from PIL import Image
from pillow_heif import register_heif_opener

from tests.support.photos import YAOMING, photo

register_heif_opener()

Damage = Callable[[Random], bytes]

_MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("RGB", "L", "P"),
    "HEIF": ("RGB", "RGBA", "L"),
    "AVIF": ("RGB", "RGBA", "L"),
}


@cache
def _face() -> Image.Image:
    pixels = cv2.resize(photo(YAOMING), (160, 160), interpolation=cv2.INTER_AREA)
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))


@cache
def whole(kind: str, mode: str, progressive: bool = False) -> bytes:
    """An intact file of a face."""
    picture = _face()
    picture = picture.convert("I").point(lambda v: v * 256) if mode == "I;16" else picture
    picture = picture.convert(mode)
    file = io.BytesIO()
    picture.save(file, kind, **({"progressive": True} if progressive else {}))
    return file.getvalue()


def sound(random: Random) -> bytes:
    kind = random.choice(list(_MODES))
    progressive = kind == "JPEG" and random.random() < 0.3
    return whole(kind, random.choice(_MODES[kind]), progressive)


def truncated(random: Random) -> bytes:
    content = sound(random)
    return content[: random.randrange(len(content))]


def bit_flipped(random: Random) -> bytes:
    content = bytearray(sound(random))
    # Half of the cases change the headers, where a flipped bit does most harm.
    end = random.choice([min(200, len(content)), len(content)])
    for _ in range(random.choice([1, 4, 64])):
        content[random.randrange(end)] ^= 1 << random.randrange(8)
    return bytes(content)


def overwritten(random: Random) -> bytes:
    content = bytearray(sound(random))
    start = random.randrange(len(content))
    length = random.choice([1, 2, 4, 100])
    filler = random.choice([random.randbytes(length), b"\xff" * length, bytes(length)])
    content[start : start + length] = filler
    return bytes(content)


def wrong_length(random: Random) -> bytes:
    """A file with bytes missing, repeated, or appended."""
    content = sound(random)
    start, end = sorted(random.choices(range(len(content)), k=2))
    piece = content[start:end]
    return random.choice(
        [content[:start] + content[end:], content[:end] + piece + content[end:], content + piece]
    )


def noise(random: Random) -> bytes:
    iso = b"\0\0\0\x18ftyp" + random.choice([b"heic", b"hevc", b"msf1", b"avif"]) + bytes(12)
    starts = [
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"BM",
        b"\xff\n",
        iso,
    ]
    magic = random.choice(starts)
    return magic + random.randbytes(random.choice([0, 1, 30, 3000]))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, *more: bytes, colour: int = 2) -> bytes:
    """A PNG of 8-bit samples. pixels: deflated; more: chunks before them."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    chunks = [header, *more, png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def giant(random: Random) -> bytes:
    """A small file whose header announces up to 2^62 pixels."""
    sides = [0, 1, 7000, 65535, 2**31 - 1]
    width, height = random.choice(sides), random.choice(sides)
    kind = random.choice(["PNG", "JPEG", "BMP", "WEBP", "HEIF", "AVIF"])
    content = bytearray(whole(kind, "RGB"))
    if kind in ("HEIF", "AVIF"):
        size_at = content.index(b"ispe") + 8
        content[size_at : size_at + 8] = struct.pack(">II", width, height)
    elif kind == "PNG":
        return png(width, height, zlib.compress(bytes(1000)))
    if kind == "JPEG":
        frame = content.index(b"\xff\xc0") + 5
        content[frame : frame + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", width, random.choice([height, -height]))
    elif kind == "WEBP":
        return _animated_webp(min(width, 2**24 - 1), min(height, 2**24 - 1))
    return bytes(content)


def strip(random: Random) -> bytes:
    """One pixel wide or high, and up to 65,000 long."""
    length = random.choice([1, 2, 31, 641, 16383, 65000])
    size = random.choice([(length, 1), (1, length), (length, 3)])
    file = io.BytesIO()
    kind = random.choice(["PNG", "JPEG", "BMP"])
    Image.new("RGB", size, "grey").save(file, kind)
    return file.getvalue()


def one_colour(random: Random, megapixels: int = 4, *, rgb: bool = False) -> bytes:
    """An image whose file is a thousandth of its decoded size."""
    width = 2000
    height = megapixels * 1_000_000 // width
    colour, samples = (2, 3) if rgb else random.choice([(2, 3), (6, 4), (0, 1)])
    deflate = zlib.compressobj(9)
    row = bytes(width * samples + 1)
    pixels = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    return png(width, height, pixels, colour=colour)


def animated(random: Random) -> bytes:
    kind = random.choice(["GIF", "WEBP", "PNG", "HEIF", "AVIF", "canvas"])
    if kind == "canvas":
        return _animated_webp(random.choice([16, 5000]), random.choice([16, 5000]))
    file = io.BytesIO()
    others = [_face().rotate(90 * turn) for turn in range(random.choice([1, 3, 12]))]
    _face().save(file, kind, save_all=True, append_images=others)
    return file.getvalue()


def _animated_webp(width: int, height: int) -> bytes:
    """One frame of 16 x 16 pixels on a canvas of this size."""

    def three(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data

    frame = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(frame, "WEBP", lossless=True)
    place = three(0) * 2 + three(15) * 2 + three(100) + b"\0"
    canvas = b"\x02\0\0\0" + three(max(width - 1, 0)) + three(max(height - 1, 0))
    chunks = chunk(b"VP8X", canvas) + chunk(b"ANIM", b"\xff\xff\xff\xff\0\0")
    chunks += chunk(b"ANMF", place + frame.getvalue()[12:])
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def polyglot(random: Random) -> bytes:
    """A file of two formats: it may pass a check as one and be read as the other."""
    image = sound(random)
    other = random.choice(
        [b"PK\x03\x04" + bytes(60), b"%PDF-1.7\n", b"<script>alert(1)</script>", b"GIF89a", image]
    )
    return random.choice([image + other, other + image, image[:20] + other + image[20:]])


def metadata_bomb(random: Random) -> bytes:
    """EXIF with offsets to itself or counts of billions; texts and profiles that inflate."""
    count = random.choice([0, 1, 200, 65535])
    entry = struct.pack(">HHII", 0x0112, random.choice([3, 5, 99]), 0xFFFFFFFF, 8)
    exif = b"MM\0*" + struct.pack(">IH", random.choice([8, 0, 0xFFFFFFF0]), count) + entry * 40
    if random.random() < 0.5:
        body = b"Exif\0\0" + exif
        block = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        jpeg = whole("JPEG", "RGB")
        return jpeg[:2] + block * random.choice([1, 200]) + jpeg[2:]
    bomb = zlib.compress(bytes(30_000_000), 9)
    more = random.choice(
        [
            [png_chunk(b"eXIf", exif)],
            [png_chunk(b"iCCP", b"a\0\0" + bomb)],
            [png_chunk(b"zTXt", b"a\0\0" + bomb)] * 3,
            [png_chunk(b"tEXt", b"a\0b")] * 20_000,
        ]
    )
    return png(32, 32, zlib.compress(bytes(32 * 97)), *more)


IMAGES: dict[str, Damage] = {
    "sound": sound,
    "truncated": truncated,
    "bit-flipped": bit_flipped,
    "overwritten": overwritten,
    "wrong length": wrong_length,
    "noise": noise,
    "giant header": giant,
    "strip": strip,
    "one colour": one_colour,
    "animated": animated,
    "polyglot": polyglot,
    "metadata bomb": metadata_bomb,
}
