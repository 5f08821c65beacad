import pytest
import tifffile

from apiece.conversion import convert
from apiece.data.formats import open_dataset
from apiece.data.generated import discs
from apiece.data.soundness import salvage, sound


@pytest.fixture
def folder(tmp_path):
    convert(discs(5, (24, 24)), tmp_path / "set", "label-images", quiet=True)
    return tmp_path / "set"


def test_a_sound_set_is_kept_as_it_is(folder):
    data = open_dataset(folder)
    assert sound(data, quiet=True) == (data, [])


def test_images_that_cannot_be_read_with_their_truth_are_left_out_each_with_a_sentence(folder):
    images, masks = (sorted((folder / inner).iterdir()) for inner in ("images", "masks"))
    images[0].write_text("no image")
    masks[1].write_bytes(masks[1].read_bytes()[:30])
    tifffile.imwrite(masks[3], tifffile.imread(masks[3])[:20])
    kept, complaints = sound(open_dataset(folder), quiet=True)
    assert kept.names == ("discs-0-00002", "discs-0-00004") and [len(kept[i].truth) > 0 for i in (0, 1)] == [True, True]
    assert [str(file) in said for file, said in zip((images[0], masks[1], images[3]), complaints, strict=True)] == [
        True
    ] * 3


def test_a_sound_coco_set_is_salvaged_whole(folder, tmp_path):
    convert(folder, tmp_path / "coco", "coco", quiet=True)
    saved, data = salvage(tmp_path / "coco"), open_dataset(tmp_path / "coco")
    assert saved.found == [] and saved.data.names == data.names
    assert all(saved.data.truth(index).equals(data.truth(index)) for index in range(5))
