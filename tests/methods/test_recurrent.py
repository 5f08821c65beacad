"""Recurrent segmentation: the loss against all permutations, curricula, stopping, the canvas, classes, what is seen."""

from itertools import permutations

import numpy as np
import pytest
import torch

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.methods.method import Frame
from apiece.methods.recurrent import PAPER, Recurrent
from apiece.parts.recurrence import Steps
from apiece.statistics import Statistics

SIZE = (24, 32)
PLAIN = {"focus": False, "share_weight": 0.0, "feedback": "none", "coordinates": False}


def made(**options) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(**{"num_classes": 1, "channels": 1, "network": "tiny", "max_objects": 6, **options})


def squares(count: int, size=SIZE, **options) -> Instances:
    """Squares of different size in two rows, apart from each other."""
    label_map = np.zeros(size, np.uint16)
    for number in range(count):
        top, left, side = 12 * (number // 3) + 1, 10 * (number % 3) + 1, 4 + number
        label_map[top : top + side, left : left + side] = number + 1
    return Instances.from_label_map(label_map, **options)


def steps_of(count: int, images: int = 1, classes: int = 0, seed: int = 0) -> Steps:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(images, count, *rest, generator=generator).double() for rest in (SIZE, (), (classes,))]
    maps, scores, kinds = (part.requires_grad_() for part in draw)
    return Steps(maps, scores, kinds if classes else None, None)


def brute_force(found: Steps, truth: Instances, rule: str, weight: float) -> torch.Tensor:
    """The paper's loss in double precision: the least over every way to assign objects to steps."""
    soft, masks = found.maps[0].sigmoid().flatten(1), torch.from_numpy(truth.dense()).double().flatten(1)
    steps, objects = len(soft), len(masks)
    iou = {}
    for t in range(steps):
        for n in range(objects):
            common = (soft[t] * masks[n]).sum()
            iou[t, n] = common / (soft[t].sum() + masks[n].sum() - common)
    allowed = range(min(steps, objects)) if rule == "first" else range(steps)
    pairs = min(len(allowed), objects)
    best = torch.tensor(float(pairs)).double()
    for rows in permutations(allowed, pairs):
        for columns in permutations(range(objects), pairs):
            terms = [1 - iou[pair] for pair in zip(rows, columns, strict=True)]
            total = torch.stack(terms).sum() if terms else best
            best = total if total < best else best
    scores = found.scores[0].sigmoid()
    there = torch.arange(steps) < objects
    return best - weight * (scores[there].log().sum() + (1 - scores[~there]).log().sum())


@pytest.mark.parametrize("rule", ["first", "any"])
@pytest.mark.parametrize(("steps", "objects"), [(1, 0), (2, 1), (3, 2), (5, 4), (4, 4), (3, 5), (2, 6)])
def test_the_loss_is_the_least_over_all_permutations_and_so_are_its_gradients(rule, steps, objects):
    truth = squares(objects)
    method = made(matching=rule, stop_weight=0.7, extra_steps=max(0, steps - objects), longest=steps, **PLAIN)
    found, same = steps_of(steps), steps_of(steps)
    losses = method.loss_of(found, [truth])
    expected = brute_force(same, truth, rule, 0.7)
    assert sum(losses.values()).item() == pytest.approx(expected.item(), rel=1e-6)
    sum(losses.values()).backward()
    (expected + same.maps.sum() * 0).backward()
    torch.testing.assert_close(found.maps.grad, same.maps.grad, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(found.scores.grad, same.scores.grad, rtol=1e-6, atol=1e-9)


def test_six_objects_and_seven_steps_have_the_least_of_all_permutations():
    truth, method = squares(6), made(**PLAIN)
    found = steps_of(7)
    iou = np.zeros((7, 6))
    for t, soft in enumerate(found.maps[0].detach().sigmoid().numpy()):
        for n, mask in enumerate(truth.dense()):
            iou[t, n] = soft[mask].sum() / (soft.sum() + mask.sum() - soft[mask].sum())
    least = min(6 - sum(iou[t, n] for n, t in enumerate(rows)) for rows in permutations(range(6)))
    assert method.loss_of(found, [truth])["mask"].item() == pytest.approx(least, rel=1e-6)


def test_the_two_rules_differ_where_a_late_step_is_the_better_match():
    truth, (early, late) = squares(1), torch.zeros(2, *SIZE)
    late[torch.from_numpy(truth.dense()[0])] = 20
    found = Steps(torch.stack([early, late - 10])[None], torch.zeros(1, 2), None, None)
    first, best = (made(matching=rule, **PLAIN).loss_of(found, [truth])["mask"].item() for rule in ("first", "any"))
    assert best < 0.2 < 0.5 < first


def test_ignored_objects_are_not_looked_for_and_their_pixels_are_in_no_iou():
    truth, method = squares(3), made(**PLAIN)
    ignored = truth.replace(ignore=np.array([False, True, False]))
    found = steps_of(3)
    changed = Steps(found.maps.detach().clone(), found.scores, None, None)
    changed.maps[:, :, torch.from_numpy(truth.dense()[1])] = 20
    here, there = (method.loss_of(one, [ignored])["mask"] for one in (found, changed))
    assert here.item() == pytest.approx(there.item(), rel=1e-6)
    assert method.loss_of(found, [truth])["mask"] > here


def test_each_image_has_its_own_steps():
    method = made(**PLAIN)
    found = steps_of(4, images=2)
    both = method.loss_of(found, [squares(3), squares(1)])
    alone = [
        method.loss_of(Steps(found.maps[index : index + 1], found.scores[index : index + 1], None, None), [target])
        for index, target in enumerate((squares(3), squares(1)))
    ]
    for name, term in both.items():
        torch.testing.assert_close(term, (alone[0][name] + alone[1][name]) / 2)
    changed = Steps(found.maps, found.scores.detach().clone(), None, None)
    changed.scores[1, 2:] = 50  # beyond the one object and one step more
    torch.testing.assert_close(method.loss_of(changed, [squares(3), squares(1)])["stop"], both["stop"])


def test_classes_are_learned_of_matched_steps():
    truth = squares(2, labels=np.array([2, 0]))
    method, found = made(num_classes=3, class_weight=0.5, **PLAIN), steps_of(3, classes=3)
    masks = torch.from_numpy(truth.dense()).float()
    maps = torch.stack([masks[1], masks[0], masks[0] * 0])[None] * 20 - 10
    term = method.loss_of(Steps(maps, found.scores, found.classes, None), [truth])["class"]
    logarithms = found.classes[0].log_softmax(1)
    assert term.item() == pytest.approx(-0.5 * (logarithms[0, 0] + logarithms[1, 2]).item(), rel=1e-6)
    assert made(num_classes=1).recurrence.classifier is None


def test_the_number_of_learned_steps_grows_with_the_training():
    method = made(max_objects=10, first_steps=2, curriculum=0.5, extra_steps=1, embed_first=0)
    course = []
    for progress in (0, 0.1, 0.25, 0.4, 0.5, 1):
        method.at(progress)
        course.append(method.learned_steps)
    assert course == [2, 4, 7, 9, 11, 11]
    assert made(max_objects=10, longest=4).learned_steps == 4
    images, targets = torch.rand(1, 1, *SIZE), [squares(6)]
    seen = []
    for progress in (0, 1):
        method.at(progress)
        method.recurrence.register_forward_hook(lambda _, given, __: seen.append(given[1]))
        method.loss(images, targets)
    assert seen[0] == 2 and seen[-1] == 7


def test_embeddings_are_learned_before_sequences():
    method, seen = made(embed_first=0.4, max_objects=10, first_steps=2, curriculum=0.5), []
    method.recurrence.register_forward_hook(lambda _, given, __: seen.append(given[1]))
    images, targets = torch.rand(1, 1, *SIZE), [squares(3)]
    for progress in (0.0, 0.39):
        method.at(progress)
        terms = method.loss(images, targets)
        assert not seen and terms.keys() == {"embed"} and terms["embed"] > 0
    terms["embed"].backward()
    assert all(weight.grad is None for weight in method.recurrence.memory.parameters())
    assert all(weight.grad is not None for weight in method.network.parameters())
    for progress, steps in ((0.4, 2), (0.55, 4), (1.0, 4)):
        method.at(progress)
        terms = method.loss(images, targets)
        assert seen[-1] == steps and all(term > 0 for term in terms.values())
    torch.stack([*terms.values()]).sum().backward()
    assert all(weight.grad is not None for weight in method.parameters())
    assert "embed" not in made(embed_weight=0).loss(images, targets)


def test_true_masks_are_fed_back_at_the_beginning_only():
    method, starts = made(taught=0.5, embed_first=0), []
    method.recurrence.register_forward_hook(lambda _, given, __: starts.append(given[0].taught is not None))
    for progress in (0.0, 0.49, 0.5, 1.0):
        method.at(progress)
        method.loss(torch.rand(1, 1, *SIZE), [squares(2)])
    assert starts == [True, True, False, False]


@pytest.mark.parametrize("options", [{}, {"truncation": 2}], ids=str)
def test_checkpointing_gives_the_same_gradients(options):
    images, targets = torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(0)), [squares(5), squares(2)]
    results = []
    for checkpointing in (None, 2):
        method = made(checkpointing=checkpointing, **options)
        sum(method.loss(images, targets).values()).backward()
        results.append([weight.grad for weight in method.parameters()])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def stopping(method: Recurrent, scores: list[float]) -> list[int]:
    """Make the scores come out as given, whatever the image; the list that is returned counts the steps."""
    taken: list[int] = []

    def score(_, __, output):
        taken.append(len(taken))
        return torch.full_like(output, torch.logit(torch.tensor(scores[len(taken) - 1])).item())

    method.recurrence.score.register_forward_hook(score)
    return taken


def test_it_stops_where_the_probability_falls():
    method = made(max_objects=20)
    taken = stopping(method, [0.9, 0.8, 0.7, 0.4, 0.9])
    outputs = method.infer(torch.rand(1, 1, *SIZE), [Frame(SIZE, SIZE)])
    assert len(taken) == 4 and outputs["scores"].shape == (1, 4)
    np.testing.assert_allclose(outputs["scores"][0], [0.9, 0.8, 0.7, 0], rtol=1e-5)
    assert not outputs["maps"][0, 3].any() and outputs["maps"][0, 2].any()


def test_it_finds_as_many_as_are_expected():
    method = made(max_objects=20, count="expected")
    taken = stopping(method, [0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.3, 0.01, 0.9])
    outputs = method.infer(torch.rand(1, 1, *SIZE), [Frame(SIZE, SIZE)])
    assert len(taken) == 8
    # The sum is 3.6.
    np.testing.assert_allclose(outputs["scores"][0], [0.9, 0.8, 0.7, 0.4, 0, 0, 0, 0], rtol=1e-5)
    assert not outputs["maps"][0, 4:].any() and outputs["maps"][0, 3].any()


def test_it_goes_on_to_the_limit_and_says_so():
    method = made(max_objects=3, mask_threshold=0.0, exclusive=False)
    taken = stopping(method, [0.9] * 9)
    with pytest.warns(UserWarning, match="3 objects, which is max_objects"):
        (found,) = method.predict(torch.rand(1, 1, *SIZE))
    assert len(taken) == 3 and len(found) == 3 and found.columns["order"].tolist() == [0, 1, 2]


def test_the_earlier_object_owns_what_two_claim_unless_they_may_share():
    maps = torch.zeros(1, 2, *SIZE)
    maps[0, 0, 2:10, 2:10], maps[0, 1, 6:14, 6:14] = 1, 1
    outputs = {"maps": maps, "scores": torch.tensor([[0.9, 0.8]])}
    frames = [Frame(SIZE, SIZE)]
    (own,), (shared,) = (made(exclusive=exclusive).decode(outputs, frames) for exclusive in (True, False))
    assert own.mask_areas.tolist() == [64, 48] and shared.mask_areas.tolist() == [64, 64]
    assert own.scores.tolist() == pytest.approx([0.9, 0.8])


def test_the_whole_map_decides_on_a_fixed_canvas_only():
    with pytest.raises(CallError, match="fixed=True"):
        made(stop="whole")
    method = made(stop="whole", fixed=True, canvas=SIZE, max_objects=9, count="expected")
    assert method.recurrence.score.in_features == 8 * (SIZE[0] // 2) * (SIZE[1] // 2)
    for size in ((10, 12), SIZE):
        assert method.predict(torch.rand(1, 1, *size))[0].size == size
    with pytest.raises(CallError, match="canvas"):
        method.infer(torch.rand(1, 1, 40, 40), [Frame((40, 40), (40, 40))])


def test_images_are_made_to_fit_the_canvas():
    assert made(canvas=(100, 200)).frame((50, 60)).size == (50, 60)
    assert made(canvas=(100, 200)).frame((200, 100)).size == (100, 50)
    assert made(canvas=(100, 200), fixed=True).frame((50, 60)).size == (100, 120)
    method = made(canvas=(24, 32), step=2)
    losses = method.loss(torch.rand(1, 1, 48, 64), [squares(3, (48, 64))])
    assert all(term.isfinite() for term in losses.values())


def test_a_memory_coarser_than_the_maps_needs_a_focus():
    with pytest.raises(CallError, match="without a focus"):
        made(focus=False, coarse=2)
    assert made(focus=False).coarse == 1 and made().coarse == 2


def test_the_limit_and_the_bias_follow_the_data():
    method = made(max_objects=None, step=2)
    assert method.most == 20
    method.adapt(Statistics(np.full(40, 400), np.full((40, 2), 20), np.array([3, 17])))
    assert method.most == 22
    assert method.recurrence.bias.item() == pytest.approx(np.log(100) + 2)
    given = made(max_objects=5, bias=1.0)
    given.adapt(Statistics(np.full(40, 400), np.full((40, 2), 20), np.array([3, 17])))
    assert given.most == 5 and given.recurrence.bias.item() == 1


@pytest.mark.parametrize(("thickness", "step"), [(5, 2), (12, 4)])
def test_maps_are_finer_for_thin_objects(thickness, step):
    method = Recurrent(1)
    sides = np.array([[60, 40], [10, 70], [30, 30]])
    method.adapt(Statistics(areas=sides.max(1) * thickness, sides=sides, counts=np.array([3])))
    assert method.step == step and method.recurrence.focus is not None
    assert method.bias == pytest.approx(np.log(np.percentile(sides.max(1) * thickness, 90) / step**2) + 2)
    given = Recurrent(1, step=4)
    given.adapt(Statistics(areas=sides.max(1) * thickness, sides=sides, counts=np.array([3])))
    assert given.step == 4


def test_the_papers_form_for_plants_has_the_authors_parts():
    options = {"network": "plants", "width": 30, "step": 5, "canvas": (530, 500), "fixed": True, "stop": "whole"}
    method = made(channels=3, bias=1.0, stop_bias=10.0, **options, **PLAIN)
    assert method.recipe is PAPER
    sizes = {name: weight.numel() for name, weight in method.recurrence.named_parameters()}
    assert sizes["score.weight"] == 318_000 and sizes["map.weight"] == 30
    # Two layers of 4 R outputs from the features, or the layer below, and from the memory; no peepholes.
    assert sum(size for name, size in sizes.items() if name.startswith("memory.")) == 4 * (120 * 30 * 9 + 120)
    assert method.recurrence.score.bias.item() == 10 and method.recurrence.bias.item() == 1
    assert not any(name.startswith(("focus", "classifier")) for name in sizes)


def test_the_pictures_show_the_order():
    maps = torch.zeros(1, 3, *SIZE)
    maps[0, 0, :20, :16], maps[0, 1, :20, 18:] = 1, 0.8
    (shown,) = made().inside({"maps": maps, "scores": torch.tensor([[0.9, 0.8, 0.0]])}, [Frame(SIZE, (20, 32))])
    assert shown.keys() == {"order", "steps"} and shown["order"].shape == (12 * 20, 12 * 32, 3)
    # The first is dark, the second bright, and on each is ink.
    first, second = shown["order"][:, : 12 * 16], shown["order"][:, 12 * 18 :]
    assert second[0, -1].sum() > first[0, 0].sum()
    assert (first != first[0, 0]).any() and (second != second[0, -1]).any()
    assert shown["steps"].shape[1] > 2 * SIZE[1]
    (nothing,) = made().inside({"maps": maps, "scores": torch.zeros(1, 3)}, [Frame(SIZE, SIZE)])
    assert nothing.keys() == {"order"}
