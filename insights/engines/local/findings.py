"""Findings and notes of the local engine in plain words: what was counted, and nothing else. Pure."""

from __future__ import annotations

from insights.engines.base import Brief, SectionBrief
from insights.engines.local import sentences
from insights.figures import MIN_MATCHES, SectionCounts, select_speakers
from insights.rating import SectionRating
from insights.scales import NOT_ENOUGH_DATA
from insights.translation import Language, mark

TAKES_READING = mark("Counting words cannot answer this: it takes an engine that reads the chat.")


class FindingWriter:
    """Writes the findings of one insight. A sentence of counts is used once, because sections can share their terms."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._used: set[str] = set()

    def write_finding(self, section_brief: SectionBrief, rating: SectionRating) -> str:
        """Return the rating in words and what it is based on."""
        counts = SectionCounts(section_brief, select_speakers(self._brief), self._brief.message_counts)
        section, wording = section_brief.section, self._brief.wording
        rating_sentence = ""
        # With too few mentions, the reason at the end says more than the sentence of the rating.
        if rating.rating is not None and rating.insufficient_mentions is None:
            own = section.sentences.get(rating.rating, "")
            rating_sentence = wording.say(TAKES_READING) if section.needs_reading else own
            if not rating_sentence and rating.rating == NOT_ENOUGH_DATA:
                rating_sentence = _explain_missing_rating(wording, counts)
        if section_brief.recurring_words:
            words = sentences.list_recurring_words(wording, section_brief.recurring_words)
            rating_sentence = f"{rating_sentence} {words}".strip()
        finding = [rating_sentence] if rating_sentence else []
        nothing_counted = not (section.signal and section.signal.fact) and not counts.total_mentions
        # If nothing was counted, the sentence of the rating says so already.
        if not (rating_sentence and nothing_counted):
            new = [sentence for sentence in self._describe_counts(counts) if sentence and sentence not in self._used]
            self._used.update(new)
            finding += new
        if rating.insufficient_mentions is not None:
            finding.append(
                wording.say(
                    "With {count} in all, that is too few to weigh one side against the other.",
                    count=rating.insufficient_mentions,
                )
            )
        return " ".join(finding)

    def _describe_counts(self, counts: SectionCounts) -> list[str]:
        """Return what was counted, in the form that suits the section's signal."""
        section = counts.section_brief.section
        signal = section.signal
        if signal and signal.fact:
            return [sentences.list_values(self._brief, counts, signal.fact)]
        if signal and (signal.kind in ("match", "lead") or signal.rank > 1):
            return [sentences.list_leaders(self._brief, counts)]
        if signal and signal.kind == "breadth":
            groups = sentences.describe_breadth(self._brief, counts)
            # Another section with the same groups listed them.
            return (
                [sentences.name_rarest_group(self._brief, counts)]
                if any(part in self._used for part in groups)
                else groups
            )
        if signal and signal.kind == "coverage":
            return sentences.describe_coverage(self._brief, counts)
        if section.groups and not (signal and signal.kind == "share_gap"):
            return [sentences.list_groups(self._brief, counts)]
        return [sentences.list_mentions(self._brief, counts)] if section.terms else []


def _explain_missing_rating(wording: Language, counts: SectionCounts) -> str:
    section = counts.section_brief.section
    if counts.total_mentions >= MIN_MATCHES:
        if section.sensitive:
            return wording.say(
                "Counting words can show that there is much of this, but not that there is little: no rating."
            )
        if section.signal and section.signal.kind == "breadth":
            return wording.say("What is missing among the counted words may be said in others: no rating.")
    if not section.terms_label:
        return wording.say("There is too little in this chat to rate this.")
    return sentences.upper_first(wording.say("{label} are too few here to rate.", label=section.terms_label))


def write_note(brief: Brief, section_brief: SectionBrief, person: int, *, rating: str | None) -> str:
    """Return what was counted for one person and, if there is no rating, the reason."""
    counts = SectionCounts(section_brief, select_speakers(brief), brief.message_counts)
    parts = [sentences.describe_person(brief, counts, person)]
    if rating == NOT_ENOUGH_DATA:
        parts.append(sentences.explain_missing_rating(brief, counts, person))
    return " ".join(part for part in parts if part)
