"""Masks told at points: which points to ask, what is seen there, and how a mask grows from them.

Paper: Kirillov et al., PointRend: Image Segmentation as Rendering, CVPR 2020, https://arxiv.org/abs/1912.08193.
Points are `x y`, 0 to 1 across a box; places are `x y` in pixels of the image.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate


def grid_points(side: int, device: torch.device | str = "cpu") -> Float[Tensor, "P 2"]:
    """The middles of side x side cells, row by row."""
    middles = (torch.arange(side, device=device) + 0.5) / side
    return torch.stack([middles.repeat(side), middles.repeat_interleave(side)], 1)


def places_of(points: Float[Tensor, "R P 2"], boxes: Float[Tensor, "R 4"]) -> Float[Tensor, "R P 2"]:
    """Points of boxes `x1 y1 x2 y2` in the image."""
    return boxes[:, None, :2] + points * (boxes[:, 2:] - boxes[:, :2])[:, None]


def features_at(
    maps: Sequence[Float[Tensor, "B C _ _"]], strides: Sequence[int], places: Sequence[Float[Tensor, "_ P 2"]]
) -> Float[Tensor, "R D P"]:
    """What maps hold at places of each image, interpolated linearly, in float32; all maps' channels one after another.

    Beyond a map there is nothing: it ends in zeros.
    """
    rows = []
    for image, of_image in enumerate(places):
        seen = [_sampled(one[image].float(), of_image / stride) for one, stride in zip(maps, strides, strict=True)]
        rows.append(torch.cat(seen).transpose(0, 1))
    return torch.cat(rows)


def _sampled(features: Float[Tensor, "C h w"], places: Float[Tensor, "R P 2"]) -> Float[Tensor, "C R P"]:
    """At places in features, (0.5, 0.5) being the middle of the first."""
    if not len(places):
        # Still a function of the features: they shall have a gradient.
        return features.new_zeros(len(features), *places.shape[:2]) + features.sum() * 0
    size = places.new_tensor(features.shape[:0:-1])
    return grid_sample(features[None], (places / size * 2 - 1)[None], align_corners=False)[0]


def values_at(maps: Float[Tensor, "R K h w"], points: Float[Tensor, "R P 2"]) -> Float[Tensor, "R K P"]:
    """What each box's own map, stretched over it, holds at points; it ends in zeros."""
    return grid_sample(maps, (points * 2 - 1)[:, :, None], align_corners=False)[..., 0]


def training_points(
    logits: Float[Tensor, "R h w"], count: int, oversampling: float, important: float, generator: torch.Generator
) -> Float[Tensor, "R P 2"]:
    """Points to learn at: the most uncertain of many random ones, and some random ones.

    Args:
        logits: of each box's mask, stretched over it. They are interpolated first: between -1 and 1 lies a 0.
        count: points of a box.
        oversampling: how many times as many the most uncertain ones are chosen from.
        important: the share of these.
    """
    many, chosen = int(count * oversampling), int(count * important)
    rows, device = len(logits), logits.device
    # Drawn on the CPU, so that every device draws the same.
    drawn = torch.rand(rows, many, 2, generator=generator).to(device)
    certain = values_at(logits.detach()[:, None], drawn)[:, 0].abs()
    least = certain.topk(chosen, 1, largest=False).indices
    others = torch.rand(rows, count - chosen, 2, generator=generator).to(device)
    return torch.cat([drawn.gather(1, least[:, :, None].expand(-1, -1, 2)), others], 1)


def subdivided(
    logits_at: Callable[[Float[Tensor, "R P 2"]], Float[Tensor, "R P"]],
    boxes: int,
    side: int,
    steps: int,
    count: int,
    device: torch.device,
) -> Float[Tensor, "R S S"]:
    """Masks by adaptive subdivision: doubled again and again, and told anew at the most uncertain points.

    Steps in which all points would be told anew are not taken: the first map is as large as `count` points allow.

    Args:
        logits_at: the logits of the boxes' masks at points.
        boxes: how many there are.
        side: of the mask before any step.
        steps: how often it doubles.
        count: points that are told anew in a step.
    """
    while steps > 0 and 4 * side**2 <= count:
        side, steps = 2 * side, steps - 1
    logits = logits_at(grid_points(side, device).expand(boxes, -1, -1)).unflatten(1, (side, side))
    for _ in range(steps):
        side *= 2
        flat = interpolate(logits[:, None], size=(side, side), mode="bilinear", align_corners=False).flatten(1)
        asked = flat.abs().topk(min(count, side**2), 1, largest=False).indices
        flat = flat.scatter(1, asked, logits_at(grid_points(side, device)[asked]))
        logits = flat.unflatten(1, (side, side))
    return logits
