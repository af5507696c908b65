"""Keyness: words that a person uses significantly more often than everybody else in the chat.

The score is the log-odds ratio with an informative Dirichlet prior, as a z-score: Monroe, Colaresi and Quinn, Fightin'
Words (Political Analysis 16:4, 2008), equations 15, 16 and 22. The prior is the usage of the whole chat, scaled to a
tenth, so its weight grows with the chat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chats.statistics.sparse_counts import IntArray, SparseCounts

MIN_USES = 5
#: The two-sided 5 % level of the normal distribution.
MIN_SCORE = 1.96
PRIOR_SHARE = 0.1


def score_words(own: SparseCounts, everyone: IntArray) -> tuple[IntArray, NDArray[np.float64]]:
    """Return the ids of a person's significant words and their scores in standard deviations.

    `own` counts the person's words; `everyone` holds the uses of each word by all people, by id. Returns nothing for a
    person who wrote all words of the chat.
    """
    n_own, n_everyone = int(own.counts.sum()), int(everyone.sum())
    own = own.where(own.counts >= MIN_USES)
    words, uses = own.items, own.counts.astype(np.float64)
    if n_own == n_everyone or not len(words):
        return words[:0], uses[:0]
    uses_by_everyone = everyone[words].astype(np.float64)
    prior, prior_sum = PRIOR_SHARE * uses_by_everyone, PRIOR_SHARE * n_everyone
    # The paper's y + alpha of the person and of all others; the remainder is that of every other word.
    own_weight, others_weight = uses + prior, uses_by_everyone - uses + prior
    # The minimum of half a use avoids a division by zero when a person uses a single word.
    own_remainder = np.maximum(n_own + prior_sum - own_weight, 0.5)
    others_remainder = np.maximum(n_everyone - n_own + prior_sum - others_weight, 0.5)
    log_odds_ratio = np.log(own_weight / own_remainder) - np.log(others_weight / others_remainder)
    scores = log_odds_ratio / np.sqrt(1 / own_weight + 1 / others_weight)
    significant = scores >= MIN_SCORE
    return words[significant], scores[significant]
