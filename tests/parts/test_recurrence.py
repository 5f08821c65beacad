"""Steps of recurrent segmentation: inhibition, validity, truncation, checkpointing, the look, and what a step costs."""

import numpy as np
import pytest
import torch

from apiece.parts.recurrence import Recurrence, inhibited, looked_at, places


def started(recurrence: Recurrence, channels: int = 3, size: tuple[int, int] = (8, 12), images: int = 2):
    features = torch.randn(images, channels, *size, generator=torch.Generator().manual_seed(1))
    return recurrence.start(features, torch.ones(images, *size, dtype=torch.bool))


def made(**options) -> Recurrence:
    torch.manual_seed(0)
    return Recurrence(**{"inputs": 3, "width": 4, "feedback": "all", **options})


def gradients(recurrence: Recurrence, steps: int = 6) -> list[torch.Tensor]:
    recurrence.zero_grad()
    found = recurrence(started(recurrence), steps)
    (found.maps.sigmoid().square().sum() + found.scores.square().sum()).backward()
    return [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in recurrence.parameters()]


def test_inhibition_is_a_softmax_over_the_valid_places_and_a_sigmoid():
    values = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(2, 4, 5, dtype=torch.bool)
    valid[1, 3:], valid[1, :, 2:] = False, False
    maps = inhibited(values, valid, torch.tensor(1.5)).sigmoid().numpy()
    for image in range(2):
        weight = np.exp(values[image].numpy().astype(np.float64)) * valid[image].numpy()
        odds = weight / weight.sum() * np.exp(1.5)
        np.testing.assert_allclose(maps[image], odds / (1 + odds), rtol=1e-5, atol=1e-9)
    assert (maps[1][~valid[1].numpy()] == 0).all()


def test_a_uniform_map_is_as_faint_as_the_authors_was():
    # At 106 x 100 places and b = 1 the map is 2.6e-4 everywhere, and one half at b = ln(106 * 100).
    values, valid = torch.zeros(1, 106, 100), torch.ones(1, 106, 100, dtype=torch.bool)
    assert inhibited(values, valid, torch.tensor(1.0)).sigmoid().mean().item() == pytest.approx(2.6e-4, rel=0.02)
    assert inhibited(values, valid, torch.tensor(9.27)).sigmoid().mean().item() == pytest.approx(0.5, abs=0.01)


def test_places_are_valid_where_the_image_is_and_go_from_minus_to_plus_one():
    valid, coordinates = places(torch.tensor([[8, 12], [5, 6]]), 2, (4, 6))
    assert valid[0].all() and valid[1].sum() == 3 * 3 and valid[1, :3, :3].all()
    np.testing.assert_allclose(coordinates[0, 0, 0], (2 * np.arange(6) + 1) / 6 - 1, rtol=1e-6)
    np.testing.assert_allclose(coordinates[1, 1, :3, 0], [-2 / 3, 0, 2 / 3], atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"focus": True, "coarse": 2}, {"classes": 3}], ids=str)
@pytest.mark.parametrize("together", [1, 4, 6])
def test_computing_steps_again_changes_no_gradient(options, together):
    kept, again = gradients(made(**options)), gradients(made(**options, checkpointing=together))
    for ours, theirs in zip(kept, again, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_computing_steps_again_keeps_a_fraction_of_the_inner_values():
    held = []
    for together in (None, 4):
        recurrence, sizes = made(width=8, checkpointing=together), []
        with torch.autograd.graph.saved_tensors_hooks(lambda part, to=sizes: to.append(part.numel()), lambda _: None):
            recurrence(started(recurrence, size=(16, 16)), 32)
        held.append(sum(sizes))
    assert held[1] < 0.35 * held[0]


def test_gradients_go_back_through_as_many_steps_as_are_asked_for():
    for truncation, first_step_counts in ((None, True), (4, True), (3, False)):
        recurrence = made(truncation=truncation)
        start = started(recurrence)
        h = start.state[-1][0].clone().requires_grad_()
        start = start._replace(state=[*start.state[:-1], (h, start.state[-1][1])])
        found = recurrence(start, 4)
        last = found.maps[:, 3].sigmoid().sum() + found.scores[:, 3].sum()
        (gradient,) = torch.autograd.grad(last, h, allow_unused=True)
        assert (gradient is not None and bool(gradient.any())) is first_step_counts
    same = [gradients(made(truncation=truncation)) for truncation in (None, 6)]
    assert all(torch.equal(*pair) for pair in zip(*same, strict=True))


def test_one_step_after_another_gives_what_all_at_once_give():
    recurrence = made(focus=True, coarse=2)
    together = recurrence(started(recurrence), 5)
    for number, found in zip(range(5), recurrence.each(started(recurrence)), strict=False):
        torch.testing.assert_close(found.maps[:, 0], together.maps[:, number])
        torch.testing.assert_close(found.scores[:, 0], together.scores[:, number])


@pytest.mark.parametrize(("feedback", "expected"), [("none", 0), ("last", 2), ("all", 3)])
def test_the_memory_is_told_what_the_rule_says(feedback, expected):
    recurrence = made(feedback=feedback)
    start = started(recurrence)
    masks = []
    for _ in range(3):
        found, start = recurrence._step(start)
        masks.append(found.maps[:, :1].sigmoid())
    wanted = {0: torch.zeros_like(masks[0]), 2: masks[2], 3: torch.stack(masks).amax(0)}[expected]
    torch.testing.assert_close(start.told, wanted)


def test_an_object_that_is_looked_at_is_taken_away_once():
    cells = torch.zeros(2, 2, 6)
    cells[0, 0, :2], cells[0, 1, 2:4], cells[1, 1, 5] = 1, 0.5, 1
    looks = torch.zeros(2, 2, 3)
    looks[0, 1, 0], looks[1, 0, 0] = 1, 1
    mask, rest = looked_at(cells, looks)
    assert mask[0].flatten().tolist() == [0, 0, 0.5, 0.5, 0, 0] and not mask[1].any()
    assert rest[0, 1].sum() == 0 and torch.equal(rest[0, 0], cells[0, 0]) and torch.equal(rest[1], cells[1])
    assert not looked_at(rest, looks)[0].any()


def test_taught_feedback_is_the_true_mask_of_what_is_looked_at_and_the_map_where_that_is_nothing():
    recurrence = made(focus=True, coarse=2)
    found, _ = recurrence._step(started(recurrence))
    place = found.looks[:, 0].flatten(1).argmax(1)
    cells = torch.zeros(2, 3, 96)
    cells[0, 1, [int(place[0]), 5, 6]] = 1
    cells[1, 2] = 1
    cells[1, 2, place[1]] = 0
    _, after = recurrence._step(started(recurrence)._replace(taught=cells))
    assert torch.equal(after.told[0].flatten(), cells[0, 1]) and not after.taught[0].any()
    torch.testing.assert_close(after.told[1], found.maps[1].sigmoid())
    assert torch.equal(after.taught[1], cells[1])


def test_every_step_does_the_same_work():
    counts = []
    recurrence = made(focus=True, coarse=2)
    start = started(recurrence)
    for _ in range(6):
        with torch.profiler.profile(acc_events=True) as profile:
            _, start = recurrence._step(start)
        counts.append(sum(event.count for event in profile.key_averages() if event.key.startswith("aten::")))
    assert len(set(counts[1:])) == 1 and counts[0] == counts[1]
