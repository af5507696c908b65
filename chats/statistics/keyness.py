"""Words that set a person apart from everybody else in the chat.

Log-odds with an informative Dirichlet prior, as z-scores: Monroe, Colaresi and
Quinn, Fightin' Words (Political Analysis 16:4, 2008), equations 15, 16 and 22.
The prior is the whole chat's usage, worth a part of the chat: it grows with what there is to know.
"""

from __future__ import annotations

import numpy as np

from chats.statistics.sparse_counts import Counted, Ints

LEAST_USES = 5
#: Two-sided at five percent: what chance alone brings seldom.
LEAST_SCORE = 1.96
PRIOR_SHARE = 0.1


def scores(person: Counted, everyone: Ints) -> tuple[Ints, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Words that a person uses more than the others do, by number, and how surely.

    `person` holds the person's words; `everyone` the uses of each word by all, by number.
    """
    n_person, n_all = int(person.counts.sum()), int(everyone.sum())
    enough = person.counts >= LEAST_USES
    words, own = person.things[enough], person.counts[enough].astype(np.float64)
    if n_person == n_all or not len(words):
        return words[:0], own[:0]
    of_all = everyone[words].astype(np.float64)
    prior, all_priors = PRIOR_SHARE * of_all, PRIOR_SHARE * n_all
    mine, theirs = own + prior, of_all - own + prior
    mine_not = np.maximum(n_person + all_priors - mine, 0.5)
    theirs_not = np.maximum(n_all - n_person + all_priors - theirs, 0.5)
    score = (np.log(mine / mine_not) - np.log(theirs / theirs_not)) / np.sqrt(1 / mine + 1 / theirs)
    sure = score >= LEAST_SCORE
    return words[sure], score[sure]
