"""Pictures made from nothing, so the tests carry no binary files and each picture can be a new one."""
import os
import random
import struct
import subprocess
import tempfile
import zlib


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width=64, height=48, seed=None, extra=()):
    """A valid RGB PNG; a new one each time unless a seed is given. `extra`: (kind, data) chunks before the image data."""
    rng = random.Random(seed)
    base = bytes(rng.randrange(256) for _ in range(3))
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            rows += bytes(((base[0] + x) & 255, (base[1] + y) & 255, base[2]))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    out = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head)
    for kind, data in extra:
        out += _chunk(kind, data)
    return out + _chunk(b"IDAT", zlib.compress(bytes(rows), 6)) + _chunk(b"IEND", b"")


def noise_png(width, height, seed=None):
    """A PNG that does not compress: size is about 3 * width * height."""
    rng = random.Random(seed)
    rows = b"".join(b"\0" + rng.randbytes(width * 3) for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + _chunk(b"IDAT", zlib.compress(rows, 0)) + _chunk(b"IEND", b"")


def padded_png(size, seed=None):
    """A valid PNG of exactly `size` bytes: image data that no pixel needs fills it up."""
    small = png(4, 4, seed)
    room = size - len(small) - 12
    assert room >= 0
    return small[:-12] + _chunk(b"IDAT", random.Random(seed).randbytes(room)) + small[-12:]


def bomb_png(side=30000):
    """A few kilobytes that would be gigabytes of pixels."""
    row = b"\0" * (side * 3 + 1)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _vips(picture, ext, *args):
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.png"), os.path.join(folder, "out." + ext)
        with open(source, "wb") as f:
            f.write(picture)
        subprocess.run(["vips", "copy", source, target + "".join(args)], check=True, capture_output=True)
        with open(target, "rb") as f:
            return f.read()


def jpeg_of(picture):
    return _vips(picture, "jpg", "[Q=85]")


def jpeg(width=64, height=48, seed=None):
    return jpeg_of(png(width, height, seed))


def webp(width=64, height=48, seed=None):
    return _vips(png(width, height, seed), "webp")


def gif_of(picture):
    return _vips(picture, "gif")


def gif(width=64, height=48, seed=None):
    return gif_of(png(width, height, seed))


def on_canvas(gif_bytes, width, height, left, top):
    """The GIF on a larger canvas, of which it covers a part."""
    size = gif_bytes[6:10]
    frame = gif_bytes.index(b"\x2c\0\0\0\0" + size)
    return gif_bytes[:6] + struct.pack("<HH", width, height) + gif_bytes[10:frame + 1] + struct.pack("<HH", left, top) + gif_bytes[frame + 5:]


def avif(width=64, height=48, seed=None):
    return _vips(png(width, height, seed), "avif", "[compression=av1]")


def with_metadata(data, ext, *tags):
    """exiftool writes these tags ("-GPSLatitude=41.0")."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x." + ext)
        with open(path, "wb") as f:
            f.write(data)
        subprocess.run(["exiftool", "-q", "-overwrite_original", *tags, path], check=True, capture_output=True)
        with open(path, "rb") as f:
            return f.read()


SECRETS = ("-GPSLatitude=41.0082", "-GPSLatitudeRef=N", "-GPSLongitude=28.9784", "-GPSLongitudeRef=E", "-Artist=Gizli Kisi",
           "-Comment=gizli yorum", "-XMP:Creator=Gizli Kisi", "-Orientation#=6")


def metadata(data, ext):
    """What exiftool sees: {"EXIF:GPSLatitude": …}."""
    import json

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x." + ext)
        with open(path, "wb") as f:
            f.write(data)
        out = subprocess.run(["exiftool", "-j", "-G", "-a", "-u", "-n", path], check=False, capture_output=True).stdout
        return json.loads(out)[0]


def flat_png(width, height, pixel, depth=8, extra=()):
    """One colour: grey, grey and alpha, RGB or RGBA, by the number of samples. Stored uncompressed, so that every variant is smaller."""
    sample = ">B" if depth == 8 else ">H"
    row = b"\0" + b"".join(struct.pack(sample, v) for v in pixel) * width
    head = struct.pack(">IIBBBBB", width, height, depth, {1: 0, 2: 4, 3: 2, 4: 6}[len(pixel)], 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + b"".join(_chunk(*e) for e in extra)
            + _chunk(b"IDAT", zlib.compress(row * height, 0)) + _chunk(b"IEND", b""))


def _xyz(*values):
    return b"XYZ " + struct.pack(">Iiii", 0, *values)


def _profile(space, tags):
    tags = {b"desc": b"desc" + struct.pack(">II", 0, 5) + b"test\0" + bytes(79), b"wtpt": _xyz(63190, 65536, 54061), **tags}
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s12x4s28xiii48x", at + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ", b"acsp", 63190, 65536, 54061)
    return head + struct.pack(">I", len(tags)) + table + body


_LINEAR = b"curv" + struct.pack(">IIHH", 0, 1, 256, 0)


def grey_profile():
    """An ICC profile for grey of gamma 1."""
    return _profile(b"GRAY", {b"kTRC": _LINEAR})


def rgb_profile():
    """An ICC profile for RGB of gamma 1."""
    return _profile(b"RGB ", {b"rXYZ": _xyz(28578, 14581, 912), b"gXYZ": _xyz(25241, 46981, 6362), b"bXYZ": _xyz(9376, 3972, 46793),
                              b"rTRC": _LINEAR, b"gTRC": _LINEAR, b"bTRC": _LINEAR})


def with_profile(jpeg_bytes, profile):
    data = b"ICC_PROFILE\0\1\1" + profile
    return jpeg_bytes[:2] + b"\xff\xe2" + struct.pack(">H", len(data) + 2) + data + jpeg_bytes[2:]
