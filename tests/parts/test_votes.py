import numpy as np
import pytest

from apiece.parts.votes import group_by_votes


def painted(size, discs) -> np.ndarray:
    """A label map of discs (row, column, radius), later ones on top."""
    row, column = np.indices(size)
    labels = np.zeros(size, int)
    for number, (y, x, radius) in enumerate(discs, start=1):
        labels[(row - y) ** 2 + (column - x) ** 2 <= radius**2] = number
    return labels


def field_of(labels: np.ndarray) -> np.ndarray:
    """The displacement of each object pixel to the mean of its object's pixels."""
    field = np.zeros((2, *labels.shape), np.float32)
    for number in np.unique(labels[labels > 0]):
        row, column = np.nonzero(labels == number)
        field[:, row, column] = column.mean() - column, row.mean() - row
    return field


def iou(first, second) -> float:
    return float((first & second).sum() / (first | second).sum())


DISCS = [(20, 20, 3), (20, 40, 6), (60, 60, 30), (15, 100, 12), (100, 110, 2), (110, 20, 15)]


def test_objects_of_all_sizes_come_back_to_the_pixel():
    labels = painted((130, 130), DISCS)
    votes = group_by_votes(field_of(labels))
    assert len(votes.peaks) == len(DISCS)
    for number in range(1, len(DISCS) + 1):
        found = votes.labels == np.bincount(votes.labels[labels == number]).argmax()
        assert np.array_equal(found, labels == number)
    assert votes.scores == pytest.approx(1, abs=1e-5)


def test_a_noisy_field_gives_the_same_objects():
    labels = painted((130, 130), DISCS)
    noise = np.random.default_rng(0).normal(0, 0.1, (2, *labels.shape)).astype(np.float32)
    votes = group_by_votes(field_of(labels) * (1 + noise) + 3 * noise * (labels > 0), min_size=5)
    assert len(votes.peaks) == len(DISCS)
    for number in range(1, len(DISCS) + 1):
        best = np.bincount(votes.labels[labels == number]).argmax()
        assert iou(votes.labels == best, labels == number) > 0.75


def test_displacements_beyond_127_pixels_do_not_wrap():
    labels = np.zeros((300, 320), int)
    labels[10:280, 15:305] = 1
    votes = group_by_votes(field_of(labels))
    assert len(votes.peaks) == 1
    assert np.array_equal(votes.labels > 0, labels > 0)


def test_parts_that_lie_apart_are_one_object():
    labels = np.zeros((40, 60), int)
    labels[10:30, 5:20], labels[10:30, 40:55] = 1, 1
    votes = group_by_votes(field_of(labels))
    assert len(votes.peaks) == 1 and np.array_equal(votes.labels > 0, labels > 0)


def test_a_small_object_near_a_large_ones_center_stays_apart():
    labels = painted((90, 90), [(45, 45, 40), (45, 55, 4)])
    votes = group_by_votes(field_of(labels))
    assert len(votes.peaks) == 2
    small = np.bincount(votes.labels[labels == 2]).argmax()
    assert iou(votes.labels == small, labels == 2) > 0.9


def test_scattered_votes_of_a_large_object_are_one_peak():
    labels = painted((200, 200), [(100, 100, 80)])
    scatter = np.random.default_rng(0).normal(0, 6, (2, 200, 200)).astype(np.float32)
    votes = group_by_votes(field_of(labels) + scatter * (labels > 0), min_size=20)
    assert len(votes.peaks) == 1
    assert iou(votes.labels == 1, labels == 1) > 0.8


def test_votes_that_leave_the_image_count_nowhere():
    field = np.zeros((2, 20, 20), np.float32)
    field[0, 5:15, :4] = -10
    field[1, 16:, 5:15] = 10
    assert len(group_by_votes(field).peaks) == 0


def test_the_center_of_a_ring_or_sickle_is_not_painted():
    row, column = np.indices((60, 60))
    distance = np.hypot(row - 30, column - 30)
    labels = ((distance > 15) & (distance < 22)).astype(int)
    votes = group_by_votes(field_of(labels))
    assert np.array_equal(votes.labels > 0, labels > 0)


def test_a_field_without_displacements_or_numbers_has_no_objects():
    assert len(group_by_votes(np.zeros((2, 8, 9), np.float32)).peaks) == 0
    assert len(group_by_votes(np.full((2, 8, 9), np.nan, np.float32)).peaks) == 0


def test_a_vote_may_miss_by_what_its_distance_allows():
    labels = painted((60, 60), [(30, 30, 20)])
    field = field_of(labels)
    row, column = np.nonzero(labels)
    far = np.hypot(row - 30, column - 30) > 12
    short, near = far & (column % 3 == 0), far & (column % 3 == 1)
    field[:, row[short], column[short]] *= 0.5
    field[:, row[near], column[near]] *= 0.8
    found = group_by_votes(field, slack=1.0, tolerance=0.4).labels
    main = found[row, column] == found[30, 30]
    assert main[near].mean() > 0.8 and main[~far].all()
    assert main[short].mean() < 0.1


def test_given_peaks_take_the_place_of_those_that_votes_make():
    labels = painted((50, 50), [(15, 15, 8), (35, 35, 8)])
    votes = group_by_votes(field_of(labels), peaks=np.array([[35.0, 35.0]]))
    assert np.array_equal(votes.labels > 0, labels == 2)


def test_objects_below_the_smallest_size_are_none():
    labels = painted((50, 50), [(15, 15, 3), (35, 35, 8)])
    assert np.array_equal(group_by_votes(field_of(labels), min_size=60).labels > 0, labels == 2)
