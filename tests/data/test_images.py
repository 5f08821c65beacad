import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from apiece.data.deep_png import read_deep_png
from apiece.data.images import image_files, image_names, lossless_suffix, read_image, write_image
from apiece.errors import InputError

RANDOM = np.random.default_rng(0)


def noise(shape, kind):
    if np.dtype(kind).kind == "f":
        return RANDOM.normal(size=shape).astype(kind)
    facts = np.iinfo(kind)
    return RANDOM.integers(facts.min, facts.max, shape, kind, endpoint=True)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(image, filters, interlace=0):
    """A 16-bit PNG file, its line filters written from the specification's table."""
    height, width, channels = image.shape
    pixel = 2 * channels
    raw = np.zeros((height + 1, (width + 1) * pixel), int)
    raw[1:, pixel:] = image.astype(">u2").reshape(height, -1).view(np.uint8)
    lines = b""
    for row, kind in enumerate(filters, start=1):
        x, a, b, c = raw[row, pixel:], raw[row, :-pixel], raw[row - 1, pixel:], raw[row - 1, :-pixel]
        p = a + b - c
        pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
        paeth = np.where((pa <= pb) & (pa <= pc), a, np.where(pb <= pc, b, c))
        guess = [0 * a, a, b, (a + b) // 2, paeth][kind]
        lines += bytes([kind]) + ((x - guess) % 256).astype(np.uint8).tobytes()
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, interlace)
    packed = zlib.compress(lines)
    half = len(packed) // 2
    data = chunk(b"IDAT", packed[:half]) + chunk(b"IDAT", packed[half:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


# --- what can be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7])
def test_tif_of_every_type_and_number_of_channels_comes_back_as_it_is(tmp_path, kind, channels):
    image = noise((20, 30, channels), kind)
    layouts = {
        "contig": (image, {"photometric": "minisblack", "planarconfig": "contig"}),
        "planar": (image.transpose(2, 0, 1), {"photometric": "minisblack", "planarconfig": "separate"}),
        "pages": (image.transpose(2, 0, 1), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
    }
    for name, (array, options) in layouts.items():
        path = tmp_path / f"{name}.tif"
        if channels == 1:
            array, options = image[:, :, 0], {"photometric": "minisblack"}
        tifffile.imwrite(path, array, compression="zlib", **options)
        read = read_image(path)
        assert read.dtype == image.dtype and read.dtype.isnative
        assert read.shape == image.shape and (read == image).all()


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {"bigtiff": True, "byteorder": ">"}])
def test_channels_named_by_imagej_ome_and_tifffile_are_channels(tmp_path, options):
    image = noise((3, 20, 30), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", image, metadata={"axes": "CYX"}, photometric="minisblack", **options)
    assert (read_image(tmp_path / "a.tif") == image.transpose(1, 2, 0)).all()


def test_an_image_written_as_if_its_lines_were_pages_is_read_with_its_channels(tmp_path):
    image = noise((40, 30, 5), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", image)
    assert (read_image(tmp_path / "a.tif") == image).all()


@pytest.mark.parametrize(
    "mode, kind", [("L", "uint8"), ("I;16", "uint16"), ("I", "int32"), ("F", "float32"), ("RGB", "uint8")]
)
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_compressed_tif_loses_nothing(tmp_path, mode, kind, compression):
    image = noise((20, 30, 3) if mode == "RGB" else (20, 30), kind)
    Image.fromarray(image).save(tmp_path / "a.tif", compression=compression)
    read = read_image(tmp_path / "a.tif")
    assert read.dtype == kind and (read.squeeze() == image).all()


def test_a_compression_that_would_cost_bits_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((20, 30, 3), "uint16"), photometric="rgb", compression="zlib")
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<HHIH", 259, 3, 1, 8))
    data[place + 8 : place + 10] = struct.pack("<H", 5)  # says LZW now
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tif: LZW compression .* save it uncompressed or with zlib"):
        read_image(path)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("filters", ["none", "sub", "up", "average", "paeth", "mixed"])
def test_16_bit_png_is_not_cut_to_8_whatever_its_line_filters(tmp_path, channels, filters):
    image = noise((13, 17, channels), "uint16")
    kinds = {"none": 0, "sub": 1, "up": 2, "average": 3, "paeth": 4}
    rows = RANDOM.integers(0, 5, 13).tolist() if filters == "mixed" else [kinds[filters]] * 13
    (tmp_path / "a.png").write_bytes(deep_png(image, rows))
    assert read_image(tmp_path / "a.png").dtype == np.uint16
    assert (read_image(tmp_path / "a.png") == image).all()
    assert (read_deep_png(tmp_path / "a.png") == image).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_16_bit_png_of_one_line_or_column(tmp_path, size):
    image = noise((*size, 3), "uint16")
    for kind in range(5):
        (tmp_path / "a.png").write_bytes(deep_png(image, [kind] * size[0]))
        assert (read_image(tmp_path / "a.png") == image).all()


def test_16_bit_png_agrees_with_pillows_upper_8_bits(tmp_path):
    image = noise((30, 20, 3), "uint16")
    (tmp_path / "a.png").write_bytes(deep_png(image, RANDOM.integers(0, 5, 30).tolist()))
    assert (np.asarray(Image.open(tmp_path / "a.png")) == image >> 8).all()


@pytest.mark.parametrize("mode, channels", [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_8_bit_png_has_the_channels_of_its_file(tmp_path, mode, channels):
    image = noise((9, 11, channels), "uint8")
    picture = Image.fromarray(image.squeeze())
    assert picture.mode == mode
    picture.save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == image).all()


def test_palette_images_are_colours_and_as_indices_numbers(tmp_path):
    numbers = RANDOM.integers(0, 4, (8, 9)).astype(np.uint8)
    palette = RANDOM.integers(0, 256, (4, 3)).astype(np.uint8)
    picture = Image.fromarray(numbers)
    picture.putpalette(palette.ravel().tolist())
    picture.save(tmp_path / "a.png")
    tifffile.imwrite(
        tmp_path / "a.tif",
        numbers,
        photometric="palette",
        colormap=np.pad(palette, ((0, 252), (0, 0))).T.astype(np.uint16) * 257,
    )
    for name in ["a.png", "a.tif"]:
        assert (read_image(tmp_path / name) == palette[numbers]).all()
        assert (read_image(tmp_path / name, indices=True)[:, :, 0] == numbers).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_spread_over_0_to_255_and_as_indices_left_alone(tmp_path, bits):
    numbers = RANDOM.integers(0, 2**bits, (5, 16)).astype(np.uint8)
    packed = np.packbits(np.unpackbits(numbers[:, :, None], 2)[:, :, 8 - bits :].reshape(5, -1), 1)
    lines = b"".join(b"\0" + line.tobytes() for line in packed)
    header = struct.pack(">IIBBBBB", 16, 5, bits, 0, 0, 0, 0)
    pieces = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + pieces)
    assert (read_image(tmp_path / "a.png")[:, :, 0] == numbers * (255 // (2**bits - 1))).all()
    assert (read_image(tmp_path / "a.png", indices=True)[:, :, 0] == numbers).all()


def test_one_bit_tif_is_0_and_255(tmp_path):
    mask = RANDOM.random((9, 16)) < 0.5
    Image.fromarray(mask).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").dtype == np.uint8
    assert (read_image(tmp_path / "a.tif")[:, :, 0] == mask * 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_as_the_camera_was_held(tmp_path, orientation):
    from PIL import ImageOps

    upright = np.kron(RANDOM.integers(0, 256, (3, 5, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    picture = Image.fromarray(upright)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")))
    assert (read_image(tmp_path / "a.jpg") == wanted).all()
    assert read_image(tmp_path / "a.jpg").shape[:2] == ((48, 80) if orientation < 5 else (80, 48))


@pytest.mark.parametrize("suffix", ["bmp", "webp", "jpg"])
def test_other_formats_are_read_by_their_contents_whatever_they_are_called(tmp_path, suffix):
    image = noise((16, 16, 3), "uint8")
    Image.fromarray(image).save(tmp_path / f"a.{suffix}")
    wanted = np.asarray(Image.open(tmp_path / f"a.{suffix}"))
    (tmp_path / f"a.{suffix}").rename(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == wanted).all()


def test_images_beyond_pillows_limit_are_read_without_a_warning(tmp_path):
    side = 13_400  # 179.6 million pixels: `Image.open` would raise
    Image.fromarray(np.zeros((side, side), bool)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (side, side, 1)


# --- what cannot be read ------------------------------------------------------------------------------------------


def test_a_file_that_is_no_image_is_named_with_what_it_is(tmp_path):
    cases = {
        "missing.png": (None, "no such file"),
        "empty.png": (b"", "empty"),
        "text.tif": (b"Hello,\nworld", "text, not an image"),
        "paper.jpg": (b"%PDF-1.7 ....", "a PDF document"),
        "stray.png": (bytes(range(128, 200)), "an unknown kind of file"),
        "pointer.png": (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    }
    for name, (content, found) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.*{found}"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match="folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "deep.png", "a.jpg", "a.webp", "a.bmp", "plain.tif", "zlib.tif", "lzw.tif"])
def test_a_file_cut_off_anywhere_is_an_input_error(tmp_path, name, caplog):
    path = tmp_path / name
    image = noise((40, 50, 3), "uint8")
    if name == "deep.png":
        path.write_bytes(deep_png(noise((20, 20, 3), "uint16"), [4] * 20))
    elif name in ("plain.tif", "zlib.tif"):
        tifffile.imwrite(path, image, photometric="rgb", compression="zlib" if name == "zlib.tif" else None)
    else:
        Image.fromarray(image).save(path, **({"compression": "tiff_lzw"} if name == "lzw.tif" else {}))
    whole = path.read_bytes()
    for length in [5, 20, 40, 100, len(whole) // 2, len(whole) - 200]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=name):
            read_image(path)
    assert not caplog.records


@pytest.mark.parametrize("name", ["a.png", "deep.png", "a.jpg", "zlib.tif"])
def test_bytes_gone_wrong_never_give_anything_but_an_image_or_an_input_error(tmp_path, name):
    path = tmp_path / name
    if name == "deep.png":
        path.write_bytes(deep_png(noise((12, 12, 2), "uint16"), [3] * 12))
    elif name == "zlib.tif":
        tifffile.imwrite(path, noise((12, 12), "uint16"), compression="zlib")
    else:
        Image.fromarray(noise((24, 24, 3), "uint8")).save(path)
    whole = path.read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for place in RANDOM.integers(0, len(data), RANDOM.integers(1, 6)):
            data[place] = RANDOM.integers(256)
        path.write_bytes(data)
        try:
            assert read_image(path).ndim == 3
        except InputError as error:
            assert name in str(error)


def test_a_stack_is_refused_with_what_to_do(tmp_path):
    for axes in ["ZYX", "TYX"]:
        tifffile.imwrite(tmp_path / "a.tif", noise((5, 20, 30), "uint8"), imagej=True, metadata={"axes": axes})
        with pytest.raises(
            InputError, match=rf"a\.tif: a stack of 5 pages \(axes {axes}\).*each plane as its own file"
        ):
            read_image(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a.tif", noise((4, 20, 30), "uint8"), photometric="minisblack", metadata=None)
    with pytest.raises(InputError, match="name the axes CYX"):
        read_image(tmp_path / "a.tif")


def test_complex_numbers_are_no_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((9, 9), np.complex64))
    with pytest.raises(InputError, match="complex64"):
        read_image(tmp_path / "a.tif")


def test_interlaced_deep_png_says_what_to_do(tmp_path):
    (tmp_path / "a.png").write_bytes(deep_png(noise((4, 4, 3), "uint16"), [0] * 4, interlace=1))
    with pytest.raises(InputError, match="without interlacing"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("depth", [8, 16])
def test_a_file_that_claims_more_pixels_than_it_can_hold_is_refused_before_memory_is_taken(tmp_path, depth):
    header = struct.pack(">IIBBBBB", 30_000, 30_000, depth, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(InputError, match="30000 x 30000"):
        read_image(tmp_path / "a.png")
    huge = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, depth, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge))
    with pytest.raises(InputError, match="cut it into pieces"):
        read_image(tmp_path / "a.png")


# --- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_what_is_written_is_read_again(tmp_path, kind, channels):
    image = noise((33, 21, channels), kind)
    for suffix in {".tif", lossless_suffix(image)}:
        path = tmp_path / f"folder/a{suffix}"
        write_image(image, path)
        read = read_image(path)
        assert read.dtype == image.dtype and read.shape == image.shape and (read == image).all()


def test_png_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(InputError, match=r"write \.tif"):
        write_image(noise((4, 4, 3), "uint16"), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


# --- files --------------------------------------------------------------------------------------------------------


def test_files_folders_and_globs_name_images_each_once_and_in_order(tmp_path):
    for name in ["b.png", "a.TIF", "c.txt", ".hidden.png", "inner/d.jpg", "inner/deep/e.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(*inputs):
        return [path.relative_to(tmp_path).as_posix() for path in image_files([tmp_path / one for one in inputs])]

    assert names("") == ["a.TIF", "b.png"]
    assert names("b.png", "", "b.png") == ["b.png", "a.TIF"]
    assert names("*.png") == ["b.png"]
    assert names("**/*.png") == ["b.png", "inner/deep/e.png"]
    assert [path.name for path in image_files(str(tmp_path / "inner"))] == ["d.jpg"]


def test_inputs_that_name_no_image_are_an_error(tmp_path):
    (tmp_path / "c.txt").touch()
    with pytest.raises(InputError, match="no images in this folder"):
        image_files(tmp_path)
    for name in ["nothing.png", "*.png", "*.txt"]:
        with pytest.raises(InputError, match="no such file or folder, and no image that matches"):
            image_files(tmp_path / name)


def test_a_file_whose_name_has_glob_signs_is_a_file(tmp_path):
    (tmp_path / "a[1].png").touch()
    assert image_files(tmp_path / "a[1].png") == [tmp_path / "a[1].png"]


def test_names_are_the_files_without_suffix_and_with_folders_where_needed(tmp_path):
    assert image_names([tmp_path / "a.b.png", tmp_path / "c.tif"]) == ("a.b", "c")
    assert image_names([tmp_path / "x/a.png", tmp_path / "y/a.png"]) == ("x/a", "y/a")


def test_two_images_of_one_name_in_one_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.png and .*a\.tif have one name"):
        image_names([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "a.tif"])
