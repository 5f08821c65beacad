"""A recommendation as one self-contained HTML page, with pictures of what each representation loses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from apiece.bounds.bound import Bound, Loss, losses
from apiece.bounds.excerpts import Window
from apiece.data.dataset import Dataset
from apiece.errors import InputError
from apiece.inspection_page import within
from apiece.methods import SUMMARIES
from apiece.page import Page, Picture
from apiece.pairs import Shown, pair_picture
from apiece.recommendation import HEAD, Recommendation

WHOLE = 320
"""Images up to so many pixels are shown whole, of larger ones what is around the object that is lost most."""
AROUND = 3.0
"""How many times as large as the object the part is."""


def write_recommendation_page(recommendation: Recommendation, path: Path) -> None:
    """Write the page: what the objects are like, the upper bounds, what to run, and for each method what it loses.

    Raises:
        InputError: it cannot be written.
    """
    page = Page(f"Which method for {'/'.join(recommendation.data.path.resolve().parts[-2:])}?")
    page.text(*recommendation.described())
    chosen = recommendation.chosen()
    page.heading(f"Try first: {chosen[0]}" if chosen else "No method can be recommended")
    page.text(*recommendation.reasons(), *recommendation.commands())
    _add_table(page, recommendation)
    order = [*chosen, *(one.name for one in recommendation.bounds if one.name not in chosen)]
    page.heading("What each representation loses")
    page.text(
        "On the left the truth, on the right what a perfect network could show at best: blue is right, orange lost or "
        "wrong (IoU below 0.5)."
    )
    for bound in sorted(recommendation.bounds, key=lambda one: order.index(one.name)):
        _add_losses(page, bound, recommendation.data)
    page.write(path)


def _add_table(page: Page, recommendation: Recommendation) -> None:
    page.heading("Upper bounds")
    sheet = recommendation.sheet()
    page.table(sheet.lines, sheet.head, decimals=3)
    page.text(
        "What a network of each method reaches that learns its targets perfectly: its ideal outputs for the true "
        "objects, decoded and scored as a finding. AP counts every found object, not only the first 100 of an image; "
        f"{HEAD[3]}: objects of less than 32 x 32 px; {HEAD[-1]}: the mean of the objects' best; ms: for an image's "
        "ideal outputs and their decoding."
    )


def _add_losses(page: Page, bound: Bound, data: Dataset) -> None:
    """One method: words, and pictures of the images that lose most."""
    page.heading(bound.name, 3)
    page.text(SUMMARIES.get(bound.name, ""))
    words = [*([bound.stopped] if bound.stopped else []), *losses(bound), *sorted(bound.warned)]
    page.text(*(f"{one[0].upper()}{one[1:]}." for one in words))
    if bound.worst:
        page.figures(_pictures(bound.worst, data), pairs=True)


def _pictures(worst: list[Loss], data: Dataset) -> Iterator[tuple[Picture, str]]:
    """Truth and what is shown of it, side by side."""
    for loss in worst:
        excerpt = loss.excerpt
        window = part_of(loss)
        try:
            image = data.image(excerpt.index)
        except InputError:
            image = None
        if image is not None:
            image = image[excerpt.window][window]
        truth, found = (within(objects, window) for objects in (excerpt.truth, loss.found))
        truth, found = truth[truth.mask_areas > 0], found[found.mask_areas > 0]
        picture, caption = pair_picture(Shown(excerpt.name, image, truth, found), data.classes)
        yield picture, f"{caption}; mean IoU of the whole image {loss.mean:.2f}"


def part_of(loss: Loss) -> Window:
    """The part of an excerpt that is shown: all of a small one, else what is around the object with the lowest IoU."""
    height, width = size = loss.excerpt.truth.size
    if max(size) <= WHOLE:
        return slice(0, height), slice(0, width)
    x1, y1, x2, y2 = loss.excerpt.known.mask_boxes[int(np.argmin(loss.ious))].tolist()
    side = int(max(WHOLE / 2, AROUND * max(x2 - x1, y2 - y1)))
    tall, wide = min(side, height), min(side, width)
    top = int(np.clip((y1 + y2 - tall) // 2, 0, height - tall))
    left = int(np.clip((x1 + x2 - wide) // 2, 0, width - wide))
    return slice(top, top + tall), slice(left, left + wide)
