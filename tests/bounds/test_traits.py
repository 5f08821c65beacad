import numpy as np

from apiece.bounds.traits import TRAITS, Traits, common_share, percent
from apiece.instances import Instances

NAMES = [trait.name for trait in TRAITS]


def named(truth):
    """For each object the names of its traits."""
    return [{name for name, value in zip(NAMES, row, strict=True) if value == 1} for row in Traits.of(truth).has]


def test_objects_are_given_the_traits_that_they_have():
    stack = np.zeros((7, 60, 600), bool)
    stack[0, 2:12, 2:22] = True  # plain
    stack[1, 2:4, 30:32] = True  # small
    stack[2, 20:22, 300:578] = True  # long and thin
    stack[3, 30:50, 2:12] = stack[3, 30:50, 20:30] = True  # two parts: no line leads across
    stack[4, 30:50, 40:60] = True
    stack[4, 35:45, 45:55] = False  # a ring
    stack[5, 30:50, 100:120] = True
    stack[6, 31:50, 100:120] = True  # of another class than the one before
    found = named(Instances.from_dense(stack, np.array([0, 0, 0, 0, 0, 0, 1])))
    assert found[:3] == [set(), {"small"}, {"thin", "long"}]
    assert found[3] == {"parts", "bays"} and found[4] == {"hollow", "bays"}
    assert found[5] == found[6] == {"shares_center", "near_center", "overlaps"}
    assert "shares_box" in named(Instances.from_dense(stack[5:]))[0]


def test_common_share_is_that_of_pixels_on_which_others_lie():
    stack = np.zeros((3, 10, 10), bool)
    stack[0, :4, :5], stack[1, 3:6, :5], stack[2, 8:, 8:] = True, True, True
    assert np.allclose(common_share(Instances.from_dense(stack)), [0.25, 1 / 3, 0])


def test_of_many_objects_only_some_shapes_are_measured(monkeypatch):
    monkeypatch.setattr("apiece.bounds.traits.MEASURED", 2)
    label_map = np.zeros((4, 40), np.uint16)
    for number in range(5):
        label_map[1:3, 8 * number : 8 * number + 3] = number + 1
    traits = Traits.of(Instances.from_label_map(label_map))
    assert np.isnan(traits.convexity).tolist() == [False, True, True, True, False]
    assert traits.shares()["bays"] == 0 and traits.shares()["small"] == 1


def table(small, box, diameters=None):
    has = np.zeros((len(small), len(TRAITS)))
    has[:, NAMES.index("small")], has[:, NAMES.index("shares_box")] = small, box
    return Traits(has, np.full(len(small), 10.0) if diameters is None else diameters, np.ones(len(small)))


def test_a_trait_explains_what_is_lost_more_often_with_it():
    box, lost = np.arange(100) < 10, np.arange(100) < 8
    words = table(np.arange(100) % 2 == 0, box).explained(lost)
    assert words == "100 % of these share a box with another (of all 10 %)"


def test_a_frequent_trait_explains_what_is_lost_only_with_it():
    box, lost = np.arange(100) < 84, np.arange(100) < 40
    assert "share a box with another (of all 84 %)" in table(np.zeros(100), box).explained(lost)


def test_a_trait_of_all_objects_is_said_to_be_theirs():
    assert (
        table(np.zeros(10), np.ones(10)).explained(np.arange(10) < 5)
        == "nearly all objects here share a box with another"
    )


def test_lost_objects_that_are_smaller_are_said_to_be():
    sizes = np.where(np.arange(10) < 3, 4.0, 20.0)
    assert table(np.zeros(10), np.zeros(10), sizes).explained(sizes < 5) == "their median diameter is 4 px (of all 20)"


def test_without_losses_nothing_is_to_be_explained():
    assert table(np.ones(3), np.ones(3)).explained(np.zeros(3, bool)) == ""


def test_nothing_is_said_of_no_objects():
    none = Traits.together([])
    assert none.sentences() == [] and set(none.shares().values()) == {None}


def test_a_share_is_never_rounded_to_all():
    assert [percent(share) for share in (0, 0.0123, 0.5, 0.9999, 1.0)] == ["0 %", "1.2 %", "50 %", "100.0 %", "100 %"]
