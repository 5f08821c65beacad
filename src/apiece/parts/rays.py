"""Rays: an object as its border's distances from a point, at even angles; polygons of them, and how these overlap.

Paper: Xie et al., PolarMask: Single Shot Instance Segmentation with Polar Representation, CVPR 2020,
https://arxiv.org/abs/1909.13226

Angle 0 points down (along y), and angles grow towards x, as in the authors' program. Coordinates are x, y in pixels
with the centers of pixels at whole numbers.
"""

from math import pi
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from apiece.instances import Instances
from apiece.parts.borders import Borders, border_pixels, edges

Rule = Literal["edges", "pixels"]
"""Where rays end: at edges of pixels; or at centers of border pixels near their angle (the authors' program)."""

MISSING = 1e-6
"""Length of a ray that meets no border."""

REACH = (0, 1, -1, 2, -2, 3, -3)
"""Degrees from a ray's angle at which the authors' program looks for border pixels, one after another."""

SLACK = 1e-4
"""Share of the angle between rays by which an edge is taken longer: none passes between two edges that meet."""

AT_ONCE = 1 << 20
GRID = 24
"""Samples each way over the common part of two boxes, for the overlap of their polygons."""


def borders_of(truth: Instances, rule: Rule) -> Borders:
    """Where the objects end, by a rule."""
    return edges(truth) if rule == "edges" else border_pixels(truth)


def ray_lengths(
    points: Float[Tensor, "M 2"], objects: Int[Tensor, " M"], borders: Borders, count: int, rule: Rule
) -> Float[Tensor, "M count"]:
    """Distances from points to the borders of their objects, at angles 0, 360 / count, ... degrees.

    Where a ray meets the border several times, the farthest counts; where it does not (of a point outside), it is
    1e-6 long. The authors' program (`rule` "pixels") takes the farthest of the border pixels in the whole degree of the
    ray, or else in the next ones up to three away; but those below 0 are not found above 357.

    Args:
        objects: which of the borders' N objects each point stands for.
    """
    starts, stops = (torch.from_numpy(ends).to(points.device) for ends in (borders.starts, borders.stops))
    offsets = torch.from_numpy(borders.offsets).to(points.device)
    length = torch.diff(offsets)[objects]
    parts = [points.new_zeros(0, count)]
    # Some points at a time, so that no more than a part of all their edges is held.
    shares = ((length.cumsum(0) - 1).clamp(min=0) // AT_ONCE).unique_consecutive(return_counts=True)[1].tolist()
    for place, mine, sizes in zip(points.split(shares), objects.split(shares), length.split(shares), strict=True):
        point, within = _ragged(sizes)
        edge = offsets[mine][point] + within
        a, b = starts[edge] - place[point], stops[edge] - place[point]
        shape = len(place), count
        parts.append(_crossings(a, b, point, shape) if rule == "edges" else _bins(a, point, shape))
    return torch.cat(parts)


def _ragged(sizes: Int[Tensor, " M"]) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"]]:
    """For rows of these lengths one after another: the row of each entry, and its place within it."""
    row = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
    return row, torch.arange(len(row), device=sizes.device) - (sizes.cumsum(0) - sizes)[row]


def _crossings(a: Tensor, b: Tensor, point: Tensor, shape: tuple[int, int]) -> Float[Tensor, "M R"]:
    """The farthest places where rays cross edges, each from `a` to `b` as seen from its point, upright or level."""
    points, count = shape
    step = 2 * pi / count
    first_angle = torch.atan2(a[:, 0], a[:, 1])
    turn = torch.remainder(torch.atan2(b[:, 0], b[:, 1]) - first_angle + pi, 2 * pi) - pi
    low = torch.where(turn < 0, first_angle + turn, first_angle) / step
    first = torch.ceil(low - SLACK)
    hits = (torch.floor(low + turn.abs() / step + SLACK) - first + 1).clamp(min=0).long()
    edge, within = _ragged(hits)
    ray = first[edge].long() + within
    angle = ray * step
    upright = a[edge, 0] == b[edge, 0]
    along = torch.where(upright, angle.sin(), angle.cos())
    distance = torch.where(upright, a[edge, 0], a[edge, 1]) / torch.where(along == 0, 1, along)
    # Along an edge, or almost so, the ray ends at its farther end.
    farther = torch.maximum(a.norm(dim=1), b.norm(dim=1))[edge]
    distance = torch.where((along.abs() < 1e-5) | (distance > farther), farther, distance)
    lengths = a.new_full((points * count,), MISSING)
    place = point[edge] * count + ray % count
    return lengths.scatter_reduce(0, place, distance, "amax").view(points, count)


def _bins(pixels: Tensor, point: Tensor, shape: tuple[int, int]) -> Float[Tensor, "M R"]:
    """The authors' rule, in their precision: border pixels in bins of one degree."""
    points, count = shape
    # The order of these steps decides about pixels between two bins.
    degrees = torch.atan2(pixels[:, 0], pixels[:, 1]) * 180 / pi
    degrees = torch.where(degrees < 0, degrees + 360, degrees).int()
    farthest = pixels.new_full((points * 361,), -1.0)
    farthest = farthest.scatter_reduce(0, point * 361 + degrees, pixels.norm(dim=1), "amax").view(points, 361)
    lengths = pixels.new_full((points, count), -1.0)
    angles = torch.arange(count, device=pixels.device) * 360 // count
    for turn in REACH:
        degree = angles + turn
        found = torch.where(degree >= 0, farthest[:, degree.clamp(0, 360)], -1)
        lengths = torch.where(lengths < 0, found, lengths)
    return lengths.clamp(min=MISSING)


def vertices(points: Float[Tensor, "*M 2"], lengths: Float[Tensor, "*M R"]) -> Float[Tensor, "*M R 2"]:
    """The ends of the rays: the corners of a polygon about each point."""
    count = lengths.shape[-1]
    angles = torch.arange(count, device=lengths.device) * (2 * pi / count)
    directions = torch.stack([angles.sin(), angles.cos()], 1)
    return points[..., None, :] + lengths[..., None] * directions


def boxes_of(corners: Float[Tensor, "M R 2"]) -> Float[Tensor, "M 4"]:
    """The boxes of polygons."""
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def polar_centerness(lengths: Float[Tensor, "M R"]) -> Float[Tensor, " M"]:
    """How far a point is in the middle: the root of its shortest ray over its longest (equation 2 of the paper)."""
    return (lengths.amin(1) / lengths.amax(1)).sqrt()


def areas_of(lengths: Float[Tensor, "M R"]) -> Float[Tensor, " M"]:
    """The areas of the rays' polygons: of a triangle between each two neighbors."""
    angle = torch.tensor(2 * pi / lengths.shape[1], device=lengths.device)
    return (lengths * lengths.roll(-1, 1)).sum(1) * angle.sin() / 2


def inside(places: Float[Tensor, "M S 2"], lengths: Float[Tensor, "M R"]) -> Bool[Tensor, "M S"]:
    """Whether places, as seen from each point, lie within the polygon of its rays."""
    count = lengths.shape[1]
    step = 2 * pi / count
    angle = torch.remainder(torch.atan2(places[..., 0], places[..., 1]), 2 * pi)
    sector = (angle / step).long().clamp(max=count - 1)
    one, next_one = lengths.gather(1, sector), lengths.gather(1, (sector + 1) % count)
    beyond = angle - sector * step
    reach = one * torch.sin(beyond) + next_one * torch.sin(step - beyond)
    return places.norm(dim=-1) * reach <= one * next_one * torch.sin(torch.tensor(step))


def polygon_nms(
    points: Float[Tensor, "M 2"], lengths: Float[Tensor, "M R"], scores: Float[Tensor, " M"], labels: Int[Tensor, " M"],
    threshold: float,
) -> Int[Tensor, " K"]:  # fmt: skip
    """The polygons that overlap no better one of their class by more than a threshold (IoU), the best first."""
    order = scores.argsort(descending=True, stable=True)
    points, lengths, labels = points[order], lengths[order], labels[order]
    better, worse = _overlapping(points, lengths, labels, threshold)
    beaten: dict[int, list[int]] = {}
    for first, second in zip(better.tolist(), worse.tolist(), strict=True):
        beaten.setdefault(first, []).append(second)
    kept = [True] * len(order)
    for index in range(len(order)):
        if kept[index]:
            for other in beaten.get(index, ()):
                kept[other] = False
    return order[torch.tensor(kept, dtype=torch.bool, device=order.device)]


def _overlapping(points: Tensor, lengths: Tensor, labels: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Pairs of polygons of one class whose IoU is above the threshold."""
    boxes, areas = boxes_of(vertices(points, lengths)), areas_of(lengths)
    found = [labels.new_zeros(0, 2)]
    for part in torch.arange(len(points), device=points.device).split(max(1, AT_ONCE // max(len(points), 1))):
        of_part = boxes[part, None]
        low, high = torch.maximum(of_part[..., :2], boxes[:, :2]), torch.minimum(of_part[..., 2:], boxes[:, 2:])
        # The polygons' common part is no more than the boxes' and than the smaller of them.
        common = (high - low).clamp(min=0).prod(2).minimum(torch.minimum(areas[part, None], areas))
        near = common > threshold * (areas[part, None] + areas - common)
        near &= (labels[part, None] == labels) & (part[:, None] < torch.arange(len(points), device=points.device))
        row, second = near.nonzero().unbind(1)
        found.append(torch.stack([part[row], second], 1))
    pairs = torch.cat(found)
    above = [pairs.new_zeros(0, dtype=torch.bool)]
    steps = (torch.arange(GRID, device=points.device) + 0.5) / GRID
    for first, second in (pair.unbind(1) for pair in pairs.split(AT_ONCE // GRID**2)):
        low = torch.maximum(boxes[first, :2], boxes[second, :2])
        sides = torch.minimum(boxes[first, 2:], boxes[second, 2:]) - low
        x, y = (low[:, axis, None] + steps * sides[:, axis, None] for axis in (0, 1))
        places = torch.stack([x[:, None].expand(-1, GRID, -1), y[:, :, None].expand(-1, -1, GRID)], 3).flatten(1, 2)
        both = torch.stack([inside(places - points[one][:, None], lengths[one]) for one in (first, second)]).all(0)
        common = both.float().mean(1) * sides.prod(1)
        above.append(common > threshold * (areas[first] + areas[second] - common))
    kept = pairs[torch.cat(above)]
    return kept[:, 0], kept[:, 1]
