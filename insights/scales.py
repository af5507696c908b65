"""Scales of ratings, and the kinds of signals that place a counted figure on them.

A scale runs from the best member to the worst. `cuts[i]` separates member i from member i + 1, and a figure that
equals a cut belongs to the better member. With rising cuts small figures are better, with falling cuts large ones;
a single cut has no direction, so the signal's kind decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: A rating that is possible on every scale.
NOT_ENOUGH_DATA = "not_enough_data"


@dataclass(frozen=True, slots=True)
class SignalKind:
    """The keys of a signal of one kind, and how its figure relates to the scale.

    `ordered`: the members of the scale rank from best to worst. `grouped`: the figure compares the section's groups.
    `rising`: with a single cut, small figures are better. `of_episodes`: it needs episodes, which only a model finds.
    """

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    ordered: bool = True
    grouped: bool = False
    rising: bool = False
    of_episodes: bool = False


_CUTS = frozenset({"cuts"})
_FACT_CUTS = frozenset({"fact", "cuts"})
_LEAST = frozenset({"least"})

SIGNAL_KINDS: Mapping[str, SignalKind] = {
    # How far the largest share of a fact (or of the mentions) exceeds an even split: 0 even, 1 a single person.
    "share_gap": SignalKind(_CUTS, frozenset({"fact", "least"}), rising=True),
    # A fact's value, per person or for the whole chat.
    "threshold": SignalKind(_FACT_CUTS),
    # The largest of the people's values of a fact, divided by the smallest.
    "spread": SignalKind(_FACT_CUTS, rising=True),
    # The highest of the people's mentions per hundred messages, divided by the lowest.
    "rate_gap": SignalKind(_CUTS, _LEAST, rising=True),
    # Mentions per hundred messages.
    "per_hundred": SignalKind(_CUTS, _LEAST),
    # The number of messages that contain a term.
    "presence": SignalKind(_CUTS),
    # The leading group: its key is the rating.
    "majority": SignalKind(optional=frozenset({"rank", "least"}), ordered=False, grouped=True),
    # The leading group's share of all groups' mentions.
    "lead": SignalKind(_CUTS, _LEAST, grouped=True),
    # Mentions of the group `over` for each mention of the group `under`.
    "ratio": SignalKind(frozenset({"over", "under", "cuts"}), _LEAST, grouped=True),
    # The share of the group `over` in the episodes of `over` and `under` together, for the chat and for each person.
    "share": SignalKind(frozenset({"over", "under", "cuts"}), _LEAST, grouped=True, of_episodes=True),
    # The share of the groups with at least `least` mentions.
    "breadth": SignalKind(_CUTS, _LEAST, grouped=True),
    # The share of the mentioned groups that everybody mentions.
    "coverage": SignalKind(_CUTS, _LEAST, grouped=True),
    # Whether people's leading groups are the same, each other's second, or different.
    "match": SignalKind(optional=_LEAST, grouped=True),
    # The mean strength of the episodes, from 1 to 3.
    "strength": SignalKind(_CUTS, _LEAST, rising=True, of_episodes=True),
    # The number of recurring words (insights/recurring_words.py).
    "recurring_words": SignalKind(_CUTS),
}


def rate_on_scale(value: float, *, scale: Sequence[str], cuts: Sequence[float], rising: bool) -> str:
    """Return the member of the scale whose range between the cuts contains the value."""
    return scale[sum(value > cut if rising else value < cut for cut in cuts)]
