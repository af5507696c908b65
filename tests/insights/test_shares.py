"""Ratings by the share of one group in the episodes of two, such as promises kept and broken."""

from __future__ import annotations

from insights.rating import SectionRating, rate_section
from insights.scales import NOT_ENOUGH_DATA
from tests.insights.test_model_engine import make_read_brief


def rate(key: str, *, name: str = "friendship_trust_loyalty", **episodes: list[int]) -> SectionRating:
    """Return the rating of a section for these episodes: by kind, the person who does it, once for each."""
    conversations = [
        (kind, [(person, f"That was {kind} number {number}."), (1 - person, "I saw it.")])
        for kind, people in episodes.items()
        for number, person in enumerate(people)
    ]
    brief = make_read_brief(name, conversations)
    return rate_section(brief, next(entry for entry in brief.sections if entry.section.key == key))


def test_who_keeps_every_promise_is_rated_too() -> None:
    rating = rate("reliability_patterns", promise_kept=[0, 0, 0, 0], promise_broken=[1, 1, 1])
    assert rating.people == {0: "highly_reliable", 1: "unreliable"}
    assert rate("promise_keeping", promise_kept=[0, 1, 0, 1]).rating == "mostly_kept"


def test_the_rating_follows_the_share() -> None:
    ratings = [
        rate("promise_keeping", promise_kept=[0] * kept, promise_broken=[0] * (8 - kept)).rating for kept in (7, 4, 1)
    ]
    assert ratings == ["mostly_kept", "mixed", "mostly_broken"]


def test_few_episodes_do_not_show_that_promises_are_broken() -> None:
    assert rate("reliability_patterns", promise_broken=[0, 0]).rating == NOT_ENOUGH_DATA
    assert rate("promise_keeping", promise_broken=[0, 0, 0]).rating == NOT_ENOUGH_DATA


def test_a_person_with_few_episodes_is_not_rated() -> None:
    rating = rate("reliability_patterns", promise_kept=[0, 0, 0, 0, 1])
    assert rating.people == {0: "highly_reliable", 1: NOT_ENOUGH_DATA}


def test_a_team_without_put_downs_is_safe_if_people_speak_openly() -> None:
    name = "workplace_relationship_health"
    assert rate("psychological_safety", name=name, admission=[0, 1, 0], speaking_up=[1]).rating == "high"
    assert rate("psychological_safety", name=name, put_down=[0] * 4, pressure=[0], admission=[1]).rating == "low"
