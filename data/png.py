"""The chunks of a PNG file that concern its pixels."""

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PIXEL_CHUNKS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # beside those with a capital letter
_TEXT_LIMIT = 2**20  # bytes; Pillow refuses longer texts


def without_metadata(data: bytes, keep_turn: bool = True) -> bytes:
    """A PNG without the chunks that do not concern its pixels; other files as they are.

    Pillow refuses a file if a text in it is damaged or long, and libpng prints warnings.

    Args:
        data: content of the file.
        keep_turn: keep chunks that may say how the image is to be turned.

    Raises:
        OSError: a chunk that concerns the pixels is damaged. Pillow does not check all of them.
    """
    if not data.startswith(SIGNATURE):
        return data
    start, view = 8, memoryview(data)
    kept = [view[:start]]
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        kind, body = data[start + 4 : start + 8], view[start + 8 : end - 4]
        if end > len(data):
            break  # a truncated file, as Pillow will say if pixels are missing
        intact = zlib.crc32(view[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
        if kind[:1].isupper() or kind in _PIXEL_CHUNKS:
            if not intact:
                raise OSError(f"damaged pixels (checksum of the chunk {kind.decode('latin-1')})")
            kept.append(view[start:end])
        elif keep_turn and intact and _may_turn(kind, bytes(body[: _TEXT_LIMIT + 1])):
            kept.append(view[start:end])
        start = end
    return b"".join([*kept, view[start:]])


def _may_turn(kind: bytes, body: bytes) -> bool:
    """Whether a chunk of PNG can say how the image is to be turned, and Pillow will accept it."""
    if kind == b"eXIf":
        return True
    name, _, text = body.partition(b"\0")
    if len(body) > _TEXT_LIMIT or name not in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
        return False
    if kind == b"zTXt" and text.startswith(b"\0"):
        inflate = zlib.decompressobj()
        try:
            inflate.decompress(text[1:], _TEXT_LIMIT - 1)
        except zlib.error:
            return False
        return not inflate.unconsumed_tail
    return kind == b"tEXt" or (kind == b"iTXt" and text.startswith(b"\0"))  # not compressed
