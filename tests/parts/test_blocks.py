import numpy as np
import pytest
import torch

from apiece.instances import Instances
from apiece.parts.blocks import IGNORED, block_target
from apiece.parts.owners import Owners


def owners(label_map, labels, ignore=None) -> Owners:
    target = Instances.from_label_map(np.asarray(label_map, np.uint16), labels=np.array(labels), ignore=ignore)
    return Owners.of(target, torch.device("cpu"))


@pytest.fixture
def mixed() -> Owners:
    """Blocks of 4: one with 2 pixels of class 0, one with 3 of class 0 and 9 of class 1, which goes on below."""
    label_map = np.zeros((8, 8), int)
    label_map[1, 1:3] = 1
    label_map[0:3, 4:5] = 2
    label_map[1:4, 5:8] = 3
    label_map[4:8, 5:8] = 3
    return owners(label_map, [0, 0, 1])


def test_any_object_pixel_marks_its_block(mixed):
    assert block_target(mixed, 4, 2, "any").tolist() == [[1, 2], [0, 2]]


def test_a_majority_counts_the_background_too(mixed):
    assert block_target(mixed, 4, 2, "majority").tolist() == [[0, 2], [0, 2]]


def test_the_block_of_a_center_is_of_its_owner():
    label_map = np.zeros((8, 8), int)
    label_map[0:4, 0:3] = 1
    label_map[0:2, 3] = 2
    label_map[0:1, 4] = 2
    # The second object's center, x = 3.33, lies among the first one's pixels' block, which is the first one's.
    assert block_target(owners(label_map, [0, 1]), 4, 2, "centers").tolist() == [[1, 2], [0, 0]]
    label_map[:] = 0
    label_map[0:4, 0], label_map[0:2, 2:4] = 1, 2
    label_map[0:4, 5:8] = 1
    # The first object's center lies at x = 4.5 of the second block; the first block has 4 pixels of each.
    assert block_target(owners(label_map, [0, 1]), 4, 2, "centers").tolist() == [[2, 1], [0, 0]]


def test_blocks_under_ignored_objects_alone_are_in_no_term():
    label_map = np.zeros((8, 8), int)
    label_map[0:4, 0:4], label_map[4:6, 0:2], label_map[5, 6] = 1, 2, 3
    truth = owners(label_map, [0, 0, 1], ignore=np.array([False, True, False]))
    assert block_target(truth, 4, 2, "any").tolist() == [[1, 0], [IGNORED, 2]]


def test_sizes_that_blocks_do_not_divide_have_partial_ones():
    label_map = np.zeros((5, 9), int)
    label_map[4, 8] = 1
    assert block_target(owners(label_map, [0]), 4, 1, "majority").tolist() == [[0, 0, 0], [0, 0, 1]]
