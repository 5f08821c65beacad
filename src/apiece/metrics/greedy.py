"""Found objects choose true ones in the order of their scores: COCO's matching, for a whole data set at once."""

import numpy as np
from jaxtyping import Bool, Integer
from numpy import ndarray


def greedy(
    turn: Integer[ndarray, " P"], truth: Integer[ndarray, " P"], shared: Bool[ndarray, " M"], turns: int
) -> Integer[ndarray, " turns"]:
    """Who gets whom if each found object, when its turn comes, takes the first free true object on its list.

    Instead of one turn after another all ask at once: who has a higher turn number than another who asks for the same
    object is turned away, also later on, and asks the next on its list. What is left standing is the same, because the
    true objects all prefer earlier turns (deferred acceptance; Gale and Shapley 1962), after few rounds whatever the
    number of objects.

    Args:
        turn: of each pair, when its found object has its turn; ascending, and within a turn the pairs in the order of
            preference.
        truth: the true object of each pair.
        shared: true objects that any number may take (crowds).
        turns: how many turns there are.

    Returns:
        for each turn the place of its pair in the list, or -1.
    """
    edges = np.searchsorted(turn, np.arange(turns + 1))
    asked, last = edges[:-1].copy(), edges[1:]
    holder = np.full(len(shared), turns)
    taken = np.full(turns, -1)
    asking = np.flatnonzero(asked < last)
    while len(asking):
        pair = asked[asking]
        wanted = truth[pair]
        free = shared[wanted]
        taken[asking[free]] = pair[free]
        asking, pair, wanted = asking[~free], pair[~free], wanted[~free]
        before = holder[wanted]
        np.minimum.at(holder, wanted, asking)
        won = holder[wanted] == asking
        taken[asking[won]] = pair[won]
        ousted = before[won]
        refused = np.concatenate([asking[~won], ousted[ousted < turns]])
        taken[refused] = -1
        asked[refused] += 1
        asking = refused[asked[refused] < last[refused]]
    return taken
