"""Viewing: what a data set looks like: contact sheets, and one page of statistics with what follows for training.

annotations, one after another ─▶ Survey ─▶ histograms, tables, sentences ─▶ statistics.html
a few images ─▶ outlines, classes, numbers ─▶ sheet-1.png, sheet-2.png, ... and the page
"""

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from numpy import ndarray

from apiece.advice import advice
from apiece.charts import svg_bars
from apiece.contact_sheets import thumbnail, with_masks, write_sheets
from apiece.data.dataset import Dataset, Sample
from apiece.data.formats import open_dataset
from apiece.draw import heat
from apiece.errors import CallError, InputError
from apiece.histograms import Histogram, svg_histograms
from apiece.page import Page
from apiece.progress import say, track
from apiece.statistics import CELLS, Survey
from apiece.tallies import Tally

PAGE = "statistics.html"
SHOWN = 12
"""Images on the page; the sheets have all that were asked for."""
COLUMNS = 30
"""Of a histogram, at most, unless values range over many powers of two."""
FEW = 4000
"""Objects up to which the map of places is coarse."""
SIZES = 12
"""Up to so many different sizes of images are a table, more a plot."""
BARS = 30
"""Classes that are shown as bars; the table has all."""


def view(
    data: Dataset | Path | str,
    out: Path | str | None = None,
    *,
    count: int = 24,
    seed: int = 0,
    skip_bad: bool = False,
    quiet: bool = False,
) -> Survey:
    """Look at a data set: every annotation is read, and some of the images.

    Args:
        data: images with their objects, or their path.
        out: folder for sheet-1.png, ... and statistics.html; None = nothing is written, no image is read.
        count: images on the sheets: some that stand out, some with the rarest classes, others at random.
        seed: of the choice of images.
        skip_bad: name images and annotations that cannot be read, and go on without them.
        quiet: show no progress.

    Raises:
        InputError: something cannot be read or written, or there is no image.
        CallError: a negative count or seed.
    """
    if count < 0 or seed < 0:
        raise CallError(f"count is {count} and seed {seed}, but neither can be negative.")
    data = data if isinstance(data, Dataset) else open_dataset(data)
    if not len(data):
        raise InputError(f"{data.path}: there are no images to look at.")
    survey, examples, bad = _surveyed(data, seed, skip_bad, quiet)
    if out is not None:
        chosen = _chosen(data, survey, examples, count, seed, bad)
        _write(data, survey, chosen, Path(out), skip_bad, quiet)
    return survey


def _surveyed(data: Dataset, seed: int, skip_bad: bool, quiet: bool) -> tuple[Survey, dict[int, int], set[int]]:
    """The statistics; for each class one image that has it; images that could not be read."""
    survey, examples, bad = Survey(data.classes), {}, set()
    seen, generator = np.zeros(len(data.classes), np.int64), np.random.default_rng(seed)
    for index in track(range(len(data)), label="annotations", quiet=quiet):
        try:
            truth = with_masks(data.truth(index))
        except InputError as error:
            if not skip_bad:
                raise
            say(f"skipped: {error}")
            bad.add(index)
            continue
        survey.add(data.names[index], truth)
        for label in np.unique(truth.labels[(truth.labels >= 0) & ~truth.ignore]).tolist():
            # Of all images with a class each is equally likely to be kept.
            seen[label] += 1
            if generator.random() * seen[label] < 1:
                examples[label] = index
    return survey, examples, bad


def _chosen(
    data: Dataset, survey: Survey, examples: dict[int, int], count: int, seed: int, bad: set[int]
) -> dict[int, str]:
    """The images to be shown, and why: first what stands out, then rare classes, then any."""
    places = {name: index for index, name in enumerate(data.names)}
    (most, number), (deepest, depth), (smallest, area) = survey.most, survey.deepest, survey.smallest
    reasons = [(most, f"most objects: {number:,}")] if number else []
    reasons += [(deepest, f"deepest overlap: {depth} on a pixel")] if depth > 1 else []
    reasons += [(smallest, f"smallest object: {area:,} pixel{'s' * (area > 1)}")] if area else []
    chosen: dict[int, str] = {}
    for name, reason in reasons:
        known = chosen.get(places[name])
        chosen[places[name]] = f"{known}, {reason}" if known else reason
    rarest = sorted(examples, key=lambda label: survey.class_objects[label]) if len(data.classes) > 1 else []
    for label in rarest[: count // 2]:
        chosen.setdefault(examples[label], f"with {data.classes[label]}")
    for index in np.random.default_rng(seed).permutation(len(data)).tolist():
        if len(chosen) < count and index not in bad:
            chosen.setdefault(index, "")
    return dict(list(chosen.items())[:count])


def _write(data: Dataset, survey: Survey, chosen: dict[int, str], out: Path, skip_bad: bool, quiet: bool) -> None:
    """Sheets and page."""
    pictures, captions, kinds = [], [], Counter()
    for index, reason in track(chosen.items(), len(chosen), "images", quiet):
        try:
            sample = data[index]
        except InputError as error:
            if not skip_bad:
                raise
            say(f"skipped: {error}")
            continue
        kinds[_kind(sample)] += 1
        pictures.append(thumbnail(sample, data.classes))
        captions.append(", ".join(part for part in (sample.name, _objects(len(sample.truth)), reason) if part))
    write_sheets(pictures, captions, out)
    page = Page(f"The data set {'/'.join(data.path.resolve().parts[-2:])}")
    page.text(
        f"{survey.images:,} images ({data.format}), {_objects(survey.objects)} of "
        f"{'one class' if len(data.classes) == 1 else f'{len(data.classes)} classes'}."
    )
    page.heading("What follows for training")
    page.table([[topic.replace(" ", "\N{NO-BREAK SPACE}"), sentence] for topic, sentence in advice(survey, kinds)])
    add_statistics(page, survey, kinds)
    if pictures:
        page.heading("Images")
        page.figures([(_jpeg(one), words) for one, words in zip(pictures[:SHOWN], captions, strict=False)])
    page.write(out / PAGE)


def add_statistics(page: Page, survey: Survey, kinds: Counter[str]) -> None:
    """Plots and tables of a survey.

    Args:
        kinds: of the images that were looked at: number type and channels in words, and how many images have them.
    """
    page.heading("Objects")
    page.drawing(svg_histograms(_histograms(survey)), "Where the pointer rests on a column, its numbers are shown.")
    if len(survey.classes) > 1:
        _add_classes(page, survey)
    page.heading("Images and places")
    if len(survey.sizes) <= SIZES:
        rows = [[f"{height} x {width}", number] for (height, width), number in survey.sizes.most_common()]
        page.table(rows, ["height x width", "images"])
    else:
        heights, widths = np.array(list(survey.sizes)).T
        page.scatter({"": (widths, heights)}, "width in pixels", "height in pixels", caption="Sizes of images.")
    if kinds:
        rows = [[kind, number] for kind, number in kinds.most_common()]
        page.table(rows, ["number type, channels, range of values", f"of {kinds.total()} images"])
    if survey.objects:
        caption = "Where in the image the boxes' centers lie: dark = no object, light = the most."
        page.figure(heat(_places(survey), low=0).repeat(6, 0).repeat(6, 1), caption)


def _histograms(survey: Survey) -> list[Histogram]:
    twentieths, tenths = np.linspace(0, 1, 21), np.linspace(0, 1, 11)

    def log(title: str, tally: Tally, x_label: str, what: str = "objects", marks: Sequence[float] = ()) -> Histogram:
        marked = {f"{100 * share:g} %": tally.quantile(share) for share in marks if tally.total}
        width = next(width for width in (4, 8, 16, 32, 64) if len(tally.bins(width)[1]) <= COLUMNS or width == 64)
        return Histogram(title, *tally.bins(width), x_label, what, marks=marked)

    overlapping = np.append(survey.overlapping[1], survey.overlapping[2:])
    free = f"{100 * survey.overlapping[0] / max(survey.objects, 1):.3g} % share none"
    return [
        log("Size of objects", survey.diameters, "diameter of a disc of the same area, px", marks=(0.05, 0.95)),
        log("Longer side of boxes", survey.longest, "px", marks=(0.5, 0.99)),
        log("Shape of boxes", survey.aspects, "width / height"),
        log("Objects in an image", survey.per_image.tally(), f"objects ({survey.empty:,} images have none)", "images"),
        Histogram("Covered area", twentieths, survey.covered, "share of the image covered by objects", "images", True),
        Histogram("Overlap", tenths, overlapping, f"share of pixels that others have too; {free}", "objects", True),
        Histogram("Overlap of boxes", tenths, survey.nested, "greatest IoU with another object's box", "objects", True),
    ]


def _places(survey: Survey) -> Integer[ndarray, "Y X"]:
    """The map of places; of few objects a picture of the same size with coarser cells, which is less noise."""
    if survey.objects > FEW:
        return survey.places
    coarse = survey.places.reshape(CELLS // 2, 2, CELLS // 2, 2).sum((1, 3))
    return coarse.repeat(2, 0).repeat(2, 1)


def _add_classes(page: Page, survey: Survey) -> None:
    page.heading("Classes")
    order = np.argsort(-survey.class_objects, kind="stable").tolist()
    shown = [label for label in order if survey.class_objects[label]]
    caption = f"The {BARS // 2} most frequent and the {BARS // 2} rarest classes that occur."
    shown, caption = (shown[: BARS // 2] + shown[-BARS // 2 :], caption) if len(shown) > BARS else (shown, "")
    counts = {survey.classes[label]: int(survey.class_objects[label]) for label in shown}
    words = [f"{count:,}" for count in counts.values()]
    page.drawing(svg_bars(counts, "objects of each class", words, width=700), caption)
    rows = [
        [
            survey.classes[label],
            int(survey.class_objects[label]),
            int(survey.class_images[label]),
            survey.class_diameters[label].quantile(0.5),
        ]
        for label in order
    ]
    page.table(rows, ["class", "objects", "images", "median diameter, px"], folded="all classes as a table")


def _kind(sample: Sample) -> str:
    """Number type, channels and values of an image, in words."""
    image = sample.image
    low, high = (image.min(), image.max()) if image.size else (0, 0)
    values = _range(float(high)) if image.dtype.kind == "u" else f"{float(low):.3g} to {float(high):.3g}"
    return f"{image.dtype}, {image.shape[2]} channel{'s' * (image.shape[2] > 1)}, values {values}"


def _range(high: float) -> str:
    """How many bits of an unsigned type are used."""
    return f"below {2 ** max(int(np.ceil(np.log2(high + 1))), 1)}"


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"


def _jpeg(picture: UInt8[ndarray, "h w 3"]) -> bytes:
    """A picture in a tenth of a PNG's room: the page stays small enough to be sent."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88, subsampling=0)
    return file.getvalue()
