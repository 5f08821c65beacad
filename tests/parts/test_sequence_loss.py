"""The terms that are ours: shares and looks. The paper's are compared with all permutations in the method's tests."""

import numpy as np
import pytest
import torch

from apiece.instances import Instances
from apiece.parts.sequence_loss import Found, sequence_loss

SIZE = (8, 12)


def truth() -> Instances:
    label_map = np.zeros(SIZE, np.uint16)
    label_map[1:5, 1:5], label_map[2:8, 7:11] = 1, 2
    return Instances.from_label_map(label_map)


def looking_at(*places: tuple[int, int], certainty: float = 0.9) -> torch.Tensor:
    """Log-probabilities: a certainty at each step's place, the rest everywhere else alike."""
    looks = torch.full((len(places), *SIZE), (1 - certainty) / (SIZE[0] * SIZE[1] - 1))
    for step, (row, column) in enumerate(places):
        looks[step, row, column] = certainty
    return looks.log()


def test_the_divergence_is_from_an_even_share_of_the_objects_places():
    maps = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0)).double()
    found = Found(maps, torch.zeros(2).double(), None, looking_at((2, 2), (4, 8)).double())
    expected = 0.0
    for step, mask in enumerate(truth().dense()):
        weights = np.exp(maps[step].numpy())
        shares = weights / weights.sum()
        expected += (np.log(1 / mask.sum() / shares[mask]) / mask.sum()).sum()
    assert sequence_loss(found, truth(), 1)["share"].item() == pytest.approx(expected, rel=1e-9)
    assert sequence_loss(found._replace(maps=maps + 5), truth(), 1)["share"].item() == pytest.approx(expected, rel=1e-9)


def test_of_a_look_at_nothing_no_share_is_learned():
    maps = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))
    both, one, none = (
        sequence_loss(Found(maps, torch.zeros(2), None, looking_at(*places)), truth(), 1)["share"].item()
        for places in (((2, 2), (4, 8)), ((2, 2), (0, 0)), ((0, 0), (0, 11)))
    )
    assert both > one > none == 0


@pytest.mark.parametrize("step", [1, 2])
def test_a_perfect_map_has_no_divergence(step):
    masks = torch.from_numpy(truth().dense()).float()
    cells = torch.nn.functional.avg_pool2d(masks[None], step)[0]
    found = Found(cells.clamp(min=1e-12).log(), torch.zeros(2), None, None)
    assert sequence_loss(found, truth(), step)["share"].item() == pytest.approx(0, abs=1e-4)


def test_a_look_counts_where_it_lies_on_what_is_not_found_yet():
    maps, scores = torch.zeros(2, *SIZE), torch.zeros(2)
    first, second = truth().mask_areas
    rest = 0.1 / (SIZE[0] * SIZE[1] - 1)
    found = Found(maps, scores, None, looking_at((2, 2), (4, 8)))
    # At first either object is right; then the second one only.
    right = 0.9 + rest * (first + second - 1), 0.9 + rest * (second - 1)
    assert sequence_loss(found, truth(), 1)["look"].item() == pytest.approx(-np.log(right).sum(), rel=1e-4)
    again = Found(maps, scores, None, looking_at((2, 2), (2, 3)))
    wrong = 0.9 + rest * (first + second - 1), rest * second
    assert sequence_loss(again, truth(), 1)["look"].item() == pytest.approx(-np.log(wrong).sum(), rel=1e-4)


def test_a_step_is_matched_with_what_it_looks_at():
    masks = torch.from_numpy(truth().dense()).float()
    maps = (masks * 2 - 1) * 2
    ways = {
        name: sequence_loss(Found(maps, torch.zeros(2), None, looks), truth(), 1)["mask"].item()
        for name, looks in (("as", looking_at((2, 2), (4, 8))), ("crossed", looking_at((4, 8), (2, 2))), ("none", None))
    }
    assert ways["as"] == ways["none"] < 1.2 and ways["crossed"] > 1.8


def test_without_objects_only_stopping_is_learned():
    found = Found(torch.zeros(3, *SIZE), torch.zeros(3), torch.zeros(3, 2), looking_at((0, 0), (0, 0), (0, 0)))
    terms = sequence_loss(found, truth()[:0], 1)
    assert terms["stop"].item() == pytest.approx(3 * np.log(2))
    assert all(terms[name] == 0 for name in ("mask", "share", "look", "class"))
