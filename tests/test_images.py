import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from polypseg.data import decoding, images
from polypseg.data.images import (
    binarise,
    read_grey,
    read_image,
    read_orientation,
    resize_image,
    resize_mask,
    write_png,
)
from polypseg.data.masks import read_mask
from polypseg.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def noise(rng, *shape, dtype=np.uint8):
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def luma(rgb):
    return np.asarray(rgb, np.float64) @ (0.299, 0.587, 0.114)


def chunk(kind, body, damaged=False):
    """A chunk of a PNG."""
    checksum = zlib.crc32(kind + body) ^ damaged
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(rows, width, bits, colour_type):
    """A PNG written by the specification, without a library. Rows are packed bytes."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_16(samples, colour_type=0):
    rows = [row.astype(">u2").tobytes() for row in samples]
    return png(rows, samples.shape[1], 16, colour_type)


def png_2(grey):
    padded = np.pad(grey, ((0, 0), (0, -grey.shape[1] % 4))).reshape(len(grey), -1, 4)
    rows = (padded << np.uint8([6, 4, 2, 0])).sum(-1).astype(np.uint8)
    return png([row.tobytes() for row in rows], grey.shape[1], 2, 0)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_lossless_files_come_back_as_rgb(tmp_path, rng, suffix):
    pixels = noise(rng, 13, 17, 3)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable
    np.testing.assert_array_equal(image, pixels)


def test_jpeg_has_its_channels_in_order(tmp_path):
    pixels = np.full((24, 40, 3), (200, 90, 20), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    assert abs(read_image(tmp_path / "a.jpg").astype(int) - pixels).max() <= 3


def test_cmyk_jpeg_is_converted(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "a.jpg").mean((0, 1))
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_grey_is_repeated(tmp_path, rng, suffix):
    pixels = noise(rng, 11, 9)
    options = {"quality": 100} if suffix == ".jpg" else {}
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}", **options)
    image = read_image(tmp_path / f"a{suffix}")
    assert abs(image.astype(int) - pixels[..., None]).max() <= (3 if suffix == ".jpg" else 0)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize("colour_type, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_scaled_by_its_full_range_and_its_alpha_applied(
    tmp_path, rng, colour_type, channels
):
    samples = noise(rng, 19, 23, channels, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(png_16(samples, colour_type))
    value = samples.astype(np.float64)
    if channels in (2, 4):
        value = np.round(value[..., :-1] * (value[..., -1:] / 65535))
    expected = np.broadcast_to(np.round(value / 257), (19, 23, 3))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_composited_over_black_in_images_and_ignored_in_masks(tmp_path, rng, mode, suffix):
    samples = noise(rng, 12, 15, len(mode))
    samples[..., :-1] = 90 + samples[..., :-1] // 5  # nearly grey: a mask in colour is refused
    Image.fromarray(samples, mode).save(tmp_path / f"a{suffix}")
    colour, alpha = samples[..., :-1].astype(np.float64), samples[..., -1:] / 255
    expected = np.broadcast_to(np.round(colour * alpha), (12, 15, 3))
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), expected)
    grey = luma(np.broadcast_to(colour, (12, 15, 3)))
    assert abs(read_grey(tmp_path / f"a{suffix}") - grey).max() <= 1


def test_palettes_are_expanded_with_their_transparent_entry(tmp_path, rng):
    palette = noise(rng, 5, 3)
    index = rng.integers(0, 5, (9, 14)).astype(np.uint8)
    picture = Image.fromarray(index, "P")
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), palette[index])
    picture.save(tmp_path / "b.png", transparency=2)
    palette[2] = 0
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), palette[index])


ROTATED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", ROTATED)
def test_orientation_is_applied_to_every_kind_of_file(tmp_path, rng, orientation):
    pixels = noise(rng, 7, 11, 3)
    expected = ROTATED[orientation](pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(pixels).save(
        tmp_path / "b.tif", compression="tiff_lzw", tiffinfo={274: orientation}
    )
    tag = [(274, "H", 1, orientation, True)]
    wide = pixels.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "c.tif", wide, photometric="rgb", extratags=tag)
    for name in ("a.png", "b.tif", "c.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), expected, err_msg=name)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "d.png", exif=exif)
    np.testing.assert_array_equal(read_grey(tmp_path / "d.png"), expected[..., 0])


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
def test_tiff_compressions(tmp_path, rng, compression):
    pixels = noise(rng, 33, 21, 3)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)


def test_tiff_with_three_samples_declared_grey_is_colour(tmp_path, rng):
    pixels = noise(rng, 18, 25, 3)  # as the published CVC-ClinicDB files
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_colour_tiff_keeps_its_low_byte(tmp_path, rng, planar, byteorder):
    samples = noise(rng, 14, 10, 3, dtype=np.uint16)
    stored = np.moveaxis(samples, 2, 0) if planar else samples
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="rgb",
        planarconfig="separate" if planar else "contig",
        byteorder=byteorder,
        compression="zlib",
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.round(samples / 257))


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha", "unspecified"])
def test_only_an_unassociated_alpha_of_a_16_bit_tiff_is_applied(tmp_path, rng, extra):
    samples = noise(rng, 14, 10, 4, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=[extra])
    value = samples[..., :3].astype(np.float64)
    if extra == "unassalpha":
        value = np.round(value * (samples[..., 3:] / 65535))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.round(value / 257))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_whose_zero_is_white_is_inverted(tmp_path, rng, dtype):
    samples = noise(rng, 14, 10, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="miniswhite")
    top = np.iinfo(dtype).max
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.tif")[..., 1], np.round((top - samples) / (top / 255))
    )


STRANGE_TIFFS = {
    "float": (lambda a: a.astype(np.float32) / 255, {}),
    "float rgb": (lambda a: np.dstack([a] * 3).astype(np.float32), {"photometric": "rgb"}),
    "signed": (lambda a: a.astype(np.int16), {}),
    "32 bits": (lambda a: a.astype(np.uint32), {}),
    "pages": (lambda a: np.stack([a, a, a]), {"photometric": "minisblack"}),
    "complex": (lambda a: a.astype(np.complex64), {}),
}


@pytest.mark.parametrize("name", STRANGE_TIFFS)
def test_strange_tiffs_are_refused(tmp_path, rng, name):
    change, options = STRANGE_TIFFS[name]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, change(noise(rng, 16, 20)), **options)
    for read in (read_image, read_mask):
        check_refused(read, path)


def check_refused(read, path):
    with pytest.raises(ValueError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and "BytesIO" not in message
    return message


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp", ".webp"])
def test_damaged_files_are_refused(tmp_path, rng, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(rng, 40, 50, 3)).save(path)
    whole = path.read_bytes()
    for kept in (0, 3, 30, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:kept])
        check_refused(read_image, path)
        check_refused(read_mask, path)
    path.write_bytes(b"stem,subset\na,train\n")
    assert "JPEG, PNG, TIFF, BMP, WebP, GIF, PPM, JPEG 2000 or AVIF" in check_refused(
        read_image, path
    )


def test_truncated_16_bit_png_is_refused(tmp_path, rng):
    whole = png_16(noise(rng, 30, 20, 3, dtype=np.uint16), 2)
    path = tmp_path / "a.png"
    for missing in (4, 12, 500):
        path.write_bytes(whole[:-missing])
        check_refused(read_image, path)


def test_other_formats_and_animations_are_refused(tmp_path, rng):
    frames = [Image.fromarray(noise(rng, 20, 20, 3)) for _ in range(3)]
    frames[0].save(tmp_path / "a.ico")
    check_refused(read_image, tmp_path / "a.ico")
    for name in ("a.webp", "a.png", "a.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert "3 frames" in check_refused(read_image, tmp_path / name)


@pytest.mark.parametrize("suffix", [".gif", ".ppm", ".jp2", ".avif"])
def test_other_formats_that_pillow_decodes_are_read(suffix, tmp_path, rng):
    image = noise(rng, 5, 6, 3).repeat(8, axis=0).repeat(8, axis=1)  # 30 colours
    options = {"quality": 100, "subsampling": "4:4:4"} if suffix == ".avif" else {}
    Image.fromarray(image).save(tmp_path / f"a{suffix}", **options)
    differs = np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - image)
    assert differs.max() <= (3 if suffix == ".avif" else 0)  # AVIF is lossy


@pytest.mark.parametrize("suffix", [".pgm", ".pbm", ".gif"])
def test_masks_of_other_formats_are_read(suffix, tmp_path, rng):
    mask = rng.integers(0, 2, (5, 6)).repeat(8, axis=0).repeat(8, axis=1).astype(bool)
    image = Image.fromarray(mask) if suffix == ".pbm" else Image.fromarray(mask * np.uint8(255))
    image.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}"), mask)


def test_sixteen_bits_of_a_pgm_are_scaled_by_their_range(tmp_path, rng):
    values = rng.integers(0, 2**16, (20, 30)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.pgm")
    expected = np.floor(values / 257 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "a.pgm")[..., 0], expected)


def test_a_camera_jpeg_with_a_preview_is_one_picture(tmp_path, rng):
    big, small = Image.fromarray(noise(rng, 24, 32, 3)), Image.fromarray(noise(rng, 6, 8, 3))
    big.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[small], quality=95)
    big.save(tmp_path / "b.jpg", quality=95)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg"))


@pytest.fixture
def limit():
    yield decoding.limit_pixels
    decoding.limit_pixels(200)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".gif", ".bmp"])
def test_the_limit_of_pixels_is_ours_and_not_pillows(tmp_path, rng, monkeypatch, limit, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(rng, 40, 50, 3)).save(path)
    monkeypatch.setattr(decoding, "_LARGE", 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # raises
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # warns
        read_image(path)
        limit(0.002)
        read_image(path)
        limit(0.001999)
        message = check_refused(read_image, path)
    assert "at most 0.001999 megapixels, got 50 x 40 pixels; `max_megapixels` raises" in message
    assert Image.MAX_IMAGE_PIXELS == 1500


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    """A PNG of 60,000 x 60,000 pixels in 60 bytes or so."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(9))), chunk(b"IEND", b""))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert "got 60000 x 60000 pixels" in check_refused(read_image, tmp_path / "a.png")


def test_large_images_are_read_in_strips(tmp_path, rng, monkeypatch):
    for module in (decoding, images):
        monkeypatch.setattr(
            module, "row_slices", lambda height, width: (slice(0, 7), slice(7, height))
        )
    for mode, bands in (("L", 1), ("RGB", 3), ("RGBA", 4)):
        pixels = noise(rng, 10, 13, bands)
        Image.fromarray(pixels.squeeze(), mode).save(tmp_path / "a.png")
        alpha = pixels[..., 3:] / 255 if bands == 4 else 1
        expected = np.floor(pixels[..., :3] * alpha + 0.5) * np.ones(3)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    monkeypatch.undo()
    strips = [np.arange(5000)[rows] for rows in decoding.row_slices(5000, 3000)]
    np.testing.assert_array_equal(np.concatenate(strips), np.arange(5000))
    assert max(map(len, strips)) * 3000 <= 2**22 and len(strips) > 1


BOMB = zlib.compress(bytes(3_000_000))


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"eXIf", b"II*\0\xff\xff\xff\x7f"),
        chunk(b"eXIf", b"noise"),
        chunk(b"eXIf", b"", True),
        chunk(b"tEXt", b"a\0b", True),
        chunk(b"tIME", b"1234567", True),
        chunk(b"zTXt", b"a\0\0" + BOMB),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
        chunk(b"zTXt", b"Raw profile type exif\0\1noise"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\xff\xff"),
        chunk(b"iCCP", b"a\0\0" + BOMB),
        chunk(b"iCCP", b"a\0\7noise"),
        chunk(b"pHYs", b"a") + chunk(b"gAMA", b"") + chunk(b"cHRM", b"abc") + chunk(b"sRGB", b""),
    ],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_damaged_metadata_of_a_png_do_not_matter(tmp_path, rng, capfd, bits, extra, at_end):
    kind = np.dtype(f"uint{bits}")
    pixels = rng.integers(0, np.iinfo(kind).max, (9, 7, 3), kind, endpoint=True)
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    place = len(data) - 12 if at_end else 33
    (tmp_path / "a.png").write_bytes(data[:place] + extra + data[place:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Corrupt EXIF data")
        found = read_image(tmp_path / "a.png")
        assert read_orientation(tmp_path / "a.png") == 1
    np.testing.assert_array_equal(found, pixels if bits == 8 else (pixels + 128.0) // 257)
    assert capfd.readouterr().err == ""


def test_a_png_with_more_text_than_pillow_takes_is_read(tmp_path, rng):
    pixels, text = noise(rng, 9, 7, 3), chunk(b"tEXt", b"a\0" + bytes(2**22))
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    (tmp_path / "a.png").write_bytes(data[:33] + 17 * text + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
def test_a_damaged_chunk_that_concerns_the_pixels_is_refused(tmp_path, rng, kind):
    image = Image.fromarray(noise(rng, 9, 7, 3)).quantize(16)
    image.save(tmp_path / "a.png", transparency=3)
    read_image(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    start = data.index(kind)
    data[start + 4 + int.from_bytes(data[start - 4 : start])] ^= 1  # in the checksum
    (tmp_path / "a.png").write_bytes(data)
    message = check_refused(read_image, tmp_path / "a.png")
    assert f"got: damaged pixels (checksum of the chunk {kind.decode()})" in message


@pytest.mark.parametrize("way", ["eXIf", "XMP", "tEXt", "zTXt"])
def test_the_orientation_of_a_png_with_damaged_text_counts(tmp_path, rng, way):
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    raw = b"\nexif\n      %d\n%s\n" % (len(exif.tobytes()), exif.tobytes().hex().encode())
    turned = {
        "eXIf": chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "tEXt": chunk(b"tEXt", b"Raw profile type exif\0" + raw),
        "zTXt": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
    }[way]
    pixels = noise(rng, 9, 7, 3)
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    path = tmp_path / "a.png"
    path.write_bytes(data[:33] + chunk(b"tEXt", b"a", True) + turned + data[33:])
    assert read_orientation(path) == 6
    np.testing.assert_array_equal(read_image(path), np.rot90(pixels, -1))


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif", ".jp2", ".avif"])
@pytest.mark.parametrize("option", ["exif", "icc_profile", "xmp"])
def test_damaged_metadata_of_other_formats_do_not_matter(tmp_path, rng, suffix, option):
    image, path = Image.fromarray(noise(rng, 24, 32, 3)), tmp_path / f"a{suffix}"
    image.save(path)
    expected = read_image(path)
    image.save(path, **{option: b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + rng.bytes(300)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
        np.testing.assert_array_equal(read_image(path), expected)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.png: expected a readable file \(No such file"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_with_a_tint_are_read_as_luma(tmp_path, rng, suffix):
    pixels = noise(rng, 15, 13, 1) // 2 + noise(rng, 15, 13, 3) // 5
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    assert abs(read_grey(tmp_path / f"a{suffix}") - luma(pixels)).max() <= 1


def save_0_1(labels, kind, folder):
    """Write labels {0, 1} as this kind of file, in which the number 1 means foreground."""
    path = folder / "mask.png"
    if kind == "8 bit":
        Image.fromarray(labels).save(path)
    elif kind == "rgb":
        Image.fromarray(np.dstack([labels] * 3)).save(path)
    elif kind == "1 bit":
        Image.fromarray(labels.astype(bool)).save(path)
    elif kind == "16 bit":
        path.write_bytes(png_16(labels))
    elif kind == "2 bit":
        path.write_bytes(png_2(labels))
    elif kind == "palette":  # Pascal VOC's colours, whose luma is below 127
        picture = Image.fromarray(labels, "P")
        picture.putpalette([0, 0, 0, 128, 0, 0])
        picture.save(path)
    else:
        path = folder / "mask.tif"
        if kind == "bool tiff":
            tifffile.imwrite(path, labels.astype(bool))
        else:
            dtype = np.uint16 if kind == "16 bit tiff" else np.uint8
            tifffile.imwrite(path, labels.astype(dtype), photometric="minisblack")
    return path


PNG_KINDS = ["8 bit", "rgb", "1 bit", "2 bit", "16 bit", "palette"]
TIFF_KINDS = ["bool tiff", "8 bit tiff", "16 bit tiff"]


@pytest.mark.parametrize("kind", PNG_KINDS + TIFF_KINDS)
def test_masks_of_zeros_and_ones_keep_their_foreground(tmp_path, rng, kind):
    labels = (rng.random((11, 13)) < 0.3).astype(np.uint8)
    mask = read_mask(save_0_1(labels, kind, tmp_path))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, labels)
    assert not read_mask(save_0_1(labels * np.uint8(0), kind, tmp_path)).any()


def test_a_palette_that_paints_0_white_and_1_black_means_its_colours(tmp_path, rng):
    index = (rng.random((11, 13)) < 0.3).astype(np.uint8)
    for values in (index, np.ones_like(index)):  # the second is an empty mask
        picture = Image.fromarray(values, "P")
        picture.putpalette([255, 255, 255, 0, 0, 0])
        picture.save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), 1 - values)


def test_1_bit_tiffs_mean_what_they_show(tmp_path, rng):
    white = rng.random((20, 30)) < 0.3
    for compression in ("raw", "group4"):  # Pillow declares 1 to be black in the second
        Image.fromarray(white).save(tmp_path / "a.tif", compression=compression)
        np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), white)


@pytest.mark.parametrize("top", [255, 65535])
def test_16_bit_masks_are_cut_at_half_their_range(tmp_path, rng, top):
    foreground = rng.random((11, 13)) < 0.3
    samples = np.where(foreground, top, 0)
    (tmp_path / "a.png").write_bytes(png_16(samples))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), foreground)


def test_16_bit_grey_is_scaled_but_labels_are_not(tmp_path, rng):
    samples = noise(rng, 11, 13, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(png_16(samples))
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), np.round(samples / 257))
    dark = rng.integers(0, 201, (11, 13))
    (tmp_path / "a.png").write_bytes(png_16(dark))
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), dark > 128)
    labels = rng.integers(0, 4, (11, 13))
    (tmp_path / "b.png").write_bytes(png_16(labels))
    np.testing.assert_array_equal(read_grey(tmp_path / "b.png"), labels)


def test_2_bit_grey_is_scaled_unless_its_largest_sample_is_1(tmp_path, rng):
    samples = rng.integers(0, 4, (11, 13)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png_2(samples))
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), samples * 85)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], samples * 85)


def test_binarise_cuts_above_127_or_above_0(rng):
    grey = noise(rng, 9, 31)
    np.testing.assert_array_equal(binarise(grey), [[int(v > 127) for v in row] for row in grey])
    np.testing.assert_array_equal(binarise(np.uint8([[0, 1], [1, 0]])), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(binarise(np.uint8([[0, 2], [1, 0]])), [[0, 0], [0, 0]])
    for wrong in (grey.astype(float), grey[..., None], grey[:0]):
        with pytest.raises(ValueError, match="expected .* got grey"):
            binarise(wrong)


def test_shrinking_averages_areas(rng):
    image = noise(rng, 12, 20, 3)
    blocks = image.reshape(4, 3, 5, 4, 3).astype(np.float64).mean((1, 3))
    assert abs(resize_image(image, (4, 5)) - blocks).max() <= 0.5 + 1e-6
    mask = (rng.random((12, 20)) < 0.5).astype(np.uint8)
    share = mask.reshape(4, 3, 5, 4).mean((1, 3))
    resized, decided = resize_mask(mask, (4, 5)), share != 0.5
    np.testing.assert_array_equal(resized[decided], (share > 0.5)[decided])


def test_enlarging_interpolates_between_pixel_centres(rng):
    row = noise(rng, 1, 7)[0]
    positions = (np.arange(21) + 0.5) / 3 - 0.5
    expected = np.interp(positions, np.arange(7), row)
    resized = resize_image(np.stack([row, row]), (5, 21))
    assert abs(resized - expected).max() <= 1
    mask = (row > 127).astype(np.uint8)
    expected = np.interp(positions, np.arange(7), mask) > 0.5
    np.testing.assert_array_equal(resize_mask(np.stack([mask, mask]), (2, 21))[0], expected)


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_resizing_checks_its_arguments(rng, size):
    with pytest.raises(ValueError, match="positive"):
        resize_image(noise(rng, 6, 6), size)
    with pytest.raises(ValueError, match=r"mask in \{0, 1, 2\}"):
        resize_mask(np.full((6, 6), 255, np.uint8), (3, 3))
    with pytest.raises(ValueError, match="float64"):
        resize_image(rng.random((6, 6)), (3, 3))


def test_write_png_keeps_every_pixel(tmp_path, rng):
    for pixels in (noise(rng, 9, 14), noise(rng, 9, 14, 3), noise(rng, 18, 28, 3)[::2, ::-2]):
        write_png(tmp_path / "a.png", pixels)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="got array"):
        write_png(tmp_path / "b.png", noise(rng, 9, 14, 4))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, rng, monkeypatch):
    old, new = noise(rng, 9, 14), noise(rng, 9, 14)
    write_png(tmp_path / "a.png", old)

    def full_disk(path, data):
        with open(path, "wb") as file:
            file.write(bytes(data)[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_png(tmp_path / "a.png", new)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_GRAYSCALE), old)


def test_write_png_into_a_missing_folder_is_an_os_error(tmp_path, rng):
    with pytest.raises(FileNotFoundError):
        write_png(tmp_path / "none" / "a.png", noise(rng, 5, 5))


def test_files_are_known_by_content_not_by_suffix(tmp_path, rng):
    pixels = noise(rng, 8, 8, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_damaged_exif_data_do_not_concern_the_pixels(suffix, tmp_path, rng):
    image = Image.fromarray(noise(rng, 20, 30, 3))
    image.save(tmp_path / f"a{suffix}", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x00\x09garbage")
    image.save(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(
        read_image(tmp_path / f"a{suffix}"), read_image(tmp_path / f"b{suffix}")
    )
