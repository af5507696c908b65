"""The texts that a language model is sent, made from the files in `prompts/`. Pure.

Instructions come first and are the same for all calls of one kind, so that a provider can cache them. Every text passes
the pseudonyms, except the instructions and what the server itself wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from string import Template
from typing import TYPE_CHECKING

from chats.chunking import CONVERSATION_GAP_SECONDS
from insights.claims import Claim
from insights.engines.base import Brief, SectionBrief, ShownMessage
from insights.episodes import Episode, Window
from insights.prompt_files import load
from insights.rating import SectionRating
from insights.retrieval import rank_episodes
from insights.scales import NOT_ENOUGH_DATA
from insights.tokens import count_line_tokens

if TYPE_CHECKING:
    from chats.pseudonyms import Pseudonyms

#: Episodes that a prompt lists besides the conversations, and tokens of conversations for each of them. A listed
#: episode has about 45 tokens, so the list takes at most half of what the conversations take.
MAX_LISTED_EPISODES = 250
_TOKENS_PER_LISTED_EPISODE = 96
#: Messages before and after a cited one that the verification sees.
_CONTEXT_MESSAGES = 2
_CONVERSATION_GAP = timedelta(seconds=CONVERSATION_GAP_SECONDS)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The two texts of a call."""

    instructions: str
    content: str


def render_window(window: Window, *, people: Sequence[str], pseudonyms: Pseudonyms) -> Prompt:
    """Return the prompt that reads a window."""
    candidates = ""
    if window.candidates:
        numbers = ", ".join(f"#{number}" for number in window.candidates)
        candidates = f"These messages contain words that may mean danger; judge each: {numbers}."
    lines = [
        render_line(message, pseudonyms, forwarded=message.number in window.forwarded) for message in window.messages
    ]
    parts = [list_people(people, pseudonyms), candidates, "The messages:", *lines]
    return Prompt(load("read"), "\n".join(part for part in parts if part))


def render_insight(
    brief: Brief, ratings: Mapping[str, SectionRating], *, pseudonyms: Pseudonyms, write_tokens: int = 24_000
) -> Prompt:
    """Return the prompt that writes an insight: facts, ratings, episodes and conversations of each section.

    `write_tokens` is the engine's limit of tokens of conversations, which also limits the list of episodes.
    """
    max_episodes = min(MAX_LISTED_EPISODES, write_tokens // _TOKENS_PER_LISTED_EPISODE)
    instructions = Template(load("write")).substitute(language=brief.wording.name)
    parts = [f"The chapter: {brief.title}. {brief.purpose}", list_people(brief.people, pseudonyms)]
    for entry in brief.sections:
        if entry.section.evidence.max and entry.section.key not in brief.withheld:
            parts.append(_render_section(brief, entry, ratings[entry.section.key], pseudonyms))
    episodes: dict[tuple[str, int, int], Episode] = {}
    for entry in brief.sections:
        for episode in rank_episodes(entry.episodes or ())[: max(1, max_episodes // len(brief.sections))]:
            episodes[episode.kind, episode.first, episode.last] = episode
    if episodes:
        parts.append("Everything of these kinds that was found in the chat:")
        parts += [
            _render_episode(episode, pseudonyms) for episode in sorted(episodes.values(), key=lambda each: each.first)
        ]
    parts.append("The conversations:")
    previous = None
    for number, message in sorted(brief.shown_messages().items()):
        if previous is not None and number > previous + 1:
            parts.append("")
        parts.append(render_line(message, pseudonyms, forwarded=message.forwarded))
        previous = number
    return Prompt(instructions, "\n".join(parts))


def render_verification(brief: Brief, claims: Sequence[Claim], *, pseudonyms: Pseudonyms) -> Prompt:
    """Return the prompt that verifies claims, which it numbers from 1."""
    return render_claims(claims, people=brief.people, shown=brief.shown_messages(), pseudonyms=pseudonyms)


def render_claims(
    claims: Sequence[Claim], *, people: Sequence[str], shown: Mapping[int, ShownMessage], pseudonyms: Pseudonyms
) -> Prompt:
    """Return the prompt that verifies claims about these messages."""
    parts = [list_people(people, pseudonyms)]
    for index, claim in enumerate(claims, start=1):
        parts += ["", *_render_claim(claim, shown, index=index, pseudonyms=pseudonyms)]
    return Prompt(load("verify"), "\n".join(parts))


def divide_claims(
    brief: Brief, claims: Sequence[Claim], *, pseudonyms: Pseudonyms, max_tokens: int
) -> Iterator[list[Claim]]:
    """Yield the claims in order, in groups whose texts have at most `max_tokens`, or that are one claim."""
    shown = brief.shown_messages()
    group: list[Claim] = []
    tokens = 0
    for claim in claims:
        added = sum(map(count_line_tokens, _render_claim(claim, shown, index=1, pseudonyms=pseudonyms)))
        if group and tokens + added > max_tokens:
            yield group
            group, tokens = [], 0
        group.append(claim)
        tokens += added
    if group:
        yield group


def _render_claim(claim: Claim, shown: Mapping[int, ShownMessage], *, index: int, pseudonyms: Pseudonyms) -> list[str]:
    """Return the lines of a claim, with the messages that it cites and those around them."""
    about = "" if claim.person is None else f" (about {pseudonyms.label(claim.person)})"
    lines = [f"Claim {index}{about}: {pseudonyms.mask_restored(claim.sentence)}"]
    # Shown next to the quote, so it is verified too.
    if claim.context:
        lines.append(f"Context: {pseudonyms.mask_restored(claim.context)}")
    # The next number can belong to another conversation, weeks later.
    around = {
        number
        for cited in claim.numbers
        for number in range(cited - _CONTEXT_MESSAGES, cited + _CONTEXT_MESSAGES + 1)
        if number in shown and abs(shown[number].sent_at - shown[cited].sent_at) < _CONVERSATION_GAP
    }
    for number in sorted(around):
        line = render_line(shown[number], pseudonyms, forwarded=shown[number].forwarded)
        lines.append(line if number in claim.numbers else f"    {line}")
    return lines


def render_repair(prompt: Prompt) -> Prompt:
    """Return the prompt that asks again, after an answer that could not be used."""
    return replace(prompt, content=f"{prompt.content}\n\n{load('repair')}")


def render_line(message: ShownMessage, pseudonyms: Pseudonyms, *, forwarded: bool = False) -> str:
    """Return a message as one line of a prompt: `[#1042 2024-03-14 21:05 P1] text`."""
    # A message of several lines stays one line: a line of its own could look like another message.
    text = " / ".join(part.strip() for part in pseudonyms.mask(message.text).splitlines() if part.strip())
    mark = "(forwarded) " if forwarded else ""
    return f"[#{message.number} {message.sent_at:%Y-%m-%d %H:%M} {pseudonyms.label(message.person)}] {mark}{text}"


def list_people(people: Sequence[str], pseudonyms: Pseudonyms) -> str:
    """Return the people by their labels; with their names if they are not replaced."""
    labels = [pseudonyms.label(person) for person in range(len(people))]
    entries = labels if pseudonyms.enabled else map("{} is {}".format, labels, people)
    return f"The people: {', '.join(entries)}."


def _render_section(brief: Brief, entry: SectionBrief, rating: SectionRating, pseudonyms: Pseudonyms) -> str:
    section = entry.section
    parts = ["", f"Section {section.key}: {section.title}. {section.question}"]
    if rating.rating == NOT_ENOUGH_DATA:
        parts.append("Rating: none, because too little was found.")
    elif rating.rating:
        parts.append(f"Rating: {rating.rating}. {entry.sentences.get(rating.rating, '')}".strip())
    rated = [f"{pseudonyms.label(person)} {member}" for person, member in rating.people.items()]
    if rated:
        parts.append(f"People: {', '.join(rated)}.")
    for fact in entry.facts:
        person = "" if fact.person is None else f" of {pseudonyms.label(fact.person)}"
        # The label of a recurring word contains it, and it can be a nickname.
        unit = fact.unit.removesuffix("s") if fact.value == 1 else fact.unit
        parts.append(f"{pseudonyms.mask(fact.label)}{person}: {fact.value} {unit}")
    spans = [f"#{part.messages[0].number} to #{part.messages[-1].number}" for part in entry.conversations]
    parts.append(f"Conversations: {', '.join(spans) or 'none'}. Claims: up to {section.evidence.max}.")
    return "\n".join(parts)


def _render_episode(episode: Episode, pseudonyms: Pseudonyms) -> str:
    roles = [f"{pseudonyms.label(person)} {' and '.join(roles)}" for person, roles in sorted(episode.roles.items())]
    return (
        f"{episode.started_at:%Y-%m-%d} #{episode.first} to #{episode.last} {episode.kind} ({episode.topic}),"
        f" strength {episode.strength}: {'; '.join(roles)}: {pseudonyms.mask_restored(episode.subject)}"
    )
