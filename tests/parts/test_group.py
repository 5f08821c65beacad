"""Grouping by center against a plain sequential version and the authors' label maps."""

from pathlib import Path

import numpy as np
import pytest

from apiece.parts.group import group_by_center

GOLDEN = Path(__file__).parent.parent / "golden" / "spatial_embedding_clustering.npz"


def activated(raw, coordinates, **options):
    seeds = (1 / (1 + np.exp(-raw[-1].astype(np.float64)))).astype(np.float32)
    return dict(
        offsets=np.tanh(raw[:2]), log_precision=raw[2:-1], seeds=seeds, coordinates=coordinates, scale=10.0, **options
    )


def sequential(offsets, log_precision, seeds, coordinates, scale=1.0, *, threshold=0.9, size=128, share=0.5):
    """The method as it is told: every step looks at every foreground pixel. Returns labels, scores and full masks."""
    chosen = seeds > 0.5
    embeddings = (offsets + np.stack(np.broadcast_arrays(coordinates[0][None], coordinates[1][:, None])))[:, chosen]
    precision, seed = np.exp(np.float32(scale) * log_precision[:, chosen]), seeds[chosen]
    left, labels, scores, masks = np.ones(len(seed), bool), np.zeros(len(seed), int), [], []
    while left.sum() > size:
        start = np.where(left, seed, -1).argmax()
        if seed[start] < threshold:
            break
        left[start] = False
        distance = ((embeddings - embeddings[:, start, None]) ** 2 * precision[:, start, None]).sum(0)
        proposal = np.exp(-distance) > 0.5
        if proposal.sum() > size and left[proposal].mean() > share:
            scores.append(seed[start])
            labels[proposal] = len(scores)
            masks.append(proposal)
        left &= ~proposal
    label_map = np.zeros(seeds.shape, int)
    label_map[chosen] = labels
    return label_map, np.array(scores), masks


@pytest.mark.parametrize("sigmas", [1, 2])
@pytest.mark.parametrize("threshold", [50, 90])
def test_objects_are_the_authors(discs, sigmas, threshold):
    golden = np.load(GOLDEN)
    name = f"sigmas{sigmas}_threshold{threshold}"
    inputs = activated(*discs(sigmas))
    groups = group_by_center(**inputs, seed_threshold=threshold / 100, overlap="last", members=True)
    # A pixel may flip where another machine rounds its exponential otherwise.
    assert (groups.labels != golden[f"{name}_labels"]).sum() <= 2
    assert groups.scores == pytest.approx(golden[f"{name}_scores"], abs=1e-6)
    assert [len(pixels) for pixels in groups.members] == pytest.approx(golden[f"{name}_sizes"].tolist(), abs=1)


@pytest.mark.parametrize("seed", range(4))
def test_objects_are_those_of_the_plain_version(discs, seed):
    inputs = activated(*discs(2, seed, height=90, width=130))
    labels, scores, _ = sequential(**inputs)
    groups = group_by_center(**inputs, overlap="last")
    assert len(scores) >= 4
    assert np.array_equal(groups.labels, labels)
    assert np.array_equal(groups.scores, scores)


def test_the_papers_rule_clusters_until_all_seeds_are_masked(discs):
    inputs = activated(*discs(1, height=90, width=130))
    labels, scores, _ = sequential(**inputs, threshold=0.5, size=0, share=-1)
    groups = group_by_center(**inputs, seed_threshold=0.5, min_size=0, min_fresh=0, overlap="last")
    assert np.array_equal(groups.labels, labels)
    assert np.array_equal(groups.scores, scores)
    assert ((groups.labels > 0) == (inputs["seeds"] > 0.5)).all()


def test_of_equal_seeds_the_first_in_raster_order_starts(discs):
    inputs = activated(*discs(1, height=90, width=130))
    inputs["seeds"] = np.where(inputs["seeds"] > 0.5, 1, 0).astype(np.float32)
    labels, _, _ = sequential(**inputs)
    assert np.array_equal(group_by_center(**inputs, overlap="last").labels, labels)


def test_many_seeds_are_sorted_in_ranges_and_bands_without_a_difference(discs, monkeypatch):
    inputs = activated(*discs(1, height=90, width=130))
    inputs["seeds"] = np.round(inputs["seeds"] * 20).astype(np.float32) / 20
    expected = group_by_center(**inputs, min_size=10)
    for name, value in {"SEEDS_AT_ONCE": 8, "STARTS_AT_ONCE": 3, "PIXELS_PER_BAND": 1000}.items():
        monkeypatch.setattr(f"apiece.parts.group.{name}", value)
    monkeypatch.setattr("apiece.parts.bins.PIXELS_AT_ONCE", 500)
    groups = group_by_center(**inputs, min_size=10)
    assert np.array_equal(groups.labels, expected.labels)
    assert np.array_equal(groups.scores, expected.scores)


def test_the_first_object_keeps_its_pixels_by_default(discs):
    inputs = activated(*discs(2))
    groups = group_by_center(**inputs, members=True)
    owner = np.zeros(groups.labels.size, int)
    for number, pixels in reversed(list(enumerate(groups.members, start=1))):
        owner[pixels] = number
    assert sum(map(len, groups.members)) > np.count_nonzero(owner)
    assert np.array_equal(groups.labels.ravel(), owner)
    assert np.array_equal(groups.areas, np.bincount(owner)[1:])
    assert groups.areas.min() > 0


def test_centers_and_precisions_give_each_object_its_full_mask(discs):
    raw, coordinates = discs(2)
    inputs = activated(raw, coordinates)
    groups = group_by_center(**inputs, members=True)
    embeddings = inputs["offsets"] + np.stack(np.broadcast_arrays(coordinates[0][None], coordinates[1][:, None]))
    for center, precision, pixels in zip(groups.centers, groups.precisions, groups.members, strict=True):
        distance = ((embeddings - center[:, None, None]) ** 2 * precision[:, None, None]).sum(0)
        inside = (np.exp(-distance) > 0.5) & (inputs["seeds"] > 0.5)
        assert np.array_equal(np.flatnonzero(inside), pixels)


def test_a_score_may_be_the_mean_seed_of_the_mask(discs):
    inputs = activated(*discs(1))
    groups = group_by_center(**inputs, score="mean")
    means = [inputs["seeds"][groups.labels == number].mean() for number in range(1, len(groups.scores) + 1)]
    assert groups.scores == pytest.approx(means, rel=1e-5)


def one_pixel_objects(height, width):
    """Every pixel an object of its own."""
    shape = height, width
    return dict(
        offsets=np.zeros((2, *shape), np.float32),
        log_precision=np.zeros((1, *shape), np.float32),
        seeds=np.full(shape, 0.95, np.float32),
        coordinates=(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)),
        min_size=0,
        min_fresh=0,
    )


def test_labels_do_not_wrap():
    assert group_by_center(**one_pixel_objects(16, 17)).labels.max() == 272
    groups = group_by_center(**one_pixel_objects(16, 16), seed_threshold=0.9)
    assert groups.labels.dtype == np.uint16
    assert np.array_equal(groups.labels.ravel(), np.arange(1, 257))


@pytest.mark.slow
def test_more_objects_than_sixteen_bits_hold_get_wider_labels():
    groups = group_by_center(**one_pixel_objects(257, 257))
    assert groups.labels.dtype == np.int32
    assert np.array_equal(groups.labels.ravel(), np.arange(1, 257 * 257 + 1))


def test_nothing_above_the_foreground_gives_no_objects(discs):
    inputs = activated(*discs(2, height=20, width=30))
    inputs["seeds"] = np.zeros_like(inputs["seeds"])
    groups = group_by_center(**inputs, members=True)
    assert groups.labels.shape == (20, 30)
    assert groups.labels.max() == 0
    assert groups.scores.shape == (0,)
    assert groups.centers.shape == groups.precisions.shape == (0, 2)
    assert groups.members == []


@pytest.mark.parametrize("broken", ["offsets", "log_precision", "seeds"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_end_in_objects_or_none(discs, broken, value):
    inputs = activated(*discs(1, height=90, width=130))
    inputs[broken] = inputs[broken].copy()
    inputs[broken][..., ::3, ::2] = value
    groups = group_by_center(**inputs, min_size=10)
    assert groups.labels.max() == len(groups.scores)


def test_margins_larger_than_the_image_take_everything_at_once(discs):
    inputs = activated(*discs(1, height=90, width=130))
    inputs["log_precision"] = np.full_like(inputs["log_precision"], -5)
    groups = group_by_center(**inputs)
    assert np.array_equal(groups.labels, inputs["seeds"] > 0.5)


def test_half_precision_and_cut_out_maps_are_read_as_they_are(discs):
    raw, (x, y) = discs(1)
    inputs = activated(raw, (x[:130], y[:90]))
    for name in ("offsets", "log_precision", "seeds"):
        inputs[name] = inputs[name].astype(np.float16)[..., :90, :130]
    whole = {
        name: np.ascontiguousarray(inputs[name]).astype(np.float32) for name in ("offsets", "log_precision", "seeds")
    }
    assert np.array_equal(group_by_center(**inputs).labels, group_by_center(**{**inputs, **whole}).labels)


def test_embeddings_need_no_coordinates(discs):
    inputs = activated(*discs(1, height=90, width=130))
    embeddings = inputs["offsets"] + np.stack(
        np.broadcast_arrays(inputs["coordinates"][0][None], inputs["coordinates"][1][:, None])
    )
    groups = group_by_center(**{**inputs, "offsets": embeddings, "coordinates": None})
    assert np.array_equal(groups.labels, group_by_center(**inputs).labels)


def test_refined_objects_lie_around_the_means_of_what_they_took_before(discs):
    inputs = activated(*discs(2))
    x, y = inputs["coordinates"]
    embeddings = (inputs["offsets"] + np.stack(np.broadcast_arrays(x[None], y[:, None]))).reshape(2, -1)
    once = group_by_center(**inputs, members=True)
    twice = group_by_center(**inputs, members=True, refine=1)
    # The surest pixel starts the first object both times; later ones differ by what is clustered until then.
    taken = once.members[0]
    assert twice.centers[0] == pytest.approx(embeddings[:, taken].mean(1), rel=1e-5)
    log_precision = inputs["log_precision"].reshape(2, -1)[:, taken].mean(1)
    assert twice.precisions[0] == pytest.approx(np.exp(10 * log_precision), rel=1e-4)
    distance = ((embeddings - twice.centers[0][:, None]) ** 2 * twice.precisions[0][:, None]).sum(0)
    inside = (np.exp(-distance) > 0.5) & (inputs["seeds"].ravel() > 0.5)
    assert np.array_equal(twice.members[0], np.flatnonzero(inside))


def test_refined_objects_always_own_a_pixel(discs):
    inputs = activated(*discs(1, height=90, width=130))
    groups = group_by_center(**inputs, refine=2, seed_threshold=0.5, min_size=0, min_fresh=0, score="mean")
    assert groups.areas.min() > 0
    assert np.isfinite(groups.scores).all()
