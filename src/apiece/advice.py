"""What follows for a training from what a data set is like: a sentence for each thing that one should know."""

from collections.abc import Iterator, Mapping

import numpy as np

from apiece.statistics import CELLS, Survey

STRIDE = 8
"""Pixels of the image to a cell of the feature maps that methods with boxes and grids read."""

Advice = Iterator[tuple[str, str]]


def advice(survey: Survey, kinds: Mapping[str, int]) -> list[tuple[str, str]]:
    """Topics and sentences about objects, classes and images, with the option of `apiece train` where one answers.

    Args:
        kinds: of the images that were looked at: number type, channels and values in words, and how many have them.
    """
    if not survey.objects:
        return [("objects", "No image has an object: there is nothing to learn.")]
    parts = (_sizes, _numbers, _classes, _overlaps, _places)
    return [sentence for part in parts for sentence in part(survey)] + list(_images(survey, kinds))


def _sizes(survey: Survey) -> Advice:
    low, first, third, high = (survey.diameters.quantile(share) for share in (0.05, 0.25, 0.75, 0.95))
    yield (
        "sizes",
        f"Half of the objects are {_px(first)} to {_px(third)} px across, the smallest 5 % {_px(low)} px or less, "
        f"the largest 5 % {_px(high)} px or more.",
    )
    if low < 2 * STRIDE:
        yield (
            "small objects",
            f"{_px(low)} px are {low / STRIDE:.1f} cells of a feature map at stride {STRIDE}: methods that point pixel "
            "by pixel (SpatialEmbedding, Discriminative) see the smallest better than those with a grid.",
        )
    if high > 10 * low:
        yield (
            "range of sizes",
            f"The largest 5 % are {high / low:.0f} times as wide as the smallest: methods with a pyramid of features "
            "(Mask R-CNN, SOLO) are made for that.",
        )
    whole = 32 * int(np.ceil(survey.longest.quantile(0.99) / 32))
    if whole < min(min(size) for size in survey.sizes):
        yield "crops", f"99 % of the objects fit into a square of {whole} px: --crop {whole} or more shows them whole."
    else:
        yield "crops", "The largest objects are as long as the smallest images are wide: smaller crops cut them."


def _numbers(survey: Survey) -> Advice:
    median, (name, most) = survey.per_image.quantile(0.5), survey.most
    sentence = f"An image with objects has {median:,.0f} in the median, at most {most:,} (image {name})."
    if most > 100:
        sentence += f" A method with a fixed number of places needs {most:,}; COCO's AP counts the first 100."
    yield "numbers", sentence
    if survey.empty:
        yield (
            "empty images",
            f"{survey.empty:,} of {survey.images:,} ({_percent(survey.empty, survey.images)}) show no object: they "
            "teach what is none. --sampling.empty sets their share of the samples.",
        )
    share = survey.area / max(survey.pixels, 1)
    if share < 0.05:
        yield (
            "background",
            f"Objects cover {100 * share:.2g} % of the area: a crop at a random place shows mostly none. "
            "--augmentation.centered 0.9 cuts nine of ten around an object.",
        )


def _classes(survey: Survey) -> Advice:
    counts, names = survey.class_objects, np.array(survey.classes, object)
    if len(counts) < 2:
        return
    missing = names[counts == 0].tolist()
    rarest, first = int(np.where(counts > 0, counts, counts.max() + 1).argmin()), int(counts.argmax())
    times = counts[first] / counts[rarest]
    yield (
        "classes",
        f"{names[first]} has the most objects ({counts[first]:,}), {names[rarest]} the fewest ({counts[rarest]:,} in "
        f"{_images_of(int(survey.class_images[rarest]))}): {times:.3g} to 1.",
    )
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        yield "missing classes", f"{', '.join(missing[:10])}{more}: without an object, nothing can be learned of them."
    shares = survey.class_images[counts > 0] / survey.images
    limit = max([limit for limit in (0.001, 0.003, 0.01, 0.03, 0.1) if limit <= np.median(shares)], default=0.001)
    if times > 10 and (shares < limit).any():
        yield (
            "rare classes",
            f"{int((shares < limit).sum())} are in fewer than {100 * limit:g} % of the images: --sampling.repeat "
            f"{limit:g} shows these more often, --augmentation.balanced cuts around each class alike.",
        )


def _overlaps(survey: Survey) -> Advice:
    name, depth = survey.deepest
    shared, much = int(survey.overlapping[1:].sum()), int(survey.overlapping[2:].sum())
    if depth == 1:
        yield "overlap", "No pixel belongs to two objects: label images hold everything."
    else:
        yield (
            "overlap",
            f"{_percent(shared, survey.objects)} of the objects share pixels with others, {_percent(much, shared)} of "
            f"these more than a tenth of theirs; up to {depth} lie on one pixel (image {name}). Label images, and "
            "methods with one label a pixel, cannot hold that; COCO JSON, and methods with a mask an object, can.",
        )
    close, asked = int(survey.nested[5:].sum()), int(survey.nested.sum())
    if close >= 0.01 * asked:
        yield (
            "boxes",
            f"{_percent(close, asked)} of the objects have a box that overlaps another's with an IoU of 0.5 or more: "
            "suppressing boxes at 0.5, as is usual, may lose them. apiece's detectors raise that as far as such data "
            "needs, up to 0.8; SpatialEmbedding and Discriminative use no boxes.",
        )
    if survey.touching >= 0.05 * survey.objects:
        yield (
            "touching",
            f"{_percent(survey.touching, survey.objects)} of the objects touch or overlap another: telling foreground "
            "from background is not enough to count them.",
        )


def _places(survey: Survey) -> Advice:
    if survey.cut >= 0.1 * survey.objects:
        part = _percent(survey.cut, survey.objects)
        yield "border", f"{part} of the objects reach the border of their image, which may cut them."
    quarter = slice(CELLS // 4, CELLS - CELLS // 4)
    middle = int(survey.places[quarter, quarter].sum())
    if middle > 0.5 * survey.objects:
        yield (
            "places",
            f"{_percent(middle, survey.objects)} of the objects have their center in the middle quarter of the image's "
            "area: a network may learn the place rather than the look. Crops at random places are against that.",
        )


def _images(survey: Survey, kinds: Mapping[str, int]) -> Advice:
    sizes = sorted(survey.sizes, key=lambda size: size[0] * size[1])
    low, high = (f"{height} x {width}" for height, width in (sizes[0], sizes[-1]))
    several = f"{len(sizes):,} different ones, from {low} to {high} (height x width)."
    yield "image sizes", several if len(sizes) > 1 else f"All are {low} (height x width)."
    channels = {kind.split(",")[1].strip() for kind in kinds}
    if len(channels) > 1:
        yield (
            "channels",
            f"Images differ ({', '.join(sorted(channels))}): a model takes one number of channels; grey and color are "
            "turned into each other, others are refused.",
        )
    if survey.ignored:
        yield "ignored", f"{survey.ignored:,} crowds and void regions count neither as object nor as background."


def _px(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.2g} %" if part < whole else "100 %"


def _images_of(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
