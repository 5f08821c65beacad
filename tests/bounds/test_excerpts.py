from dataclasses import replace

import numpy as np

from apiece.bounds.excerpts import excerpt
from apiece.data.generated import discs
from apiece.instances import Instances


def data_of(truth):
    return replace(discs(1), read_truth=lambda index: truth)


def test_an_image_of_usual_size_is_taken_whole():
    data = discs(2, (40, 60), seed=1)
    part = excerpt(data, 1)
    assert part.name == data.names[1] and part.window == (slice(0, 40), slice(0, 60))
    assert part.truth.equals(data.truth(1))


def test_of_a_large_image_a_window_around_an_object_is_taken(monkeypatch):
    monkeypatch.setattr("apiece.bounds.excerpts.LARGEST", 400)
    label_map = np.zeros((100, 120), np.uint16)
    label_map[70:80, 90:100], label_map[0:5, 0:5] = 1, 2
    truth = Instances.from_label_map(label_map, np.array([3, 1]))
    part = excerpt(data_of(truth[:1]), 0)
    rows, columns = part.window
    assert (rows.stop - rows.start) * (columns.stop - columns.start) <= 400
    assert np.array_equal(part.truth.dense()[0], label_map[part.window] == 1) and part.truth.labels.tolist() == [3]
    assert part.truth.mask_areas.tolist() == [100]
    assert len(excerpt(data_of(truth), 0).truth) == 1


def test_of_many_classes_the_window_is_smaller(monkeypatch):
    monkeypatch.setattr("apiece.bounds.excerpts.VALUES", 17 * 900)
    truth = Instances.from_dense(np.ones((1, 50, 50), bool))
    assert excerpt(data_of(truth), 0).truth.size == (30, 30)
    several = replace(data_of(truth), classes=tuple("abcdefghijklmnopqrstuvwxyz"))
    assert np.prod(excerpt(several, 0).truth.size) <= 17 * 900 // 42


def test_an_image_with_nothing_that_counts_has_no_excerpt():
    assert excerpt(data_of(Instances.empty((20, 20))), 0) is None
    assert excerpt(data_of(Instances.from_dense(np.ones((1, 9, 9), bool), ignore=[True])), 0) is None


def test_ignored_objects_are_there_but_do_not_count():
    stack = np.zeros((2, 9, 9), bool)
    stack[0, :3], stack[1, 5:] = True, True
    part = excerpt(data_of(Instances.from_dense(stack, ignore=[True, False])), 0)
    assert len(part.truth) == 2 and len(part.known) == 1


def test_boxes_without_masks_are_rectangles():
    part = excerpt(data_of(Instances.from_boxes([[2, 3, 6, 8]], (20, 20))), 0)
    assert part.truth.has_masks and part.truth.mask_areas.tolist() == [20]
