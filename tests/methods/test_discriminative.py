"""The discriminative loss against its equations and two well-known programs; grouping, oracles, what is seen inside."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.methods.discriminative import PAPER, Discriminative
from apiece.methods.method import Frame
from apiece.statistics import Statistics

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "discriminative_loss.json").read_text())
SIZE = (32, 48)
FRAME = Frame(SIZE, SIZE)


def golden_map() -> np.ndarray:
    """The objects that the golden file's description names."""
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    label_map = np.zeros(SIZE, np.uint16)
    label_map[(row >= 2) & (row <= 13) & (column >= 3) & (column <= 16)] = 1
    label_map[(row - 22) ** 2 + (column - 12) ** 2 <= 49] = 2
    label_map[(row >= 6) & (row <= 27) & (column >= 30) & (column <= 43) & ((row + column) % 7 != 0)] = 3
    label_map[1, 46] = 4
    return label_map


def golden_embeddings(dimensions: int, scale: float) -> torch.Tensor:
    noise = np.random.default_rng(7).standard_normal((dimensions, *SIZE)).astype(np.float32) * np.float32(scale)
    shift = np.random.default_rng(8).standard_normal((5, dimensions)).astype(np.float32)
    return torch.from_numpy(noise + shift[golden_map()].transpose(2, 0, 1)).double()[None]


def made(**options) -> Discriminative:
    torch.manual_seed(0)
    plain = {"num_classes": 1, "channels": 1, "network": "tiny", "coordinates": 0.0, "min_size": 1}
    return Discriminative(**{**plain, **options})


def outputs_of(embeddings: torch.Tensor, classes: int = 1) -> dict[str, torch.Tensor]:
    return {"embeddings": embeddings, "semantic": embeddings.new_zeros(1, classes, *embeddings.shape[2:])}


def paper_terms(embeddings: np.ndarray, label_map: np.ndarray, labels, d_v=0.5, d_d=1.5) -> dict[str, float]:
    """The equations in float64, object by object and pair by pair; the mean over the classes that are there."""
    terms = {"variance": 0.0, "distance": 0.0, "regularization": 0.0}
    present = sorted({labels[value - 1] for value in np.unique(label_map) if value})
    for label in present:
        members = [n for n in range(1, label_map.max() + 1) if (label_map == n).any() and labels[n - 1] == label]
        means = [embeddings[:, label_map == n].mean(1) for n in members]
        for n, mean in zip(members, means, strict=True):
            away = np.linalg.norm(embeddings[:, label_map == n] - mean[:, None], axis=0)
            terms["variance"] += (np.maximum(away - d_v, 0) ** 2).mean() / len(members) / len(present)
            terms["regularization"] += np.linalg.norm(mean) / len(members) / len(present)
        for a, one in enumerate(means):
            for b, other in enumerate(means):
                if a != b:
                    push = max(0, 2 * d_d - np.linalg.norm(one - other)) ** 2
                    terms["distance"] += push / (len(members) * (len(members) - 1)) / len(present)
    return terms


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['dimensions']} dimensions")
def test_the_loss_is_the_papers_where_two_known_programs_are_not(case):
    method = made(dimensions=case["dimensions"], regularization_weight=1.0)
    embeddings = golden_embeddings(case["dimensions"], case["scale"]).requires_grad_()
    losses = method.loss_of(outputs_of(embeddings), [Instances.from_label_map(golden_map())])
    ours = {name: losses[name].item() for name in ("variance", "distance", "regularization")}
    assert ours == pytest.approx(case["nyoki"] | {"distance": 2 * case["nyoki"]["distance"]}, rel=1e-12)
    assert ours | {"variance": 0} == pytest.approx(case["wizaron"] | {"variance": 0}, rel=1e-12)
    # That program divides all objects' sums by all their pixels; here each object counts alike.
    assert case["wizaron"]["variance"] > 1.3 * ours["variance"]
    (losses["variance"] + losses["distance"] + 0.001 * losses["regularization"]).backward()
    norms = torch.tensor(case["gradient_norms"], dtype=torch.float64)
    torch.testing.assert_close(embeddings.grad[0].flatten(1).norm(dim=1), norms, rtol=1e-10, atol=0)


@pytest.mark.parametrize("dimensions", [1, 2, 8])
@pytest.mark.parametrize("labels", [(0, 0, 0, 0), (0, 1, 0, 1), (2, 0, 0, 1)], ids=str)
def test_the_loss_equals_its_equations(dimensions, labels):
    method = made(dimensions=dimensions, num_classes=3, regularization_weight=1.0, variance_margin=0.3)
    embeddings = golden_embeddings(dimensions, 0.7)
    losses = method.loss_of(outputs_of(embeddings, 3), [Instances.from_label_map(golden_map(), labels=labels)])
    expected = paper_terms(embeddings[0].numpy(), golden_map(), labels, d_v=0.3)
    assert {name: losses[name].item() for name in expected} == pytest.approx(expected, rel=1e-12)


def test_the_gradients_are_those_of_the_equations():
    method, label_map = made(dimensions=3, num_classes=2), golden_map()
    weights = {"variance": 1.0, "distance": 1.0, "regularization": 0.001}
    embeddings = golden_embeddings(3, 0.7).requires_grad_()
    truth = Instances.from_label_map(label_map, labels=(0, 1, 0, 1))
    sum(method.loss_of(outputs_of(embeddings, 2), [truth]).values()).backward()
    start, step = embeddings.detach()[0].numpy(), 1e-5
    for channel, row, column in [(0, 5, 5), (1, 22, 12), (2, 10, 40), (0, 1, 46), (1, 0, 0), (2, 13, 16)]:
        total = []
        for sign in (1, -1):
            moved = start.copy()
            moved[channel, row, column] += sign * step
            terms = paper_terms(moved, label_map, (0, 1, 0, 1))
            total.append(sum(weights[name] * term for name, term in terms.items()))
        slope = (total[0] - total[1]) / (2 * step)
        assert embeddings.grad[0, channel, row, column].item() == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_one_object_is_pulled_and_not_pushed_and_none_is_neither():
    method, embeddings = made(dimensions=2), golden_embeddings(2, 1.0)
    truth = Instances.from_label_map(golden_map())
    one, none = (method.loss_of(outputs_of(embeddings), [target]) for target in (truth[:1], truth[:0]))
    assert one["variance"] > 0 and one["regularization"] > 0 and one["distance"] == 0
    assert [none[name].item() for name in ("variance", "distance", "regularization")] == [0, 0, 0]


def test_objects_of_different_classes_may_lie_in_one_place():
    method, embeddings = made(num_classes=2), torch.zeros(1, 8, *SIZE)
    truth = Instances.from_label_map(golden_map())[:2]
    same, other = (truth.replace(labels=labels) for labels in ([0, 0], [0, 1]))
    assert method.loss_of(outputs_of(embeddings, 2), [same])["distance"].item() == pytest.approx(9)
    assert method.loss_of(outputs_of(embeddings, 2), [other])["distance"].item() == 0


def test_an_object_that_is_wholly_hidden_does_not_count():
    stack = np.zeros((3, *SIZE), bool)
    stack[0, 2:20, 2:20], stack[1, 5:9, 5:9], stack[2, 2:20, 30:40] = True, True, True
    covering = np.concatenate([stack, stack[1:2]])
    method, embeddings = made(dimensions=2), golden_embeddings(2, 1.0)
    first, second = (
        method.loss_of(outputs_of(embeddings), [Instances.from_dense(masks, labels=[0] * len(masks))])
        for masks in (stack, covering)
    )
    for name in first:
        assert first[name].isfinite() and first[name].item() == pytest.approx(second[name].item())


def test_ignored_pixels_change_no_term():
    label_map = golden_map()
    void = np.zeros(SIZE, bool)
    void[24:, 20:30] = True
    stack = np.concatenate([[label_map == number for number in (1, 2, 3, 4)], [void]])
    truth = Instances.from_dense(stack, labels=[0, 1, 0, 0, 1], ignore=[False] * 4 + [True])
    method, embeddings = made(num_classes=2, dimensions=2), golden_embeddings(2, 1.0)
    outputs = outputs_of(embeddings, 2)
    changed = {name: map_.clone() for name, map_ in outputs.items()}
    for map_ in changed.values():
        map_[:, :, 24:, 20:30] = 3.0
    before, after = method.loss_of(outputs, [truth]), method.loss_of(changed, [truth])
    for name in before:
        torch.testing.assert_close(before[name], after[name])


def test_the_semantic_term_is_the_cross_entropy_of_background_and_classes():
    method, truth = made(num_classes=2), Instances.from_label_map(golden_map(), labels=(0, 1, 0, 1))
    logits = torch.randn(1, 2, *SIZE, dtype=torch.float64)
    outputs = {"embeddings": torch.zeros(1, 8, *SIZE, dtype=torch.float64), "semantic": logits}
    classes = np.array([0, 1, 2, 1, 2])[golden_map()]
    whole = np.concatenate([np.zeros((1, *SIZE)), logits[0].numpy()])
    probability = np.exp(whole) / np.exp(whole).sum(0)
    expected = -np.log(np.take_along_axis(probability, classes[None], 0)).mean()
    assert method.loss_of(outputs, [truth])["semantic"].item() == pytest.approx(expected)


def test_losses_are_computed_in_float32_under_lower_precision():
    method, truth = made(), Instances.from_label_map(golden_map())
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.loss(torch.rand(1, 1, *SIZE), [truth])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


def test_where_an_image_lies_changes_neither_objects_nor_loss():
    """Coordinates are added to the embeddings; only differences of them count."""
    method, truth = made(coordinates=0.2), Instances.from_label_map(golden_map())
    outputs = method.ideal([truth], [FRAME])
    outputs["embeddings"] += 0.02 * torch.randn(1, 8, *SIZE)
    moved = {**outputs, "embeddings": outputs["embeddings"] + 100 * (torch.arange(8) < 2)[:, None, None]}
    before, after = method.loss_of(outputs, [truth]), method.loss_of(moved, [truth])
    for name in ("variance", "distance"):
        torch.testing.assert_close(before[name], after[name], rtol=1e-3, atol=1e-4)
    first, second = (method.decode(one, [FRAME])[0].label_map() for one in (outputs, moved))
    assert np.array_equal(first, second)


def test_coordinates_are_no_drift():
    method, truth = made(coordinates=0.5), Instances.from_label_map(golden_map())
    zero = method.loss_of(outputs_of(method.places(*SIZE)[None]), [truth])
    assert zero["regularization"].item() == pytest.approx(0, abs=1e-6)
    assert made(coordinates=0.5, dimensions=1).places(4, 5).shape == (1, 4, 5)


def test_coordinates_and_smallest_size_follow_the_data():
    method = made(coordinates=None, min_size=None)
    area = np.pi * 15**2
    method.adapt(Statistics(np.array([40] + [int(area)] * 9), np.full((10, 2), 30), np.array([10])))
    assert method.coordinates == pytest.approx(3 / 30, rel=1e-2) and method.min_size > 1
    given = made(coordinates=0.0, min_size=3)
    given.adapt(Statistics(np.array([40]), np.full((1, 2), 30), np.array([1])))
    assert given.coordinates == 0 and given.min_size == 3


def test_classes_can_be_learned_first():
    method, truth = made(semantic_first=0.5), Instances.from_label_map(golden_map())
    images = torch.rand(1, 1, *SIZE)
    method.at(0.2)
    losses = method.loss(images, [truth])
    assert [losses[name].item() for name in ("variance", "distance", "regularization")] == [0, 0, 0]
    sum(losses.values()).backward()
    assert all(weight.grad is not None for weight in method.parameters())
    method.at(0.5)
    assert method.loss(images, [truth])["variance"].item() + method.loss(images, [truth])["distance"].item() > 0


def test_objects_around_one_center_and_in_pieces_are_told_apart():
    """What centers of mass cannot: rings, and an object in two pieces behind another."""
    row, column = np.mgrid[:33, :33]
    distance = np.hypot(row - 16, column - 16)
    rings = np.where(distance < 5, 1, np.where((distance > 8) & (distance < 13), 2, 0)).astype(np.uint16)
    crossed = np.zeros((33, 33), np.uint16)
    crossed[14:19, 2:31] = 1
    crossed[2:31, 14:19] = 2
    frame = Frame((33, 33), (33, 33))
    for label_map in (rings, crossed):
        truth, method = Instances.from_label_map(label_map), made()
        (found,) = method.decode(method.ideal([truth], [frame]), [frame])
        masks = {mask.tobytes() for mask in found.dense()}
        assert masks == {mask.tobytes() for mask in truth.dense()}


def test_scores_are_the_mean_probability_of_the_class():
    method, truth = made(num_classes=2), Instances.from_label_map(golden_map(), labels=(0, 1, 1, 0))
    outputs = method.ideal([truth], [FRAME])
    outputs["semantic"][0, 0, 2:14, 3:10], outputs["semantic"][0, 0, 2:14, 10:17] = 1.0, 2.0
    (found,) = method.decode(outputs, [FRAME])
    sure = 1 / (1 + np.exp(-np.array([1.0, 2.0])))
    (index,) = np.flatnonzero(found.mask_areas == 12 * 14)
    assert found.scores[index] == pytest.approx(sure.mean(), rel=1e-5) and found.labels[index] == 0
    assert sorted(found.labels.tolist()) == [0, 0, 1, 1]


def test_small_groups_and_unsure_pixels_are_no_objects():
    truth = Instances.from_label_map(golden_map())
    for options, count in (({"min_size": 2}, 3), ({"foreground_threshold": 0.9}, 3), ({}, 4)):
        method = made(**options)
        outputs = method.ideal([truth], [FRAME])
        outputs["semantic"][0, 0, 2:14, 3:17] = 1.0
        assert len(method.decode(outputs, [FRAME])[0]) == count


def test_bandwidth_and_reach_are_obeyed():
    outputs = outputs_of(torch.zeros(1, 8, 16, 16))
    outputs["semantic"] += 5
    outputs["embeddings"][0, 3, :, 8:] = 0.9
    outputs["embeddings"][0, 3, 15, 15] = 1.7
    frame = Frame((16, 16), (16, 16))
    for options, expected in (
        ({"bandwidth": 0.5, "reach": 0.5}, [127, 128]),
        ({"bandwidth": 0.5}, [128, 128]),
        ({}, [256]),
        ({"variance_margin": 0.25}, [128, 128]),
    ):
        (found,) = made(min_size=2, **options).decode(outputs, [frame])
        assert sorted(found.mask_areas.tolist()) == expected


def test_what_was_grouped_with_nothing_joins_no_object_at_the_original_size():
    outputs = outputs_of(torch.zeros(1, 8, 16, 16))
    outputs["semantic"] -= 20
    outputs["semantic"][0, 0, 4:12, 4:13] = 20
    outputs["embeddings"][0, 0, :, 12] = 9
    (found,) = made(min_size=10).decode(outputs, [Frame((32, 32), (16, 16))])
    assert found.size == (32, 32) and found.mask_areas.tolist() == [16 * 16]
    assert found.mask_boxes.tolist() == [[8, 8, 24, 24]]


def test_known_classes_replace_the_networks():
    method, truth = made(num_classes=2), Instances.from_label_map(golden_map(), labels=(0, 1, 0, 1))
    outputs = method.ideal([truth], [FRAME])
    wrong = {**outputs, "semantic": outputs["semantic"].flip(1)}
    (found,) = method.decode(method.oracle(wrong, [truth], "classes"), [FRAME])
    (right,) = method.decode(outputs, [FRAME])
    assert found.labels.tolist() == right.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(found.label_map(), right.label_map())


def test_known_centers_replace_the_mean_shift():
    truth = Instances.from_label_map(golden_map())
    method = made(bandwidth=9.0)
    outputs = outputs_of(golden_embeddings(8, 0.1).float())
    outputs["semantic"][0, 0] = torch.from_numpy(np.where(golden_map() > 0, 5.0, -5.0))
    assert len(method.decode(outputs, [FRAME])[0]) == 1
    (found,) = method.decode(method.oracle(outputs, [truth], "centers"), [FRAME])
    assert np.array_equal(found.label_map() > 0, golden_map() > 0) and len(found) == 4
    with pytest.raises(CallError, match="no oracle"):
        method.oracle(outputs, [truth], "sizes")


def test_it_learns_to_separate_touching_squares():
    """Two pairs of touching squares, all alike: with coordinates the network can tell them apart."""
    label_map = np.zeros(SIZE, np.uint16)
    for number, (y, x) in enumerate([(4, 4), (4, 14), (18, 26), (18, 36)], start=1):
        label_map[y : y + 10, x : x + 10] = number
    truth = Instances.from_label_map(label_map)
    images = torch.from_numpy((label_map > 0).astype(np.float32))[None, None]
    images[0, 0, :, 13] *= 0.5
    images[0, 0, :, 35] *= 0.5
    method = made(coordinates=0.3)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        sum(method.loss(images, [truth]).values()).backward()
        optimizer.step()
    (found,) = method.predict(images)
    overlaps = [max((a & b).sum() / (a | b).sum() for b in found.dense()) for a in truth.dense()]
    assert min(overlaps) > 0.8


def test_pictures_of_the_inside_have_the_size_of_the_image():
    for dimensions in (1, 8):
        method, truth = made(dimensions=dimensions), Instances.from_label_map(golden_map())[:3]
        outputs = method.ideal([truth], [FRAME])
        (pictures,) = method.inside(outputs, [FRAME])
        assert set(pictures) == {"foreground", "embeddings", "feature space"}
        assert all(picture.shape == (*SIZE, 3) for picture in pictures.values())
        # Three objects are three points of three colors.
        space = pictures["feature space"].reshape(-1, 3)
        assert len(np.unique(space[space.any(1)], axis=0)) == 3
        (nothing,) = method.inside(method.ideal([truth[:0]], [FRAME]), [FRAME])
        assert not nothing["embeddings"].any()


def test_pixels_are_told_against_objects():
    method, truth = made(), Instances.from_label_map(golden_map())
    embeddings = torch.zeros(1, 8, *SIZE)
    embeddings[0, 0] = torch.from_numpy(golden_map().astype(np.float32) ** 2)
    relation = method.relations(outputs_of(embeddings), [truth])["pixels against objects"]
    np.testing.assert_allclose(relation.x, [3, 3, 5, 7], rtol=1e-5)
    apart = method.relations(outputs_of(embeddings), [truth.replace(labels=[0, 0, 1, 1])])["pixels against objects"]
    np.testing.assert_allclose(apart.x, [3, 3, 7, 7], rtol=1e-5)
    np.testing.assert_allclose(relation.y, 0, atol=1e-5)
    assert len(method.relations(outputs_of(embeddings), [truth[:1]])["pixels against objects"].x) == 0


def test_the_paper_networks_have_the_papers_rate():
    assert Discriminative(2, network="erfnet").recipe == PAPER
    assert PAPER.optimizer == "adam" and PAPER.stages[0].lr == 1e-4
    assert made().recipe.average > 0
