"""Spatial embeddings: loss against the authors' program, every ablation, oracles, and what the paper's figures show."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apiece.instances import Instances
from apiece.methods.method import Frame
from apiece.methods.spatial_embedding import PAPER, SpatialEmbedding
from apiece.parts.normalization import Normalization

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "spatial_embedding_loss.json").read_text())
SIZE = (32, 48)


def golden_truth(ignored_corner: bool) -> Instances:
    """The objects that the golden file's description names."""
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    label_map = np.zeros(SIZE, np.uint16)
    label_map[(row >= 2) & (row <= 13) & (column >= 3) & (column <= 16)] = 1
    label_map[(row - 22) ** 2 + (column - 12) ** 2 <= 49] = 2
    label_map[(row >= 6) & (row <= 27) & (column >= 30) & (column <= 43) & ((row + column) % 7 != 0)] = 3
    label_map[1, 46] = 4
    if not ignored_corner:
        return Instances.from_label_map(label_map)
    void = np.zeros(SIZE, bool)
    void[28:, 40:] = True
    stack = np.concatenate([[label_map == number for number in (1, 2, 3, 4)], [void & (label_map == 0)]])
    return Instances.from_dense(stack, labels=[0, 0, 0, 0, -1], ignore=[False] * 4 + [True])


def golden_outputs(n_sigma: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    raw = np.random.default_rng(7).standard_normal((3 + n_sigma, *SIZE))
    scale = np.array([0.02, 0.02, *[0.05] * n_sigma, 1.0])[:, None, None]
    shift = np.array([0, 0, *[0.9] * n_sigma, 0.0])[:, None, None]
    prediction = torch.from_numpy((raw * scale + shift).astype(np.float32)).double().requires_grad_()
    maps = prediction[None]
    return prediction, {"offsets": maps[:, :2].tanh(), "sigma": maps[:, 2:-1], "seeds": maps[:, -1:].sigmoid()}


def made(**options) -> SpatialEmbedding:
    torch.manual_seed(0)
    return SpatialEmbedding(**{"num_classes": 1, "channels": 1, "network": "tiny", **options})


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda case: f"{case['to_center']}-{case['n_sigma']}-{case['ignored_corner']}"
)
def test_the_loss_equals_the_authors_program(case):
    method = made(
        sigma={1: "scalar", 2: "elliptical"}[case["n_sigma"]],
        center="centroid" if case["to_center"] else "learnable",
        legacy_coordinates=True,
    )
    prediction, outputs = golden_outputs(case["n_sigma"])
    losses = method.loss_of(outputs, [golden_truth(case["ignored_corner"])])
    assert losses["seed"].item() == pytest.approx(case["seed"], abs=1e-9)
    assert losses["smoothness"].item() == pytest.approx(10 * case["variance"], abs=1e-9)
    if case["ignored_corner"]:
        # The authors count ignored pixels against every object in this term; here they are in no term.
        assert losses["instance"].item() < case["instance"]
        return
    assert losses["instance"].item() == pytest.approx(case["instance"], abs=1e-9)
    sum(losses.values()).backward()
    norms = prediction.grad.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.tensor(case["gradient_norms"], dtype=torch.float64), rtol=1e-7, atol=1e-12)


def test_ignored_pixels_change_no_term():
    method, truth = made(coordinate_step=1 / 32), golden_truth(ignored_corner=True)
    _, outputs = golden_outputs(1)
    changed = {name: map_.detach().clone() for name, map_ in outputs.items()}
    for map_ in changed.values():
        map_[:, :, 28:, 44:] = 0.3
    before, after = method.loss_of(outputs, [truth]), method.loss_of(changed, [truth])
    for name in before:
        torch.testing.assert_close(before[name], after[name])


def test_a_crowd_of_one_class_is_background_of_another():
    label_map = np.zeros((16, 16), np.uint16)
    label_map[4:12, 4:12] = 1
    crowd = Instances.from_label_map(label_map, labels=[1]).replace(ignore=[True])
    method = made(num_classes=2)
    seeds = torch.full((1, 2, 16, 16), 0.5)
    outputs = {"offsets": torch.zeros(1, 2, 16, 16), "sigma": torch.ones(1, 1, 16, 16), "seeds": seeds}
    # Class 0 has 256 pixels of background, class 1 those outside of the crowd.
    assert method.loss_of(outputs, [crowd])["seed"].item() == pytest.approx(0.25 * (256 + 256 - 64) / 256)


@pytest.mark.parametrize(
    "options",
    [
        {"sigma": "scalar"},
        {"sigma": "elliptical", "center": "learnable"},
        {"sigma": "fixed", "margin": 3.0},
        {"objective": "hinge", "margin": 3.0},
        {"objective": "regression", "margin": 3.0},
    ],
    ids=str,
)
def test_every_ablation_learns_and_decodes_its_ideal(options):
    method = made(coordinate_step=1 / 32, min_size=1, **options)
    truth = golden_truth(ignored_corner=False)
    frame = Frame(SIZE, SIZE)
    (found,) = method.decode(method.ideal([truth], [frame]), [frame])
    # The one-pixel object is lost: the pixel that starts a group does not count as newly grouped.
    assert len(found) == 3
    seen = truth.label_map() > 0
    seen[1, 46] = found.label_map()[1, 46] > 0
    assert np.array_equal(found.label_map() > 0, seen)
    images = torch.from_numpy((truth.label_map() > 0).astype(np.float32))[None, None]
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    course = []
    for _ in range(25):
        optimizer.zero_grad()
        total = sum(method.loss(images, [truth]).values())
        total.backward()
        optimizer.step()
        course.append(total.item())
    assert course[-1] < 0.8 * course[0]


def test_offsets_begin_at_zero_and_the_margin_as_asked():
    for network in ("tiny", "unet", "erfnet"):
        method = SpatialEmbedding(1, 1, network=network, initial_margin=7.0, coordinate_step=1 / 64).eval()
        outputs = method.infer(torch.rand(1, 1, 32, 32), [Frame((32, 32), (32, 32))])
        assert outputs["offsets"].abs().max() == 0
        margin = np.sqrt(np.log(2) / np.exp(10 * outputs["sigma"].numpy())) * 64
        np.testing.assert_allclose(margin, 7.0, rtol=1e-4)


def test_ideal_shows_what_the_representation_loses():
    """Two rings of one center fall together; one center apart from another's does not."""
    row, column = np.mgrid[:33, :33]
    distance = np.hypot(row - 16, column - 16)
    rings = np.where(distance < 5, 1, np.where((distance > 8) & (distance < 13), 2, 0)).astype(np.uint16)
    truth, frame = Instances.from_label_map(rings), Frame((33, 33), (33, 33))
    centroid, learnable = (
        made(coordinate_step=1 / 32, min_size=1),
        made(coordinate_step=1 / 32, min_size=1, center="learnable"),
    )
    assert len(centroid.decode(centroid.ideal([truth], [frame]), [frame])[0]) == 1
    assert len(learnable.decode(learnable.ideal([truth], [frame]), [frame])[0]) == 2


def test_known_centers_find_what_the_seeds_miss():
    method, truth = made(coordinate_step=1 / 32, min_size=1), golden_truth(ignored_corner=False)
    frame = Frame(SIZE, SIZE)
    outputs = method.ideal([truth], [frame])
    outputs["seeds"][:] = 0
    assert len(method.decode(outputs, [frame])[0]) == 0
    (found,) = method.decode(method.oracle(outputs, [truth], "centers"), [frame])
    assert len(found) == 4


def test_known_classes_move_seeds_to_the_true_class():
    method = made(num_classes=2, coordinate_step=1 / 32, min_size=1)
    truth, frame = golden_truth(ignored_corner=False).replace(labels=[0, 1, 0, 1]), Frame(SIZE, SIZE)
    outputs = method.ideal([truth], [frame])
    outputs["seeds"] = outputs["seeds"].flip(1)
    (wrong,) = method.decode(outputs, [frame])
    (right,) = method.decode(method.oracle(outputs, [truth], "classes"), [frame])
    assert sorted(right.labels.tolist()) == [0, 0, 1]
    areas = {label: sorted(right.mask_areas[right.labels == label].tolist()) for label in (0, 1)}
    swapped = {label: sorted(wrong.mask_areas[wrong.labels == 1 - label].tolist()) for label in (0, 1)}
    assert areas == swapped


def test_overlapping_objects_of_two_classes_are_both_found():
    method, frame = made(num_classes=2, coordinate_step=1 / 32, min_size=1), Frame((32, 32), (32, 32))
    outputs = method.ideal([Instances.empty((32, 32))], [frame])
    outputs["seeds"][0, 0, 4:20, 4:20] = 0.9
    outputs["seeds"][0, 1, 4:20, 4:20] = 0.95
    outputs["offsets"][:] = 12 / 32 - method.coordinates((32, 32), torch.device("cpu"))
    (found,) = method.decode(outputs, [frame])
    assert found.labels.tolist() == [0, 1]
    assert found.mask_areas.tolist() == [256, 256]
    np.testing.assert_allclose(found.scores, [0.9, 0.95], rtol=1e-6)


def test_the_paper_recipe_has_its_two_stages():
    recipe = SpatialEmbedding(8, network="erfnet").recipe
    assert recipe == PAPER
    first, second = recipe.stages
    assert (first.crop, first.batch_size, first.lr) == (500, 12, 5e-4)
    assert (second.crop, second.batch_size, second.lr, second.freeze_batch_norm) == (1024, 2, 5e-5, True)


def test_pictures_of_the_inside_have_the_size_of_the_image():
    method, truth, frame = made(coordinate_step=1 / 32), golden_truth(ignored_corner=False), Frame(SIZE, SIZE)
    (pictures,) = method.inside(method.ideal([truth], [frame]), [frame])
    assert {"offsets", "seeds", "margin", "displaced"} <= set(pictures)
    assert all(picture.shape == (*SIZE, 3) for picture in pictures.values())


def test_the_margin_is_told_for_each_true_object():
    method, truth, frame = made(coordinate_step=1 / 32), golden_truth(ignored_corner=False), Frame(SIZE, SIZE)
    relation = method.relations(method.ideal([truth], [frame]), [truth])["margin against size"]
    assert relation.x.tolist() == truth.mask_areas.tolist()
    np.testing.assert_allclose(relation.y, 0.5, rtol=1e-4)


def test_legacy_coordinates_end_where_the_authors_do():
    with pytest.raises(ValueError, match="1024 x 2048"):
        made(legacy_coordinates=True).coordinates((1025, 8), torch.device("cpu"))


def test_percentile_normalization_does_not_depend_on_the_scale_of_values():
    image = np.random.default_rng(0).integers(0, 200, (20, 30, 1)).astype(np.uint8)
    same = Normalization()(image), Normalization()(image.astype(np.uint16) * 257), Normalization()(image / 255)
    np.testing.assert_allclose(same[0], same[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(same[0], same[2], rtol=1e-4, atol=1e-5)


def test_sixteen_bit_detail_survives_normalization():
    """A 12-bit camera in a 16-bit file: 3000 levels stay 3000 levels."""
    image = np.arange(3000, dtype=np.uint16).reshape(50, 60, 1)
    assert len(np.unique(Normalization(power=1)(image))) > 2900
