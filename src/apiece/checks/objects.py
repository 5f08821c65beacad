"""What can be wrong with the objects of one image: one small function a fault."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Integer, Real
from numpy import ndarray

from apiece.checks.crossings import crossings
from apiece.checks.scene import Hit, Scene
from apiece.metrics.overlap import overlap

LOOP = 1.0
"""A loop of an outline smaller than so many pixels is an annotator's trembling hand."""
SAME = 0.95
"""Two objects with a larger IoU are one."""
BOX_IOU, BOX_SLACK = 0.75, 3.0
"""A box fits its mask with at least this IoU, or where no side is further off than so many pixels. COCO's own boxes
hold slivers of polygons that cover no pixel."""
AREA_FACTOR = 2.0
"""An area fits its mask up to this factor."""
GROUND = 0.3
"""Parts of one number with more of the ground between them are not parted by another object that lies over them."""
FEW = 10
"""COCO draws so many objects of a class one by one before it puts the others into a crowd."""


def out_of_the_image(scene: Scene) -> Iterator[Hit]:
    """Objects drawn beyond the image's border."""
    height, width = scene.truth.size
    for index, (x, y) in scene.outside.items():
        yield Hit("out of the image", index, f"it reaches x {x:g}, y {y:g}, beyond the image of {height} x {width}")


def empty_masks(scene: Scene) -> Iterator[Hit]:
    """Masks without a pixel, but for those that lie outside."""
    if scene.truth.has_masks:
        for index in np.flatnonzero(scene.truth.mask_areas == 0).tolist():
            if index not in scene.outside:
                yield Hit("empty mask", index, "its mask has no pixel")


def single_pixels(scene: Scene) -> Iterator[Hit]:
    """Masks of one pixel."""
    if scene.truth.has_masks:
        for index in np.flatnonzero(scene.truth.mask_areas == 1).tolist():
            yield Hit("one pixel", index, "its mask is a single pixel")


def crossing_outlines(scene: Scene) -> Iterator[Hit]:
    """Outlines that cross themselves: some tools fill the loops, others leave them empty."""
    found = crossings(scene.outlines)
    large = found.loops >= LOOP
    for index in np.unique(found.owner[large]).tolist():
        of_object = np.flatnonzero(large & (found.owner == index))
        worst = of_object[found.loops[of_object].argmax()]
        (x, y), times = found.points[worst], f"{len(of_object)} times" if len(of_object) > 1 else "once"
        loop = f"a loop of {found.loops[worst]:.0f} pixels begins at x {x:.0f}, y {y:.0f}"
        yield Hit("crossing outline", index, f"its outline crosses itself {times}: {loop}")


def same_objects(scene: Scene) -> Iterator[Hit]:
    """Objects that lie on each other: the later of each pair."""
    truth = scene.truth
    if scene.label_map is not None:
        return
    pairs = overlap(truth, truth)
    twins = pairs.where((pairs.found < pairs.truth) & (truth.ignore[pairs.found] == truth.ignore[pairs.truth]))
    alike = twins.where(twins.iou > SAME)
    for later in np.unique(alike.truth).tolist():
        at = np.flatnonzero(alike.truth == later)[0]
        first = int(alike.found[at])
        same = "" if truth.labels[first] == truth.labels[later] else ", of another class"
        yield Hit("same object twice", later, f"it is {scene.name(first)} again{same} (IoU {alike.iou[at]:.3f})")


def boxes_off(scene: Scene) -> Iterator[Hit]:
    """Given boxes that do not fit their masks, or that have no extent."""
    truth = scene.truth
    boxes = truth.boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    for index in np.flatnonzero((sides <= 0).any(1)).tolist():
        if truth.has_masks and not truth.mask_areas[index]:
            continue
        width, height = sides[index].tolist()
        yield Hit("box off its mask", index, f"its box is {width:g} wide and {height:g} high")
    if not truth.has_masks:
        return
    height, width = truth.size
    cut, drawn = boxes.clip(0, [width, height, width, height]), truth.mask_boxes
    meet = (np.minimum(cut[:, 2:], drawn[:, 2:]) - np.maximum(cut[:, :2], drawn[:, :2])).clip(0).prod(1)
    union = (cut[:, 2:] - cut[:, :2]).prod(1) + (drawn[:, 2:] - drawn[:, :2]).prod(1) - meet
    off = np.abs(cut - drawn).max(1)
    wrong = (off > BOX_SLACK) & (meet < BOX_IOU * union) & (sides > 0).all(1) & (truth.mask_areas > 0)
    for index in np.flatnonzero(wrong).tolist():
        words = f"its box {_box(boxes[index])} does not fit its mask, which lies in {_box(drawn[index])}"
        yield Hit("box off its mask", index, words)


def areas_off(scene: Scene) -> Iterator[Hit]:
    """Given areas far from their masks'."""
    truth = scene.truth
    if not truth.has_masks:
        return
    given, drawn = truth.areas, truth.mask_areas.astype(float)
    wrong = (given > AREA_FACTOR * drawn + 20) | (AREA_FACTOR * given + 20 < drawn)
    for index in np.flatnonzero(wrong & (drawn > 0)).tolist():
        words = f"its area is given as {given[index]:g}, but its mask has {drawn[index]:g} pixels"
        yield Hit("area off its mask", index, words)


def crowd_flags(scene: Scene) -> Iterator[Hit]:
    """COCO's crowds that look like one object: of one part, where few of its class are drawn one by one.

    A crowd holds what is left when many objects of a class were drawn; there is one for a class and an image.
    """
    truth = scene.truth
    crowds = np.flatnonzero(truth.ignore).tolist() if scene.format == "coco" and truth.has_masks else []
    for index in crowds:
        fellows = truth.labels == truth.labels[index]
        others, drawn = int((fellows & truth.ignore).sum()) - 1, int((fellows & ~truth.ignore).sum())
        if others:
            yield Hit("crowd flag", index, f"it is one of {others + 1} crowds of its class in this image")
        elif len(scene.outlines) > index and scene.outlines[index]:
            yield Hit("crowd flag", index, "it is drawn as a polygon, and a crowd as run lengths")
        elif drawn < FEW and len(scene.parts(index)) == 1:
            yield Hit("crowd flag", index, f"it is of one piece, and {drawn} others of its class are drawn one by one")


def eight_bits(scene: Scene) -> Iterator[Hit]:
    """Label maps of 8 bits that are full: further objects had no number left."""
    plane = scene.label_map
    if plane is not None and plane.dtype.itemsize == 1 and len(scene.truth) >= 255:
        words = f"the label image has 8 bits and {len(scene.truth)} objects: more would have got numbers of others"
        yield Hit("8-bit labels", -1, words)


def twice_given(scene: Scene) -> Iterator[Hit]:
    """Objects of a label map in parts so far apart that they may be two of one number."""
    truth, plane = scene.truth, scene.label_map
    if plane is None:
        return
    sides = (truth.mask_boxes[:, 2:] - truth.mask_boxes[:, :2]).astype(float)
    for index in np.flatnonzero(truth.mask_areas < 0.5 * sides.prod(1)).tolist():
        boxes = scene.parts(index)
        if len(boxes) > 1 and _apart(boxes, plane):
            words = f"it has {len(boxes)} parts further apart than they are large: two objects of one number?"
            yield Hit("number given twice", index, words)


def small_objects(scene: Scene) -> Iterator[Hit]:
    """Objects that vanish in a feature map of the stride."""
    boxes = scene.truth.mask_boxes if scene.truth.has_masks else scene.truth.boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    large = scene.truth.mask_areas > 1 if scene.truth.has_masks else (sides > 0).all(1)
    for index in np.flatnonzero((sides < scene.stride).all(1) & large & ~scene.truth.ignore).tolist():
        width, height = sides[index].tolist()
        yield Hit("small object", index, f"it is {width:g} x {height:g} pixels, less than a stride of {scene.stride}")


def _apart(boxes: Integer[ndarray, "P 4"], plane: Integer[ndarray, "H W"]) -> bool:
    """Is a part further from all others than the longest is long, and not because something lies over the object?"""
    longest = (boxes[:, 2:] - boxes[:, :2]).max()
    gaps = np.maximum(boxes[:, None, :2] - boxes[None, :, 2:], boxes[None, :, :2] - boxes[:, None, 2:]).max(2)
    gaps[np.diag_indices(len(boxes))] = gaps.max() + 1
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    for part in np.flatnonzero(gaps.min(1) > longest).tolist():
        x, y = np.linspace(middles[part], middles[gaps[part].argmin()], 50).astype(np.int64).T
        if (plane[y, x] == 0).mean() > GROUND:
            return True
    return False


def _box(corners: Real[ndarray, " 4"]) -> str:
    return " ".join(f"{corner:.4g}" for corner in corners.tolist())


OBJECT_FAULTS: tuple[Callable[[Scene], Iterator[Hit]], ...] = (
    out_of_the_image,
    empty_masks,
    single_pixels,
    crossing_outlines,
    same_objects,
    boxes_off,
    areas_off,
    crowd_flags,
    eight_bits,
    twice_given,
    small_objects,
)
