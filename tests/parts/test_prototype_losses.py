"""Mined negatives: which background priors are learned from."""

import torch

from apiece.parts.priors import Matched
from apiece.parts.prototype_losses import hardest


def test_the_hardest_negatives_are_those_that_say_background_least():
    logits = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 1.0], [2.0, 0.0], [0.0, 9.0], [1.0, 0.0]])
    neutral = torch.tensor([False, False, False, False, True, False])
    match = Matched(torch.tensor([1]), torch.tensor([0]), neutral)
    assert hardest(logits, match, ratio=3).tolist() == [2, 5, 3]
    # There are only four: neither the neutral nor the positive one fills up.
    assert sorted(hardest(logits, match, ratio=9).tolist()) == [0, 2, 3, 5]


def test_without_objects_only_the_least_number_is_mined():
    logits, nothing = torch.randn(6, 2), torch.zeros(0, dtype=torch.long)
    match = Matched(nothing, nothing, torch.zeros(6, dtype=torch.bool))
    assert len(hardest(logits, match)) == 0 and len(hardest(logits, match, least=4)) == 4
