"""YOLACT: losses against the authors' program, arguments that follow the data, rescoring, what is seen inside."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.methods.method import Frame
from apiece.methods.yolact import PAPER, YOLACT
from apiece.parts.prior_head import Said
from apiece.parts.priors import Level, shapes
from apiece.parts.prototype_losses import Outputs, drawn_masks, mask_loss
from apiece.parts.true_boxes import Truth
from apiece.statistics import Statistics

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "yolact.json").read_text())
CPU = torch.device("cpu")


def golden_truth(number: int) -> Truth:
    row, column = np.mgrid[:256, :256]
    places = [(70, 60, 37, 33, 0), (150, 170, 21, 24, 1), (60, 190, 13, 12, 2), (205, 75, 30, 41, 0)]
    places += [(200, 215, 9, 8, 1), (128, 110, 52, 47, 2)]
    chosen = places[:4] if number == 0 else places[2:]
    masks = [((row - y) / a) ** 2 + ((column - x) / b) ** 2 < 1 for y, x, a, b, _ in chosen]
    return Truth.of(Instances.from_dense(np.stack(masks), labels=np.array([label for *_, label in chosen])), CPU)


def golden_outputs() -> tuple[Outputs, dict[str, torch.Tensor]]:
    """Of two images of 256 x 256 with 4,032 priors and 6 prototypes in cells of 4 pixels; and the leaves."""
    generator = np.random.default_rng(11)
    sizes = {"deltas": (2, 4032, 4), "logits": (2, 4032, 4), "coefficients": (2, 4032, 6), "prototypes": (2, 6, 64, 64)}
    sizes["semantic"] = (2, 3, 32, 32)
    drawn = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in sizes.items()}
    drawn["coefficients"], drawn["prototypes"] = np.tanh(drawn["coefficients"]), np.maximum(drawn["prototypes"], 0)
    leaves = {name: torch.from_numpy(values).requires_grad_() for name, values in drawn.items()}
    levels = [
        Level(shapes(size, (1.0,), (1.0, 2.0, 0.5)), (count, count), (256 / count, 256 / count), (count, count))
        for count, size in ((32, 24.0), (16, 48.0), (8, 96.0))
    ]
    said = Said(leaves["logits"], leaves["deltas"], leaves["coefficients"])
    return Outputs(said, leaves["prototypes"], leaves["semantic"], levels, (256, 256)), leaves


def legacy(**options) -> YOLACT:
    """As the authors' program, but that all masks are learned."""
    plain = {"num_classes": 3, "network": "tiny", "binary_targets": True, "least_negatives": 0, "mask_samples": 10_000,
             "proto_rectified": True}  # fmt: skip
    return YOLACT(**{**plain, **options})


def golden_weights(method: YOLACT) -> None:
    generator = np.random.default_rng(12)
    for weight in method.rescorer.parameters():
        drawn = generator.standard_normal(weight.shape).astype(np.float32)
        scaled = np.abs(drawn) * 0.1 if weight.ndim == 1 else drawn * 1.5 / np.sqrt(np.prod(weight.shape[1:]))
        weight.data.copy_(torch.from_numpy(scaled))


def test_matches_are_those_of_the_authors_program():
    """golden/yolact.json: what github.com/dbolya/yolact @902073d says of the inputs above, run on a CPU.

    "matches": layers.box_utils.match. "losses": MultiBoxLoss with COCO's weights, mask rescoring (area above 25) and no
    limit on the masks, for outputs and truth of this file; "gradients" of their sum: sums of absolute values and norms
    for each output, and the norm for the rescoring network.
    """
    outputs, _ = golden_outputs()
    for number, wanted in enumerate(GOLDEN["matches"]):
        truth = golden_truth(number)
        match = legacy().matched(outputs, truth)
        assert match.priors.tolist() == wanted["priors"] and int(match.neutral.sum()) == wanted["neutral"]
        # Theirs are in the order above, ours by place.
        places = truth.boxes[match.objects].tolist()
        assert len({tuple(place) for place in places}) == len(set(wanted["objects"]))
        pairs = {(one, tuple(place)) for one, place in zip(wanted["objects"], places, strict=True)}
        assert len(pairs) == len(set(wanted["objects"]))


def test_losses_and_gradients_are_those_of_the_authors_program():
    outputs, leaves = golden_outputs()
    method = legacy(rescoring=True)
    golden_weights(method)
    losses = method.loss_of(outputs, [golden_truth(0), golden_truth(1)], torch.Generator())
    assert losses.keys() == GOLDEN["losses"].keys()
    for name, wanted in GOLDEN["losses"].items():
        assert losses[name].item() == pytest.approx(wanted, rel=2e-6)
    sum(losses.values()).backward()
    for name, (total, norm) in GOLDEN["gradients"].items():
        assert leaves[name].grad.double().abs().sum().item() == pytest.approx(total, rel=1e-5)
        assert leaves[name].grad.double().norm().item() == pytest.approx(norm, rel=1e-5)
    squares = [weight.grad.double().square().sum() for weight in method.rescorer.parameters()]
    assert sum(squares).sqrt().item() == pytest.approx(GOLDEN["rescorer_gradient"], rel=1e-5)


def test_the_mask_loss_is_the_paper_s_formula_in_double_precision():
    outputs, _ = golden_outputs()
    truth, match = golden_truth(0), legacy().matched(outputs, golden_truth(0))
    said = outputs.said.image(0)
    masks = drawn_masks(outputs, 0, truth, match.objects, said.coefficients[match.priors], binary=True)
    dense = torch.from_numpy(truth.masks.dense()).double()[None]
    shrunk = (torch.nn.functional.interpolate(dense, (64, 64), mode="bilinear")[0] > 0.5).double().numpy()
    row, column = np.mgrid[:64, :64]
    total = 0.0
    for prior, one in zip(match.priors.tolist(), match.objects.tolist(), strict=True):
        logits = np.tensordot(said.coefficients[prior].detach().double().numpy(), outputs.prototypes[0].detach(), 1)
        x1, y1, x2, y2 = (truth.boxes[one] / 4).tolist()
        inside = (column >= x1 - 1) & (column < x2 + 1) & (row >= y1 - 1) & (row < y2 + 1)
        error = np.logaddexp(0, logits) - logits * shrunk[one]
        total += (error * inside).sum() / (x2 - x1) / (y2 - y1)
    assert mask_loss(masks).item() == pytest.approx(total, rel=1e-6)


def test_of_many_masks_some_are_drawn_and_weighed_up():
    outputs, _ = golden_outputs()
    truths = [golden_truth(0), golden_truth(1)]
    few, all_ = legacy(mask_samples=6), legacy()
    drawn = [few.loss_of(outputs, truths, torch.Generator().manual_seed(seed))["mask"].item() for seed in range(40)]
    whole = all_.loss_of(outputs, truths, torch.Generator())["mask"].item()
    assert np.std(drawn) > 0.01 * whole and np.mean(drawn) == pytest.approx(whole, rel=0.05)


def disc_truth(size=(64, 96), **fields) -> Instances:
    row, column = np.mgrid[: size[0], : size[1]]
    masks = [(row - 20) ** 2 + (column - 24) ** 2 < 100, (row - 40) ** 2 + (column - 70) ** 2 < 144]
    return Instances.from_dense(np.stack(masks), labels=np.array([0, 1]), **fields)


def test_ignored_objects_are_in_no_term():
    method = YOLACT(2, 1, network="tiny", anchor_sizes=(12.0, 24.0, 0.0))
    truth = disc_truth(ignore=np.array([False, True]))
    outputs = method.network_of(torch.rand(1, 1, 64, 96))
    leaves = [*outputs.said, outputs.semantic]
    for one in leaves:
        one.retain_grad()
    sum(method.loss_of(outputs, [Truth.of(truth, CPU)], torch.Generator()).values()).backward()
    assert outputs.semantic.grad[0, :, 8:12, 15:20].abs().max() == 0 and outputs.semantic.grad[0, :, 4, 5].min() != 0
    priors = torch.cat([level.boxes for level in outputs.levels])
    within = (priors[:, 0] > 61) & (priors[:, 2] < 79) & (priors[:, 1] > 31) & (priors[:, 3] < 49)
    assert within.sum() > 3 and outputs.said.logits.grad[0, within].abs().max() == 0


def test_images_without_objects_teach_as_many_negatives_as_asked_for():
    images, truths = torch.rand(2, 1, 64, 96), [disc_truth()[:0]] * 2
    silent = YOLACT(2, 1, network="tiny", least_negatives=0).loss(images, truths)
    assert silent["class"] == silent["box"] == silent["mask"] == 0 and silent["semantic"] > 0
    assert YOLACT(2, 1, network="tiny", least_negatives=5).loss(images, truths)["class"] > 0.1


def test_tiny_objects_vanish_only_with_binary_targets():
    label_map = np.zeros((64, 64), np.uint8)
    label_map[21, 33] = 1
    truth = Instances.from_label_map(label_map)
    for binary in (False, True):
        method = YOLACT(1, 1, network="tiny", binary_targets=binary)
        outputs = method.network_of(torch.rand(1, 1, 64, 64))
        seen = Truth.of(truth, CPU)
        wanted = drawn_masks(outputs, 0, seen, torch.tensor([0]), torch.zeros(1, 8), binary).wanted
        assert wanted.sum().item() == (0.0 if binary else 0.25)


def test_priors_follow_the_data_on_levels_that_are_fine_enough():
    def adapted(*sides: float) -> YOLACT:
        method = YOLACT(1, 1)
        boxes = np.array([[int(side), int(side)] for side in sides])
        method.adapt(Statistics(boxes.prod(1), boxes, np.array([len(sides), 70])))
        return method

    # Strides are 4, 8, 16, 32.
    assert adapted(*[8] * 5, *[30] * 9).anchor_sizes == (8.0, 16.0, 32.0, 0.0)
    assert adapted(*[60] * 50, *[130] * 50).anchor_sizes == (0.0, 0.0, 60.0, 120.0)
    assert adapted(3, 3, 3).anchor_sizes == (6.0, 0.0, 0.0, 0.0)
    assert adapted(200, 200).anchor_sizes == (0.0, 0.0, 0.0, 200.0)
    assert adapted(10).max_objects == 140 and adapted(10).candidates == 1400


def test_every_weight_has_a_gradient_though_not_every_level_has_priors():
    method = YOLACT(2, 1, network="tiny", rescoring=True, anchor_sizes=(12.0, 0.0, 0.0))
    images = torch.rand(1, 1, 64, 96)
    crowd = disc_truth().replace(ignore=np.array([True, True]))
    for truth in (disc_truth(), crowd):
        method.zero_grad()
        losses = method.loss(images, [truth])
        sum(losses.values()).backward()
        assert all(loss.isfinite() for loss in losses.values())
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in method.parameters())


def test_thousands_of_pixels_are_learned_from():
    label_map = np.zeros((64, 64), np.uint16)
    label_map.ravel()[np.random.default_rng(0).permutation(64 * 64)[:2000]] = np.arange(1, 2001)
    truth = Instances.from_label_map(label_map)
    method = YOLACT(1, 1, network="tiny", anchor_sizes=(6.0, 12.0, 0.0))
    match = method.matched(method.network_of(torch.rand(1, 1, 64, 64)), Truth.of(truth, CPU))
    # There are 3 x 16 x 16 and 3 x 8 x 8 priors for 2,000 objects: each stands for one at most.
    assert len(match.priors) == len(match.objects.unique()) == 960
    assert all(loss.isfinite() for loss in method.loss(torch.rand(1, 1, 64, 64), [truth]).values())


def test_given_sizes_must_fit_the_levels():
    for sizes in ((8.0, 16.0), (0.0, 0.0, 0.0, 0.0)):
        with pytest.raises(CallError, match="4 levels"):
            YOLACT(1, anchor_sizes=sizes)


def test_rescoring_multiplies_scores_by_how_well_masks_fit():
    torch.manual_seed(3)
    method = YOLACT(2, 1, network="tiny", rescoring=True).eval()
    plain = YOLACT(2, 1, network="tiny").eval()
    plain.load_state_dict({name: one for name, one in method.state_dict().items() if not name.startswith("rescorer")})
    torch.nn.init.zeros_(method.rescorer.classes.weight)
    method.rescorer.classes.bias.data.copy_(torch.tensor([0.5, 0.25]))
    images, sizes = torch.rand(1, 1, 64, 64), torch.tensor([[64, 64]])
    with torch.no_grad():
        scored, unscored = method(images, sizes), plain(images, sizes)
    assert (unscored["scores"] > 0).sum() > 10 and torch.equal(scored["labels"], unscored["labels"])
    quality = torch.where(scored["labels"] == 0, 0.5, 0.25)
    torch.testing.assert_close(scored["scores"], unscored["scores"] * quality)


def test_exact_suppression_keeps_what_fast_suppression_loses():
    torch.manual_seed(0)
    made = {"num_classes": 1, "channels": 1, "network": "tiny", "max_objects": 9999}
    fast, exact = (YOLACT(**made, suppression=kind).eval() for kind in ("fast", "exact"))
    exact.load_state_dict(fast.state_dict())
    images, sizes = torch.rand(1, 1, 64, 64), torch.tensor([[64, 64]])
    with torch.no_grad():
        few, more = (method(images, sizes)["boxes"][0].tolist() for method in (fast, exact))
    assert len(few) < len(more) and all(box in more for box in few)


def test_objects_share_a_prototype_in_the_ideal_only_where_they_are_apart():
    label_map = np.zeros((64, 64), np.uint8)
    for number in range(25):
        row, column = 10 * (number // 5) + 5, 10 * (number % 5) + 5
        label_map[row : row + 10, column : column + 10] = number + 1
    truth, frame = Instances.from_label_map(label_map), Frame((64, 64), (64, 64))
    # Each meets its eight neighbors: nine are enough, and one that is constant. With two all share one.
    for count, least, most in ((10, 0.9, 1.0), (2, 0.3, 0.8)):
        method = YOLACT(1, 1, network="tiny", prototypes=count)
        (found,) = method.decode(method.ideal([truth], [frame]), [frame])
        overlaps = [(a & b).sum() / (a | b).sum() for a, b in zip(found.dense(), truth.dense(), strict=True)]
        assert len(found) == 25 and least <= min(overlaps) <= most


def test_fast_suppression_loses_of_three_boxes_in_a_row_the_third_in_the_ideal_too():
    stack = np.zeros((3, 64, 96), bool)
    for number in range(3):
        stack[number, 10:30, 10 + 5 * number : 30 + 5 * number] = True
    truth, frame = Instances.from_dense(stack), Frame((64, 96), (64, 96))
    # IoU of neighbors 0.6, of the first and third 1/3: the second is lost to the first, the third to the second.
    for suppression, left in (("fast", [10]), ("exact", [10, 20])):
        method = YOLACT(1, 1, network="tiny", suppression=suppression)
        (found,) = method.decode(method.ideal([truth], [frame]), [frame])
        assert sorted(found.boxes[:, 0].tolist()) == left


def test_images_are_warped_to_a_square_where_asked_and_decoded_back():
    method = YOLACT(2, 1, network="tiny", warp=50)
    frame = method.frame((64, 96))
    assert frame.size == (50, 50) and method.stride == 1
    truth = disc_truth()
    (found,) = method.decode(method.ideal([truth], [frame]), [frame])
    overlaps = [(a & b).sum() / (a | b).sum() for a, b in zip(found.dense(), truth.dense(), strict=True)]
    assert found.size == (64, 96) and min(overlaps) > 0.9
    assert method.predict(torch.rand(1, 1, 50, 50), [frame])[0].size == (64, 96)


def test_true_classes_and_boxes_can_take_the_place_of_found_ones():
    method, truth = YOLACT(2, 1, network="tiny"), disc_truth()
    frame = Frame(truth.size, truth.size)
    outputs = method.ideal([truth], [frame])
    wrong = {**outputs, "labels": 1 - outputs["labels"], "boxes": outputs["boxes"] + torch.tensor([0.0, 0, 3, 3])}
    assert torch.equal(method.oracle(wrong, [truth], "classes")["labels"], outputs["labels"])
    assert torch.equal(method.oracle(wrong, [truth], "boxes")["boxes"], outputs["boxes"])
    with pytest.raises(CallError, match="centers"):
        method.oracle(outputs, [truth], "centers")


def test_the_prototypes_are_seen_inside():
    method, truth = YOLACT(2, 1, network="tiny"), disc_truth()
    frame = Frame(truth.size, truth.size)
    (pictures,) = method.inside(method.ideal([truth], [frame]), [frame])
    # Eight prototypes of 32 x 48 cells, three in a row, each with a border.
    assert pictures["prototypes"].shape == (3 * 34, 3 * 50, 3)
    masks = pictures["soft masks"].astype(int).sum(2)
    assert masks.shape == (32, 48) and masks[10, 12] > masks[2, 40] and masks[20, 35] > masks[2, 40]


def test_reaching_the_limit_of_objects_is_said():
    method, truth = YOLACT(2, 1, network="tiny", max_objects=2), disc_truth()
    frame = Frame(truth.size, truth.size)
    with pytest.warns(UserWarning, match="max_objects"):
        method.decode(method.ideal([truth], [frame]), [frame])


def test_thousands_of_tiny_objects_are_all_shown():
    label_map = np.zeros((240, 240), np.uint16)
    label_map[2:238:6, 2:238:6] = np.arange(1, 1601).reshape(40, 40)
    truth, frame = Instances.from_label_map(label_map), Frame((240, 240), (240, 240))
    method = YOLACT(1, 1, network="tiny", prototypes=32)
    (found,) = method.decode(method.ideal([truth], [frame]), [frame])
    assert len(found) == 1600 and found.mask_areas.max() <= 4


def test_one_method_is_the_paper_s_and_the_light_one_is_learned_differently():
    assert sum(stage.share for stage in PAPER.stages) == pytest.approx(1)
    light, large = YOLACT(1, 1), YOLACT(1, 1, network="resnet18")
    assert light.recipe.average > 0 and large.recipe is PAPER
    assert large.proto_rectified and not light.proto_rectified
    assert (large.suppression, light.suppression) == ("fast", "exact")
