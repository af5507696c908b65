"""Claims: what a model writes about a section, checked sentence by sentence, and the draft that is made of them. Pure.

A claim is a sentence with the messages that show it. It is kept if the messages were shown to the model, if the
sentence says nothing that its sources lack (`evidence.is_supported`), and if the verification confirms it. So every
sentence of a finding has messages next to it. Ratings, the score and the summary are made here from episodes and kept
claims: a model writes none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from insights import advice, briefs
from insights.engines.base import (
    Brief,
    CitedExchange,
    Draft,
    PersonDraft,
    SectionBrief,
    SectionDraft,
    ShownMessage,
)
from insights.episodes import KINDS, Episode, Tone
from insights.evidence import MAX_MESSAGES, is_supported
from insights.figures import select_speakers
from insights.rating import GOOD_POSITION, SectionRating, compute_score, rank_sections, rate_section
from insights.retrieval import rank_episodes
from insights.scales import NOT_ENOUGH_DATA
from insights.translation import mark

#: A section in which the verification refuted this share of the claims or more is not rated.
MAX_REFUTED_SHARE = 0.5
NOTHING_FOUND = mark("Nothing of this was found in the chat.")
UNRATED = mark("Too few messages of this chat show this to rate it.")


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence about a section and the messages that show it. `person` is an index, or None for everybody.

    A claim with an `episode` was not written for the section: it stands for an episode that the reading found, and only
    its messages are quoted.
    """

    section: str
    sentence: str
    context: str
    numbers: tuple[int, ...]
    person: int | None = None
    episode: Episode | None = None


def check_claims(brief: Brief, claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims that cite shown messages and whose sentences say nothing that these messages lack.

    Messages that were not shown, forwarded messages and messages of danger are taken out of a claim. A section keeps as
    many claims as it quotes exchanges, so that every sentence has its messages next to it.
    """
    kept: list[Claim] = []
    cited: set[tuple[str, tuple[int, ...], int | None]] = set()
    for claim in claims:
        entry = next((entry for entry in brief.sections if entry.section.key == claim.section), None)
        if entry is None or claim.section in brief.withheld:
            continue
        if sum(each.section == claim.section for each in kept) >= entry.section.evidence.max:
            continue
        # Only what was shown for this section: a message of another section shows something else.
        shown = {message.number: message for part in entry.conversations for message in part.messages}
        numbers = tuple(
            number
            for number in sorted(set(claim.numbers))
            if number in shown and not shown[number].forwarded and number not in brief.concerning
        )[:MAX_MESSAGES]
        if not numbers or (claim.section, numbers, claim.person) in cited or not claim.sentence.strip():
            continue
        messages = [shown[number] for number in numbers]
        around = [part.messages for part in entry.conversations if not set(numbers).isdisjoint(part.numbers)]
        if is_supported_claim(brief, claim.sentence, messages, around=[each for part in around for each in part]):
            context = claim.context if is_supported_claim(brief, claim.context, messages) else ""
            cited.add((claim.section, numbers, claim.person))
            kept.append(replace(claim, numbers=numbers, context=context.strip()))
    return kept


def is_supported_claim(
    brief: Brief, text: str, messages: Sequence[ShownMessage], *, around: Sequence[ShownMessage] = ()
) -> bool:
    """Return whether the messages have everything that the text says, and they or those around them all names in it.

    What was counted is shown as facts. A sentence may not repeat it: "they quarrel 47 times" is not supported by 47
    questions.
    """
    return is_supported_by(text, messages, people=brief.people, language=brief.language, around=around)


def is_supported_by(
    text: str,
    messages: Sequence[ShownMessage],
    *,
    people: Sequence[str],
    language: str,
    around: Sequence[ShownMessage] = (),
) -> bool:
    """Return whether the messages have everything that a text in this language names. See `is_supported_claim`."""
    return is_supported(
        text,
        quotable=[message.text for message in messages],
        names=people,
        language=language,
        times=[message.sent_at for message in messages],
        context=[message.text for message in around],
    )


def list_examples(brief: Brief, claims: Sequence[Claim]) -> list[Claim]:
    """Return claims that fill the sections' remaining quotes with the best of their episodes that are not cited yet."""
    examples: list[Claim] = []
    used = set(chain.from_iterable(claim.numbers for claim in claims))
    for entry in brief.sections:
        section = entry.section
        free = section.evidence.max - sum(claim.section == section.key for claim in claims)
        shown = {message.number: message for part in entry.conversations for message in part.messages}
        own_used = set(chain.from_iterable(claim.numbers for claim in claims if claim.section == section.key))
        ranked = rank_episodes(entry.episodes or ()) if section.key not in brief.withheld else []
        # A message is quoted once in an insight, unless nothing else shows the section.
        for episode in sorted(ranked, key=lambda episode: not used.isdisjoint(episode.shows)):
            numbers = tuple(n for n in episode.shows if n in shown and not shown[n].forwarded)
            if free <= 0:
                break
            if not numbers or not own_used.isdisjoint(range(episode.first, episode.last + 1)):
                continue
            free -= 1
            used.update(numbers)
            own_used.update(numbers)
            messages = [shown[number] for number in numbers]
            # A subject was written once, in English, for insights in every language.
            is_shown = brief.language == "en" and is_supported_claim(brief, episode.subject, messages)
            title = brief.wording.translate(KINDS[episode.kind].title)
            context = f"{title}, {brief.wording.format_month(episode.started_at)}"
            context += f": {episode.subject}" if is_shown and episode.subject else ""
            sentence = KINDS[episode.kind].description
            doers = [person for person, roles in episode.roles.items() if not {"does", "starts"}.isdisjoint(roles)]
            person = doers[0] if len(doers) == 1 else None
            examples.append(Claim(section.key, sentence, context, numbers, person, episode))
    return examples


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verification says of a claim."""

    shown: bool
    right_person: bool
    sincere: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """Claims after the verification, and the episodes (kind and first message) that it refuted.

    Of the refuted claims, `unshown` are those whose messages do not show what they say of anybody.
    """

    confirmed: tuple[Claim, ...]
    refuted: tuple[Claim, ...] = ()
    unshown: tuple[Claim, ...] = ()
    lost: frozenset[tuple[str, int]] = frozenset()


def apply_verdicts(brief: Brief, claims: Sequence[Claim], verdicts: Mapping[int, Verdict]) -> Verified:
    """Return which claims the verdicts, by their index, confirm. A claim without a verdict is not confirmed.

    A claim is confirmed if its messages show it, of the right person, and sincerely; jokes need not be meant. An
    episode is refuted by the verdict on itself, or on a claim whose messages do not show it: a claim that names the
    wrong person is wrong, and what happened stays.
    """
    confirmed, refuted, unshown = [], [], []
    lost: set[tuple[str, int]] = set()
    shown: set[tuple[str, int]] = set()
    for index, claim in enumerate(claims):
        verdict = verdicts.get(index)
        entry = next(entry for entry in brief.sections if entry.section.key == claim.section)
        asks = entry.section.reading
        may_be_ironic = asks is not None and set(asks.tones) != {Tone.SINCERE}
        happened = verdict is not None and verdict.shown and (verdict.sincere or may_be_ironic)
        own = [
            (episode.kind, episode.first)
            for episode in ([claim.episode] if claim.episode else entry.episodes or ())
            if claim.episode or not set(episode.shows).isdisjoint(claim.numbers)
        ]
        if verdict is not None and happened and verdict.right_person:
            confirmed.append(claim)
            shown.update(own)
        else:
            refuted.append(claim)
            if not happened:
                unshown.append(claim)
            if claim.episode or (verdict is not None and not happened):
                lost.update(own)
    return Verified(tuple(confirmed), tuple(refuted), tuple(unshown), frozenset(lost - shown))


def build_draft(brief: Brief, verified: Verified, *, declined: Collection[str] = ()) -> Draft:
    """Return the draft of the confirmed claims, rated by the episodes that were not refuted.

    `declined` are the sections that the model cannot judge.
    """
    confirmed, lost = verified.confirmed, verified.lost
    if brief.reading is not None and lost:
        # Everything that was counted in the refuted episodes is counted again without them.
        remaining = [episode for episode in brief.reading.episodes if (episode.kind, episode.first) not in lost]
        brief = briefs.count_episodes(brief, remaining)
    ratings: dict[str, SectionRating] = {}
    sections: dict[str, SectionDraft] = {}
    for entry in brief.sections:
        key = entry.section.key
        own = [claim for claim in confirmed if claim.section == key]
        n_unshown = sum(claim.section == key for claim in verified.unshown)
        rating = rate_section(brief, entry)
        unreliable = n_unshown and n_unshown >= (n_unshown + len(own)) * MAX_REFUTED_SHARE
        # What was counted in words and times is rated whatever the model says of the messages.
        is_counted = entry.signal is not None and entry.signal.fact is not None
        doubtful = (key in declined or unreliable) and not is_counted
        if entry.episodes is not None and rating.rating and (doubtful or key in brief.withheld):
            rating = SectionRating(NOT_ENOUGH_DATA, dict.fromkeys(rating.people, NOT_ENOUGH_DATA))
        ratings[key] = rating
        sections[key] = _write_section(brief, entry, rating, own)
    ranked = rank_sections(brief, ratings)
    return Draft(
        score=compute_score(brief, ranked),
        summary=_summarize(brief, ratings, confirmed),
        sections=sections,
        recommendations=tuple(advice.recommend(brief, ratings, ranked)),
        facts={entry.section.key: entry.facts for entry in brief.sections},
    )


def _write_section(brief: Brief, entry: SectionBrief, rating: SectionRating, claims: Sequence[Claim]) -> SectionDraft:
    """Return a section: what its rating says, then its claims. Where people are rated, claims about one are notes.

    Two claims about the same messages quote them once.
    """
    written = [claim for claim in claims if claim.episode is None]
    sentence = entry.sentences.get(rating.rating or "", "")
    if not sentence and entry.signal is not None and entry.signal.kind == "majority":
        sentence = _list_leaders(brief, entry, rating)
    if not sentence and not written and not entry.facts:
        sentence = brief.wording.say(NOTHING_FOUND)
    elif rating.rating == NOT_ENOUGH_DATA and not sentence:
        sentence = brief.wording.say(UNRATED)
    people = []
    if entry.section.per_person:
        for person in rating.people or select_speakers(brief):
            note = " ".join(claim.sentence for claim in written if claim.person == person)
            people.append(PersonDraft(person, rating.people.get(person), note))
    noted = {person.person for person in people}
    finding = [sentence, *(claim.sentence for claim in written if claim.person not in noted)]
    return SectionDraft(
        rating=rating.rating,
        finding=" ".join(part for part in finding if part),
        people=tuple(people),
        evidence=tuple(
            CitedExchange(context, numbers)
            for numbers, context in {claim.numbers: claim.context for claim in reversed(claims)}.items()
        )[::-1],
    )


def _list_leaders(brief: Brief, entry: SectionBrief, rating: SectionRating) -> str:
    """Return each person's leading group in words; empty if nobody has one."""
    assert entry.section.reading is not None
    titles = {group.key: group.title for group in entry.section.reading.groups}
    people: dict[str, list[str]] = {}
    for person, member in rating.people.items():
        if member in titles:
            people.setdefault(titles[member], []).append(brief.people[person])
    leaders = [f"{title} ({', '.join(names)})" for title, names in people.items()]
    if not leaders:
        return ""
    if entry.signal is None or entry.signal.rank == 1:
        return brief.wording.say("Most often: {groups}.", groups="; ".join(leaders))
    return brief.wording.say("Next: {groups}.", groups="; ".join(leaders))


def _summarize(brief: Brief, ratings: Mapping[str, SectionRating], claims: Sequence[Claim]) -> str:
    """Return the rating and the first claim of the best and the worst rated sections. Nothing else is claimed."""
    ranked = [(position, section.key) for position, section in rank_sections(brief, ratings) if section.weight]
    best = [key for position, key in ranked[:2] if position >= GOOD_POSITION]
    worst = [key for position, key in ranked[::-1][:2] if position < GOOD_POSITION]
    # If nothing is rated on a scale from good to bad, what was found is all there is to say.
    keys = dict.fromkeys([*best, *worst] or [claim.section for claim in claims if claim.episode is None])
    parts = []
    for key in list(keys)[:4]:
        entry = next(entry for entry in brief.sections if entry.section.key == key)
        parts.append(entry.sentences.get(ratings[key].rating or "", ""))
        first = next((claim for claim in claims if claim.section == key and claim.episode is None), None)
        parts.append(first.sentence if first else "")
    return " ".join(part for part in parts if part)
