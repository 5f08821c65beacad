"""Priors: places and shapes, one-to-one matching against the plain loop."""

import numpy as np
import torch
from torchvision.ops import box_iou

from apiece.parts.priors import Level, Matched, matched, shapes

RATIOS = (1.0, 2.0, 0.5)


def pyramid(side: int, *sizes: float, first: int = 8, scales=(1.0,)) -> list[Level]:
    levels = []
    for number, size in enumerate(sizes):
        step = first * 2**number
        count = -(-side // step)
        levels.append(Level(shapes(size, scales, RATIOS), (count, count), (step, step), (count, count)))
    return levels


def drawn_boxes(seed: int, count: int, side: int = 128) -> torch.Tensor:
    """Boxes in whole pixels: with priors in whole pixels too, equal overlaps are equal to the last bit."""
    generator = np.random.default_rng(seed)
    corner, size = generator.integers(-8, side, (count, 2)), np.exp(generator.uniform(1, 4.2, (count, 2))).round()
    return torch.from_numpy(np.concatenate([corner, corner + size], 1)).float()


def plain(levels: list[Level], boxes: torch.Tensor, limits=(0.4, 0.5)) -> torch.Tensor:
    """For each prior its object, and -1 for background, -2 for neutral: pair by pair, the greatest IoU first.

    Of equal ones the nearest middles come first, then the first object, then the first prior.
    """
    priors = torch.cat([level.boxes for level in levels])
    table = box_iou(boxes, priors)
    away = (boxes[:, None, :2] + boxes[:, None, 2:] - priors[None, :, :2] - priors[None, :, 2:]).square().sum(2)
    objects, forced = torch.full((len(priors),), -3), {}
    for place in np.lexsort((away.flatten().numpy(), -table.flatten().numpy())).tolist():
        one, prior = divmod(place, len(priors))
        if objects[prior] == -3:
            value = table[one, prior]
            objects[prior] = one if value >= limits[1] else -2 if value >= limits[0] else -1
        if table[one, prior] > 0 and one not in forced and prior not in forced.values():
            forced[one] = prior
    for one, prior in forced.items():
        objects[prior] = one
    return objects


def flat(match: Matched) -> torch.Tensor:
    found = torch.where(match.neutral, -2, -1)
    found[match.priors] = match.objects
    return found


def test_priors_are_centered_in_cells_and_have_the_ratios():
    level = Level(shapes(24.0, (1.0,), RATIOS), (2, 3), (8.0, 10.0), (2, 3))
    assert level.boxes.shape == (level.count, 4) == (18, 4)
    middles, sides = (level.boxes[:, :2] + level.boxes[:, 2:]) / 2, level.boxes[:, 2:] - level.boxes[:, :2]
    torch.testing.assert_close(middles[3:6], torch.tensor([[15.0, 4.0]] * 3))
    torch.testing.assert_close(middles[-1], torch.tensor([25.0, 12.0]))
    wide = 24 * 2**0.5
    torch.testing.assert_close(sides[:3], torch.tensor([[24, 24], [24 / 2**0.5, wide], [wide, 24 / 2**0.5]]))


def test_square_priors_are_as_high_as_wide_whatever_the_ratio():
    # 24.0, 17.0 and 33.9 pixels: what the authors' published weights were trained with.
    sides = shapes(24.0, (1.0,), RATIOS, square=True)
    torch.testing.assert_close(sides, 24 * torch.tensor([[1.0] * 2, [0.5**0.5] * 2, [2**0.5] * 2]))


def test_scales_follow_one_another_each_with_all_ratios():
    sides = shapes(10.0, (1.0, 2.0), RATIOS)
    torch.testing.assert_close(sides[3:], 2 * sides[:3])


def test_matching_equals_the_loop_that_takes_the_greatest_pair_again_and_again():
    levels = [level._replace(shapes=level.shapes[:1]) for level in pyramid(128, 16.0, 32.0, 64.0)]
    for seed in range(10):
        boxes = drawn_boxes(seed, 1 + 4 * seed)
        wanted = plain(levels, boxes)
        assert torch.equal(flat(matched(levels, boxes)), wanted)
    assert (wanted == -2).sum() > 3 and (wanted >= 0).sum() > 36


def test_many_objects_are_matched_part_by_part_as_all_at_once(monkeypatch):
    levels, boxes = pyramid(128, 16.0, 32.0), drawn_boxes(3, 60)
    whole = matched(levels, boxes)
    monkeypatch.setattr("apiece.parts.prior_pairs.CELLS_AT_ONCE", 100)
    for ours, theirs in zip(matched(levels, boxes), whole, strict=True):
        assert torch.equal(ours, theirs)


def test_of_many_equal_objects_each_has_another_prior():
    match = matched(pyramid(64, 16.0), torch.tensor([[20.0, 20, 36, 36]]).repeat(30, 1))
    assert sorted(match.objects.tolist()) == list(range(30)) and len(match.priors.unique()) == 30


def test_every_object_has_a_prior_of_its_own_however_small():
    levels = pyramid(64, 16.0)
    boxes = torch.tensor([[10.0, 10, 11, 11], [12.0, 10, 13, 11], [10.0, 12, 11, 13], [40.0, 40, 41, 41]])
    match = matched(levels, boxes)
    assert sorted(match.objects.tolist()) == [0, 1, 2, 3]
    assert len(match.priors.unique()) == 4


def test_objects_without_any_free_prior_have_none():
    level = Level(shapes(8.0, (1.0,), (1.0,)), (1, 1), (8.0, 8.0), (1, 1))
    match = matched([level], torch.tensor([[1.0, 1, 7, 7], [2.0, 2, 7, 7], [40.0, 40, 44, 44]]))
    assert match.objects.tolist() == [0]


def test_a_prior_within_a_long_object_is_taken_at_its_middle():
    levels = pyramid(128, 10.0)
    (prior,) = matched(levels, torch.tensor([[59.0, 4.0, 69.0, 124.0]])).priors.tolist()
    box = levels[0].boxes[prior]
    assert abs((box[1] + box[3]).item() / 2 - 64) <= 4


def test_priors_in_the_padding_are_neutral_and_stand_for_nothing():
    levels = [level.cut((40, 128)) for level in pyramid(128, 20.0)]
    match = matched(levels, torch.tensor([[20.0, 30, 40, 40]]))
    rows = levels[0].boxes[:, 1::2].mean(1)
    assert bool(match.neutral[rows > 40].all()) and bool((rows[match.priors] < 40).all())
    assert not match.neutral[rows < 20].any()


def test_priors_that_mostly_lie_on_ignored_pixels_are_neutral():
    ignored = torch.zeros(128, 128, dtype=torch.bool)
    ignored[64:] = True
    levels = pyramid(128, 16.0)
    match = matched(levels, torch.tensor([[8.0, 100, 24, 116]]), ignored=ignored)
    rows = levels[0].boxes[:, 1::2].mean(1)
    below = rows > 80
    below[match.priors] = False
    assert bool(match.neutral[below].all()) and not match.neutral[rows < 56].any()
    assert len(match.priors) and bool((rows[match.priors] > 80).all())


def test_no_objects_leave_all_priors_background():
    match = matched(pyramid(64, 16.0), torch.zeros(0, 4))
    assert not len(match.priors) and not match.neutral.any()
