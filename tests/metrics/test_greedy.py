import numpy as np

from apiece.metrics.greedy import greedy


def one_after_another(lists, shared):
    """Each in turn takes the first free one on its list."""
    owned, chosen = set(), []
    for wishes in lists:
        free = [truth for truth in wishes if truth not in owned or shared[truth]]
        chosen.append(free[0] if free else -1)
        owned.update(free[:1])
    return chosen


def test_all_asking_at_once_end_as_if_they_had_asked_one_after_another():
    generator = np.random.default_rng(0)
    for _ in range(200):
        turns, truths = generator.integers(1, 12), generator.integers(1, 8)
        lists = [generator.permutation(truths)[: generator.integers(0, truths + 1)].tolist() for _ in range(turns)]
        shared = generator.random(truths) < 0.2
        turn = np.repeat(np.arange(turns), [len(wishes) for wishes in lists])
        truth = np.array([one for wishes in lists for one in wishes], int)
        taken = greedy(turn, truth, shared, int(turns))
        assert [int(truth[pair]) if pair >= 0 else -1 for pair in taken] == one_after_another(lists, shared)
        assert all(turn[pair] == number for number, pair in enumerate(taken) if pair >= 0)
