"""Evaluation: a model over a data set gives the figures that scoring its findings gives."""

import numpy as np
import pytest

import apiece
from apiece.data.generated import discs
from apiece.errors import CallError, InputError
from apiece.evaluation import CHOSEN_BY, judged, relations, scored
from apiece.prediction import find

DATA = discs(4, (48, 48), seed=11, objects=(2, 4))


@pytest.fixture
def model(model_file):
    return apiece.load(model_file)


def test_evaluating_is_scoring_what_is_found(model):
    found = [find(model, sample.image) for sample in DATA]
    metrics = ("matching", "coco", "leaves")
    by_hand = apiece.score(found, [sample.truth for sample in DATA], metrics, threshold=model.card.threshold)
    report = apiece.evaluate(model, DATA, metrics=metrics, quiet=True)
    for figure in ("tp", "fp", "fn", "accuracy"):
        assert report["matching"]["0.50"][figure] == by_hand["matching"]["0.50"][figure]
    assert report["coco"]["segm"]["AP"] == pytest.approx(by_hand["coco"]["segm"]["AP"], nan_ok=True)
    assert report["leaves"] == by_hand["leaves"]
    assert [row["name"] for row in report.rows] == list(DATA.names)


def test_model_and_data_may_be_paths(model_file, disc_folder):
    report = apiece.evaluate(str(model_file), disc_folder, quiet=True)
    assert report["images"] == 6


def test_the_threshold_counts_for_everything_but_ap(model):
    low, high = (apiece.evaluate(model, DATA, threshold=threshold, quiet=True) for threshold in (0.0, 1.01))
    assert low["matching"]["0.50"]["n_pred"] > 0 == high["matching"]["0.50"]["n_pred"]
    assert low["coco"]["segm"]["AP"] == high["coco"]["segm"]["AP"]


def test_the_operating_point_is_where_the_accuracy_is_best(model):
    figures = judged(model, DATA)
    assert next(iter(figures)) == CHOSEN_BY
    scorer = scored(model, DATA, ("matching",), quiet=True)
    best = scorer.report(figures["threshold"])["matching"]["0.50"]["accuracy"]
    assert figures["accuracy@0.50"] == best
    scores = np.concatenate([find(model, sample.image).scores for sample in DATA])
    for threshold in np.quantile(scores, np.linspace(0, 1, 9)):
        assert scorer.report(float(threshold))["matching"]["0.50"]["accuracy"] <= best + 1e-12


def test_classes_are_matched_by_name_whatever_their_order():
    model = apiece.SpatialEmbedding(2, channels=1, network="tiny", seed_threshold=0.0, foreground_threshold=0.0)
    model.card.classes, model.card.threshold = ("fig", "disc"), 0.0
    report = apiece.evaluate(model, DATA, metrics=("counts", "matching"), quiet=True)
    assert report["matching"]["0.50"]["n_true"] == sum(len(sample.truth) for sample in DATA)
    found = [find(model, sample.image) for sample in DATA]
    truth = [sample.truth.replace(labels=np.ones(len(sample.truth))) for sample in DATA]
    by_hand = apiece.score(found, truth, ["matching"], classes=("fig", "disc"), threshold=0.0)
    assert report["matching"]["0.50"]["tp"] == by_hand["matching"]["0.50"]["tp"]


def test_classes_that_the_model_does_not_know_are_named():
    model = apiece.SpatialEmbedding(2, channels=1, network="tiny")
    model.card.classes = ("date", "fig")
    with pytest.raises(InputError, match=r"classes that the model does not know \(disc\): it knows date, fig"):
        apiece.evaluate(model, DATA, quiet=True)


def test_with_one_class_on_either_side_its_name_does_not_matter(model):
    assert DATA.classes == ("disc",)
    expected = apiece.evaluate(model, DATA, quiet=True)["matching"]["0.50"]["tp"]
    model.card.classes = ("nucleus",)
    assert apiece.evaluate(model, DATA, quiet=True)["matching"]["0.50"]["tp"] == expected


def test_other_channels_are_an_error():
    model = apiece.SpatialEmbedding(1, channels=5, network="tiny")
    color = apiece.crossing_sticks(1, (48, 48))
    with pytest.raises(InputError, match="the image has 3 channels, but the model was trained on 5"):
        apiece.evaluate(model, color, quiet=True)


def test_an_unknown_metric_or_oracle_is_an_error(model):
    with pytest.raises(CallError, match="there is no metric 'beauty'"):
        apiece.evaluate(model, DATA, metrics=("beauty",), quiet=True)
    with pytest.raises(CallError, match="oracle"):
        scored(model, DATA, ("matching",), oracle="everything", quiet=True)


@pytest.mark.parametrize("oracle", ["centers", "classes"])
def test_an_oracle_is_never_worth_less_than_nothing(model, oracle):
    report = apiece.evaluate(model, DATA, oracle=oracle, quiet=True)
    assert 0 <= report["matching"]["0.50"]["accuracy"] <= 1


def test_relations_have_a_point_for_each_object(model):
    found = relations(model, DATA)
    assert found
    for relation in found.values():
        assert len(relation.x) == len(relation.y) <= sum(len(sample.truth) for sample in DATA)
        assert relation.x_label and relation.y_label
