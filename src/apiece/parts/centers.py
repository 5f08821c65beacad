"""Centers that are found by density or given, and the pixels that go to each of them."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import ndimage
from scipy.spatial import KDTree

from apiece.parts.bins import Coordinates, EmbeddingBins, parts_of, pixels_above
from apiece.parts.group import Groups, within_margin

MEAN_SHIFT_STEPS = 30


def group_by_given_centers(
    offsets: Float[np.ndarray, "2 H W"],
    centers: Float[np.ndarray, "K 2"],
    precisions: Float[np.ndarray, "K D"],
    *,
    coordinates: Coordinates | None = None,
    foreground: Bool[np.ndarray, "H W"] | None = None,
    overlap: Literal["closest", "last"] = "closest",
) -> Integer[np.ndarray, "H W"]:
    """Every pixel within the margin of a center, exp(-sum_d k_d (e_d - C_d)^2) > 0.5, goes to it: AP_gt's grouping.

    Args:
        offsets, coordinates: as `group_by_center` takes them.
        centers: C, x then y.
        precisions: k of each center; D is 1 (circle) or 2 (x, y). A margin r is ln 2 / r^2.
        foreground: the pixels that may be taken; None: all.
        overlap: a pixel within several margins goes to the "closest" center, that with the greatest phi (of equal ones
            the first), or to the "last", as in the authors' validation.

    Returns:
        0 where no center reaches, else 1 + the row of the center; uint16 where that fits, else int32.

    Source: Neven et al., CVPR 2019, section 4.3 (AP_gt) and eq. 11; its centers are means of embeddings, or centroids.
    """
    mask = np.broadcast_to(True, offsets.shape[1:]) if foreground is None else foreground
    pixels = EmbeddingBins(offsets, pixels_above(mask), coordinates)
    closest = np.full(len(pixels), np.inf, np.float32)
    labels = _empty_labels(offsets, len(centers))
    flat = labels.reshape(-1)
    centers, precisions = centers.astype(np.float32), precisions.astype(np.float32)
    for number, ((x, y), precision) in enumerate(zip(centers, precisions, strict=True), start=1):
        inside, distance = within_margin(pixels, x, y, precision[0], precision[-1])
        if overlap == "closest":
            closer = distance < closest[inside]
            inside = inside[closer]
            closest[inside] = distance[closer]
        flat[pixels.index[inside]] = number
    return labels


def group_by_nearest(
    offsets: Float[np.ndarray, "2 H W"],
    centers: Float[np.ndarray, "K 2"],
    foreground: Bool[np.ndarray, "H W"],
    *,
    coordinates: Coordinates | None = None,
    max_distance: float = float("inf"),
) -> Integer[np.ndarray, "H W"]:
    """Every foreground pixel goes to the center that its embedding is nearest to.

    Args:
        offsets, coordinates: as `group_by_center` takes them.
        centers: x then y; without any, nothing is labeled.
        foreground: the pixels to be given to a center.
        max_distance: pixels whose embeddings are as far as this from every center stay 0, as those not finite do.

    Returns:
        0 or 1 + the row of the center; uint16 where that fits, else int32.

    Source: Neven et al., CVPR 2019, eq. 2.
    """
    labels = _empty_labels(offsets, len(centers))
    flat = labels.reshape(-1)
    if not len(centers):
        return labels
    tree = KDTree(centers)
    pixels = EmbeddingBins(offsets, pixels_above(foreground), coordinates)
    for part in parts_of(len(pixels)):
        embeddings = np.stack([pixels.x[part], pixels.y[part]], 1)
        finite = np.isfinite(embeddings).all(1)
        _, nearest = tree.query(embeddings[finite], distance_upper_bound=max_distance)
        # The tree answers K where no center is near enough.
        flat[pixels.index[part][finite]] = np.where(nearest == len(centers), 0, nearest + 1)
    return labels


def density_centers(
    offsets: Float[np.ndarray, "2 H W"],
    foreground: Bool[np.ndarray, "H W"],
    radius: float,
    *,
    coordinates: Coordinates | None = None,
    min_pixels: int = 1,
) -> Float[np.ndarray, "N 2"]:
    """Where embeddings pile up: the centers that pixels regressed straight to their centroids point at.

    Embeddings are counted in cells of half a radius and the counts smoothed by a Gaussian of one cell; every local
    maximum starts a mean shift with a flat kernel of that radius; of modes closer than a radius the fullest stays.

    Args:
        offsets, coordinates: as `group_by_center` takes them.
        foreground: the pixels whose embeddings count.
        radius: in units of the coordinates; about the spread of one object's embeddings, and less than the distance
            of two centers.
        min_pixels: a center needs this many embeddings within the radius.

    Returns:
        Centers, x then y, the fullest first.

    Source: the "density-based clustering" that precedes eq. 2 in Neven et al., CVPR 2019, section 3.1, which leaves the
    algorithm open; mean shift after Comaniciu and Meer, PAMI 2002.
    """
    pixels = EmbeddingBins(offsets, pixels_above(foreground), coordinates)
    modes = [_mean_shift(pixels, x, y, radius) for x, y in _density_peaks(pixels, radius / 2)]
    found = np.array([mode for mode in modes if mode[2] >= max(1, min_pixels)], np.float64).reshape(-1, 3)
    found = found[np.argsort(-found[:, 2], kind="stable")]
    kept = np.ones(len(found), bool)
    close = KDTree(found[:, :2]).query_pairs(radius, output_type="ndarray") if len(found) else np.zeros((0, 2), int)
    for surer, other in close[np.lexsort((close[:, 1], close[:, 0]))].tolist():
        if kept[surer]:
            kept[other] = False
    return found[kept, :2].astype(np.float32)


def _density_peaks(pixels: EmbeddingBins, cell: float) -> list[tuple[float, float]]:
    """Centers of the cells in which the smoothed count of embeddings is a local maximum."""
    finite = np.isfinite(pixels.x) & np.isfinite(pixels.y)
    if not finite.any():
        return []
    embeddings = np.stack([pixels.x[finite], pixels.y[finite]]).astype(np.float64)
    # A stray embedding far away must not blow up the grid.
    low, high = np.quantile(embeddings, [0.0005, 0.9995], axis=1)
    columns, rows = np.minimum(np.ceil((high - low) / cell) + 1, 1 << 13).astype(int).tolist()
    column, row = np.floor((embeddings - low[:, None]) / cell).astype(int)
    within = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    counts = np.bincount(row[within] * columns + column[within], minlength=rows * columns)
    density = ndimage.gaussian_filter(counts.reshape(rows, columns).astype(np.float32), 1, mode="constant")
    highest = (density == ndimage.maximum_filter(density, 3)) & (density > 1e-3)
    peaks = np.empty(density.shape, np.int32)
    ndimage.label(highest, np.ones((3, 3)), output=peaks)
    centers = ndimage.center_of_mass(density, peaks, np.arange(1, peaks.max() + 1))
    return [(low[0] + (x + 0.5) * cell, low[1] + (y + 0.5) * cell) for y, x in centers]


def _mean_shift(pixels: EmbeddingBins, x: float, y: float, radius: float) -> tuple[float, float, int]:
    """The mode that a flat disc climbs to, and how many embeddings lie within it."""
    count = 0
    for _ in range(MEAN_SHIFT_STEPS):
        near = pixels.near(x, y, radius, radius)
        near_x, near_y = pixels.x[near].astype(np.float64), pixels.y[near].astype(np.float64)
        inside = (near_x - x) ** 2 + (near_y - y) ** 2 <= radius**2
        count = int(inside.sum())
        if not count:
            break
        before = x, y
        x, y = float(near_x[inside].mean()), float(near_y[inside].mean())
        if abs(x - before[0]) + abs(y - before[1]) < 1e-3 * radius:
            break
    return x, y, count


def _empty_labels(offsets: np.ndarray, count: int) -> np.ndarray:
    return np.zeros(offsets.shape[1:], np.uint16 if count < 1 << 16 else np.int32)


def graded(
    labels: Integer[np.ndarray, "H W"],
    seeds: Float[np.ndarray, "H W"],
    centers: Float[np.ndarray, "K 2"],
    precisions: Float[np.ndarray, "K D"],
) -> Groups:
    """The pixels that went to each center as groups, scored by their mean seed; 0 for a center without pixels."""
    areas, sums = np.zeros(len(centers) + 1, np.int64), np.zeros(len(centers) + 1)
    for part in parts_of(labels.size):
        piece = labels.reshape(-1)[part]
        areas += np.bincount(piece, minlength=len(areas))
        rows = np.divmod(np.arange(part.start, min(part.stop, labels.size)), labels.shape[1])
        sums += np.bincount(piece, seeds[rows], len(areas))
    scores = (sums / np.maximum(areas, 1))[1:].astype(np.float32)
    return Groups(labels, scores, centers, precisions, areas[1:], None)
