"""Format the API's documents as lines of text, insights in their language. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from insights.translation import Language, get_language, show_member
from relivchats.terminal import Layout, columns, plain, plural

Document = Mapping[str, Any]

#: Limits of the short report, per section.
MAX_SHORT_QUOTES, MAX_SHORT_CHARACTERS, MAX_SHORT_FACTS, MAX_SHORT_PEOPLE = 2, 320, 2, 4
MAX_PEOPLE = 8
MAX_WORDS = 8
MAX_TIMELINE_ENTRIES = 6
NAME_COLUMNS = 24
NO_RATING = "not_enough_data"
_ENGLISH = get_language("en")


def format_chat(chat: Document, *, layout: Layout) -> list[str]:
    """Return the key statistics of an uploaded chat: a summary, the participants, frequent words and emoji."""
    statistics = chat["statistics"]
    first, last = _date(statistics["first_message_at"]), _date(statistics["last_message_at"])
    days = f"{format_number(statistics['active_days'])} of {plural(statistics['total_days'], 'day')}"
    when = f"on {first}" if first == last else f"from {first} to {last}, on {days}"
    messages = plural(statistics["total_messages"], "message")
    conversations = plural(statistics["conversations_count"], "conversation")
    questions = plural(statistics["questions_count"], "question")
    links = plural(statistics["links_shared_count"], "link")
    media = f"{plural(statistics['media_shared_count'], 'photo')} and other media"
    hour = statistics["busiest_hour"]
    summary = (
        f"{messages} {when}, in {conversations}. {questions}, {links}, {media}. Most are written on"
        f" {statistics['busiest_day']}s, and from {hour}:00 to {(hour + 1) % 24}:00."
    )
    words = ", ".join(plain(item["word"]) for item in statistics["top_words"][:MAX_WORDS])
    emoji = "  ".join(
        f"{plain(item['emoji'])} {format_number(item['count'])}" for item in statistics["top_emojis"][:MAX_WORDS]
    )
    return [
        "",
        layout.heading(plain(chat["title"])),
        "",
        *layout.wrap(summary, first="  "),
        "",
        *_participants(statistics, layout),
        "",
        *(layout.wrap(words, first=f"  {'Often said':<12}") if words else []),
        *(layout.wrap(emoji, first=f"  {'Emoji':<12}") if emoji else []),
    ]


def format_timeline(
    entries: Sequence[Document], *, title: str, layout: Layout, wording: Language = _ENGLISH
) -> list[str]:
    """Return some entries of a timeline, one line each, in order: one of each kind before a second one of any."""
    if not entries:
        return []
    seen: dict[str, int] = {}
    ranks = []
    for entry in entries:
        ranks.append(seen.get(entry["kind"], 0))
        seen[entry["kind"]] = ranks[-1] + 1
    chosen = sorted(range(len(entries)), key=lambda position: ranks[position])[:MAX_TIMELINE_ENTRIES]
    lines = ["", f"  {layout.bold(title)}"]
    for position in sorted(chosen):
        entry = entries[position]
        date = f"  {_date(entry['starts_at'], wording):<{13 if wording.code == 'en' else 20}}"
        sentence = plain(entry["sentence"])
        fits = columns(date) + columns(sentence) <= layout.width
        lines.append(date + (sentence if fits else plain(entry["title"])))
    return lines


def _participants(statistics: Document, layout: Layout) -> list[str]:
    """Return a table of the first MAX_PEOPLE participants, and the number of the others."""
    people = list(statistics["user_stats"].items())
    names = []
    for name, _ in people[:MAX_PEOPLE]:
        shown = plain(name)
        while columns(shown) > NAME_COLUMNS:
            shown = f"{shown[:-2]}…"
        names.append(shown)
    width = max(map(columns, ["", *names]))
    lines = [layout.dim(f"  {'':{width}}  {'messages':>10} {'starts':>8} {'questions':>10} {'usual reply':>13}")]
    for name, (_, person) in zip(names, people, strict=False):
        share = f"{100 * person['message_count'] / max(1, statistics['total_messages']):.0f}%"
        reply = person["median_response_time_seconds"]
        # str.ljust counts characters; an emoji in a name takes two columns.
        lines.append(
            f"  {name}{' ' * (width - columns(name))}  {format_number(person['message_count']):>5} {share:>4}"
            f" {person['conversation_initiations_percent']:>7.0f}% {format_number(person['questions_asked']):>10}"
            f" {'–' if reply is None else format_duration(reply):>13}"
        )
    if len(people) > len(names):
        lines.append(layout.dim(f"  and {format_number(len(people) - len(names))} more"))
    return lines


def format_insight(insight: Document, *, layout: Layout, full: bool = False) -> list[str]:
    """Return one completed insight. The short report quotes a message once, unless a section has no other."""
    document = insight["document"]
    wording = get_language(document.get("language", "en"))
    overall = document["overall"]
    score = overall["score"]
    verdict = f"  {layout.accent(format_rating(overall))}"
    if score is not None:
        dots = f"{layout.accent('●' * score)}{layout.dim('○' * (10 - score))}"
        verdict += f"  {dots}  " + wording.say("{score} of 10", score=score)
    lines = ["", layout.heading(f"{plain(insight['icon'])} {plain(insight['title'])}".strip()), "", verdict]
    lines += layout.wrap(plain(overall["summary"]), first="  ")
    # Sections often rest on the same messages; in the short report each section shows one that is new.
    quoted: set[int] = set()
    read = document["provenance"].get("method") == "read"
    for section in document["sections"]:
        exchanges = section["evidence"]
        if not full:
            fresh = [one for one in exchanges if not quoted & {message["number"] for message in one["messages"]}]
            exchanges = [{**one, "messages": one["messages"][:MAX_SHORT_QUOTES]} for one in (fresh or exchanges)[:1]]
        quoted |= {message["number"] for exchange in exchanges for message in exchange["messages"]}
        lines += ["", *_section(section, exchanges, wording, layout=layout, full=full, read=read)]
    for recommendation in document["recommendations"]:
        lines += ["", *format_recommendation(recommendation, wording, layout=layout, full=full)]
    sufficiency, provenance = document["sufficiency"], document["provenance"]
    n_read, total = sufficiency["messages_read"], sufficiency["messages_total"]
    if read and n_read == total:
        sentences = [wording.say_plural("Read all {count} messages.", "Read all {count} messages.", total)]
    elif read:
        sentences = [wording.say("Read {count} of {total} messages.", count=n_read, total=total)]
    else:
        sentences = [
            wording.say_plural(
                "Counted over {count} messages, not read.", "Counted over {count} messages, not read.", total
            )
        ]
    sentences.append(wording.say("Written by the {engine} engine.", engine=plain(provenance["engine"])))
    if checked := provenance.get("verification"):
        removed, claims = checked["refuted"] + checked["unsupported"], checked["asked"] + checked["unsupported"]
        sentences.append(
            wording.say_plural(
                "{count} claim checked against the messages, {removed} removed.",
                "{count} claims checked against the messages, {removed} removed.",
                claims,
                removed=removed or wording.say("none"),
            )
        )
    sentences += map(plain, sufficiency["limits"])
    return [*lines, "", *(layout.dim(line) for line in layout.wrap(" ".join(sentences), first="  "))]


def _section(
    section: Document, exchanges: Sequence[Document], wording: Language, *, layout: Layout, full: bool, read: bool
) -> list[str]:
    """Return a section with these exchanges. What happens in them is said if the chat was `read`."""
    rating = f": {layout.accent(format_rating(section))}" if section["rating"] else ""
    lines = [f"  {layout.bold(plain(section['title']))}{rating}"]
    lines += layout.wrap(plain(section["finding"]), first="    ")
    if full:
        for person in section["people"]:
            person_rating = format_rating(person) if person["rating"] else ""
            parts = [plain(person["name"]), person_rating, plain(person["note"])]
            lines += layout.wrap(": ".join(filter(None, parts)), first="    · ")
        for fact in format_facts(section["facts"], wording):
            lines += layout.wrap(fact, first="    · ")
    elif highlights := _highlights(section, wording):
        lines += [layout.dim(line) for line in layout.wrap(" · ".join(highlights), first="    ")]
    for exchange in exchanges:
        if exchange["context"] and (full or read):
            lines += [layout.dim(line) for line in layout.wrap(plain(exchange["context"]), first="    ")]
        for message in exchange["messages"]:
            lines += format_quote(message, wording, layout=layout, full=full)
    return lines


def _highlights(section: Document, wording: Language) -> list[str]:
    """Return the ratings of the people and the first facts that the finding does not mention."""
    rated = [person for person in section["people"] if person["rating"]]
    if all(person["rating"] == NO_RATING for person in rated):
        rated = []
    # In a large group, those with a rating come first.
    rated.sort(key=lambda person: person["rating"] == NO_RATING)
    highlights = []
    if len(rated) > MAX_SHORT_PEOPLE and len({person["rating"] for person in rated}) == 1:
        highlights.append(wording.say("everybody: {rating}", rating=format_rating(rated[0])))
    elif rated:
        ratings = [f"{plain(person['name'])} {format_rating(person)}" for person in rated]
        highlights.append(_join_some(ratings, wording, max_people=MAX_SHORT_PEOPLE))
    finding = section["finding"].lower()
    new = [fact for fact in section["facts"] if fact["label"].lower() not in finding]
    facts = format_facts(new, wording, include_zeros=False, max_people=MAX_SHORT_PEOPLE)
    return highlights + facts[: MAX_SHORT_FACTS - len(highlights)]


def format_quote(message: Document, wording: Language = _ENGLISH, *, layout: Layout, full: bool) -> list[str]:
    """Return a quoted message with its date, number and sender; the short report cuts long texts."""
    text = plain(message["text"])
    if not full and len(text) > MAX_SHORT_CHARACTERS:
        # Cut at a space if there is one.
        text = f"{text[:MAX_SHORT_CHARACTERS].rpartition(' ')[0] or text[:MAX_SHORT_CHARACTERS]} …"
    sent_at = datetime.fromisoformat(message["sent_at"])
    header, margin = f"    ┃ {_date(message['sent_at'], wording)} {sent_at:%H:%M} #{message['number']} ", "    ┃   "
    first, *others = layout.wrap(f"{plain(message['sender'])}: {text}", first=header, rest=margin)
    return [
        layout.dim(header) + first.removeprefix(header),
        *(layout.dim(margin) + line.removeprefix(margin) for line in others),
    ]


def format_recommendation(
    recommendation: Document, wording: Language = _ENGLISH, *, layout: Layout, full: bool
) -> list[str]:
    """Return a recommendation: whom it is for, the suggestion, an example, and in the full report the reason."""
    people = f" ({', '.join(map(plain, recommendation['for']))})" if recommendation["for"] else ""
    lines = [f"  → {layout.bold(plain(recommendation['title']))}{people}"]
    lines += layout.wrap(plain(recommendation["suggestion"]), first="    ")
    if full and recommendation["why"]:
        lines += layout.wrap(wording.say("Why: {reason}", reason=plain(recommendation["why"])), first="    ")
    if recommendation["example"]:
        lines += layout.wrap(f"“{plain(recommendation['example'])}”", first="    ")
    return lines


def format_facts(
    facts: Sequence[Document],
    wording: Language = _ENGLISH,
    *,
    include_zeros: bool = True,
    max_people: int = MAX_PEOPLE,
) -> list[str]:
    """Return one line per label with the largest figures: `Messages: Asha 52, Rohan 48 and 3 more`.

    Unless `include_zeros`, a label whose figures are all zero is left out. The figures of `max_people` people or fewer
    stay in order, next to the total; with more people, the total is left out.
    """
    labels = {fact["label"] for fact in facts if include_zeros or fact["value"]}
    by_label: dict[str, list[Document]] = {}
    for fact in facts:
        if fact["label"] in labels:
            read = wording.say("read")
            source = f" ({read})" if fact.get("source") == "read" else ""
            by_label.setdefault(f"{plain(fact['label'])}{source}", []).append(fact)
    lines = []
    for label, of_label in by_label.items():
        figures = []
        of_people = [fact for fact in of_label if fact["person"]]
        rows = of_people if len(of_people) > max_people else of_label
        if len(of_people) > max_people and not any(isinstance(fact["value"], str) for fact in rows):
            rows.sort(key=lambda fact: -fact["value"])
        for fact in rows:
            figure = format_figure(fact["value"], wording, unit=fact["unit"])
            figures.append(f"{plain(fact['person'])} {figure}" if fact["person"] else figure)
        # The total of few people is no person who is left out.
        limit = max(max_people, len(rows)) if len(of_people) <= max_people else max_people
        lines.append(f"{label}: {_join_some(figures, wording, max_people=limit)}")
    return lines


def _join_some(parts: Sequence[str], wording: Language, *, max_people: int) -> str:
    """Return the first parts, and how many are left out."""
    rest = len(parts) - max_people
    shown = ", ".join(parts[:max_people])
    return (
        wording.say_plural("{parts} and {count} more", "{parts} and {count} more", rest, parts=shown)
        if rest > 0
        else shown
    )


def format_figure(value: float | str, wording: Language = _ENGLISH, *, unit: str) -> str:
    """Return the value with its unit: `52.1%`, `1 h 5 min`, or a number without a unit."""
    if isinstance(value, str):
        return plain(value)
    if unit == "percent":
        return f"{format_number(value, wording)}%"
    return format_duration(value, wording) if unit == "seconds" else format_number(value, wording)


def format_number(value: float, wording: Language = _ENGLISH) -> str:
    """Return the number with at most one decimal: `1,200`, `52.1`."""
    return wording.format_number(round(value, 1))


def format_duration(seconds: float, wording: Language = _ENGLISH) -> str:
    """Return the two largest units: `45 s`, `2 min`, `1 h 5 min`, `2 days 3 h`."""
    whole = round(seconds)
    if whole < 60:
        return wording.say("{count} s", count=whole)
    days, minutes = divmod(round(whole / 60), 24 * 60)
    hours, minutes = divmod(minutes, 60)
    parts = [
        wording.count_days(days) if days else "",
        wording.say("{count} h", count=hours) if hours else "",
        wording.say("{count} min", count=minutes) if minutes else "",
    ]
    return " ".join([part for part in parts if part][:2])


def format_rating(rated: Document) -> str:
    """Return the rating of an insight, a section or a person in words."""
    return plain(rated.get("rating_label") or show_member(rated["rating"]))


def _date(timestamp: str, wording: Language = _ENGLISH) -> str:
    return wording.format_short_date(datetime.fromisoformat(timestamp))
