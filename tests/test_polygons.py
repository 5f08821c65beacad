import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from scipy import ndimage

from apiece.forms import from_texts
from apiece.polygons import crop_to_polygons, polygons_to_texts

few = settings(max_examples=40, deadline=None)
images = st.tuples(st.integers(1, 11), st.integers(1, 11)).flatmap(lambda size: arrays(bool, size))


def placed(crop, box, size):
    mask = np.zeros(size, bool)
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = crop
    return mask


def drawn(rings, size):
    """The union of rings as a mask."""
    store = from_texts(polygons_to_texts([rings], size), size)
    return placed(store.crop(0), store.boxes[0], size)


def doubled_area(ring):
    x, y = np.asarray(ring, float).T
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum()


def filled(mask, corner, size):
    """A mask painted from its outlines: outer rings by COCO's rule, holes taken away."""
    painted = np.zeros(size, bool)
    for outer, *holes in crop_to_polygons(mask, corner):
        part = drawn([outer.astype(float)], size)
        for hole in holes:
            part &= ~drawn([hole.astype(float)], size)
        painted |= part
    return painted


@few
@given(images)
def test_outlines_painted_with_cocos_rule_give_the_mask_back(mask):
    assert (filled(mask, (0, 0), mask.shape) == mask).all()


@few
@given(images, st.integers(0, 4), st.integers(0, 4))
def test_outlines_stand_in_image_coordinates(mask, x, y):
    size = (mask.shape[0] + 5, mask.shape[1] + 5)
    whole = placed(mask, (x, y, x + mask.shape[1], y + mask.shape[0]), size)
    assert (filled(mask, (x, y), size) == whole).all()


@few
@given(images)
def test_parts_are_4_connected_and_holes_8_connected(mask):
    parts = crop_to_polygons(mask, (0, 0))
    assert len(parts) == ndimage.label(mask)[1]
    gaps, _ = ndimage.label(~np.pad(mask, 1), np.ones((3, 3)))
    assert sum(len(part) - 1 for part in parts) == gaps.max() - 1


@few
@given(images)
def test_outer_rings_run_clockwise_on_the_screen_and_areas_add_up(mask):
    parts = crop_to_polygons(mask, (0, 0))
    for outer, *holes in parts:
        assert doubled_area(outer) > 0
        assert all(doubled_area(hole) < 0 for hole in holes)
    assert sum(doubled_area(ring) for part in parts for ring in part) == 2 * mask.sum()


def test_a_ring_shape_is_one_outline_and_one_hole():
    mask = np.ones((4, 5), bool)
    mask[1:3, 1:4] = False
    ((outer, hole),) = crop_to_polygons(mask, (10, 20))
    assert {tuple(point) for point in outer.tolist()} == {(10, 20), (15, 20), (15, 24), (10, 24)}
    assert {tuple(point) for point in hole.tolist()} == {(11, 21), (14, 21), (14, 23), (11, 23)}


def test_pixels_that_touch_at_a_corner_are_two_parts():
    assert len(crop_to_polygons(np.eye(2, dtype=bool), (0, 0))) == 2


def test_an_empty_mask_has_no_outline_and_one_pixel_has_four_points():
    assert crop_to_polygons(np.zeros((0, 0), bool), (0, 0)) == []
    ((ring,),) = crop_to_polygons(np.ones((1, 1), bool), (0, 0))
    assert len(ring) == 4


@few
@given(st.integers(0, 2**32 - 1))
def test_polygons_are_painted_as_pycocotools_paints_them(seed):
    generator = np.random.default_rng(seed)
    size = tuple(generator.integers(1, 40, 2).tolist())
    rings = [generator.uniform(-5, 45, (generator.integers(3, 9), 2)).round(2) for _ in range(generator.integers(1, 4))]
    runs = coco_mask.merge(coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], *size))
    assert polygons_to_texts([rings], size) == [runs["counts"]]


def test_a_keyhole_polygon_leaves_its_hole_open():
    around = [(1, 1), (9, 1), (9, 9), (1, 9), (1, 1)]
    into_the_hole_and_back = [(3, 3), (3, 7), (7, 7), (7, 3), (3, 3)]
    mask = drawn([np.array(around + into_the_hole_and_back, float)], (12, 12))
    assert mask[2, 2] and mask[8, 8] and not mask[5, 5] and not mask[0, 0]


def test_rings_without_area_and_images_without_pixels_cover_nothing():
    two_points, triangle = np.array([[1.0, 1.0], [5.0, 5.0]]), np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0]])
    assert not drawn([two_points], (8, 8)).any() and not drawn([], (8, 8)).any()
    assert drawn([triangle], (0, 8)).size == 0
    texts = polygons_to_texts([[two_points, triangle], [], [triangle]], (8, 8))
    assert texts[0] == texts[2] != texts[1] and polygons_to_texts([], (8, 8)) == []
