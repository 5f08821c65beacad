import numpy as np
import pytest
import tifffile
from PIL import Image

from apiece.data.image_heads import image_size
from apiece.data.images import read_image, write_image
from apiece.errors import InputError


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_the_size_of_each_kind_is_that_of_its_pixels(tmp_path, suffix):
    Image.fromarray(np.zeros((5, 8, 3), np.uint8)).save(tmp_path / f"a{suffix}")
    assert image_size(tmp_path / f"a{suffix}") == (5, 8) == read_image(tmp_path / f"a{suffix}").shape[:2]


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_photograph_has_the_size_it_is_seen_in(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    for suffix in (".jpg", ".webp", ".png"):
        Image.fromarray(np.zeros((5, 8, 3), np.uint8)).save(tmp_path / f"a{suffix}", exif=exif)
        assert image_size(tmp_path / f"a{suffix}") == read_image(tmp_path / f"a{suffix}").shape[:2]


@pytest.mark.parametrize(
    "shape, options",
    [
        ((5, 8), {}),
        ((5, 8, 3), {"photometric": "rgb"}),
        ((5, 8, 2), {"photometric": "minisblack", "planarconfig": "contig"}),
        ((3, 25, 28), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
        ((25, 8, 5), {"photometric": "minisblack"}),
    ],
)
def test_tiff_of_any_order_of_axes(tmp_path, shape, options):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint16), **options)
    assert image_size(tmp_path / "a.tif") == read_image(tmp_path / "a.tif").shape[:2]


def test_only_the_head_is_read(tmp_path):
    write_image(np.random.default_rng(0).integers(0, 256, (500, 300, 3), np.uint8), tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:100])
    assert image_size(tmp_path / "a.png") == (500, 300)


def test_what_is_no_image_says_so(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        image_size(tmp_path / "a.png")
    for content, said in [(b"", "the file is empty"), (b"text", "this is text"), (b"\xff\xd8\xff", "damaged or cut")]:
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError, match=said):
            image_size(tmp_path / "a.png")
