"""What the API answered, as lines for a person to read. Pure: documents in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from relivchats.terminal import Layout, columns, plain, plural

Document = Mapping[str, Any]

#: Of each section the short report quotes so many messages, each cut to so many characters, and tells so many figures.
SHORT_QUOTES, SHORT_CHARACTERS, SHORT_FACTS, SHORT_PEOPLE = 2, 320, 2, 4
PEOPLE_SHOWN = 8
WORDS_SHOWN = 8
NAME_COLUMNS = 24
NO_RATING = "not_enough_data"


# The chat


def chat(uploaded: Document, *, page: Layout) -> list[str]:
    """The key statistics of an uploaded chat."""
    statistics = uploaded["statistics"]
    lines = ["", page.heading(plain(uploaded["title"])), ""]
    lines += page.wrap(f"{_span(statistics)} {_habits(statistics)}", first="  ")
    return [*lines, "", *_table(statistics, page), "", *_favourites(statistics, page)]


def _span(statistics: Document) -> str:
    first, last = _date(statistics["first_message_at"]), _date(statistics["last_message_at"])
    days = f"{number(statistics['active_days'])} of {plural(statistics['total_days'], 'day')}"
    when = f"on {first}" if first == last else f"from {first} to {last}, on {days}"
    conversations = plural(statistics["conversations_count"], "conversation")
    return f"{plural(statistics['total_messages'], 'message')} {when}, in {conversations}."


def _habits(statistics: Document) -> str:
    hour = statistics["busiest_hour"]
    shared = [
        plural(statistics["questions_count"], "question"),
        plural(statistics["links_shared_count"], "link"),
        f"{plural(statistics['media_shared_count'], 'photo')} and other media",
    ]
    busiest = f"Most are written on {statistics['busiest_day']}s, and from {hour}:00 to {(hour + 1) % 24}:00."
    return f"{', '.join(shared)}. {busiest}"


def _table(statistics: Document, page: Layout) -> list[str]:
    people = list(statistics["user_stats"].items())
    names = [_clipped(plain(name), NAME_COLUMNS) for name, _ in people[:PEOPLE_SHOWN]]
    width = max(map(columns, ["", *names]))
    head = f"  {'':{width}}  {'messages':>10} {'starts':>8} {'questions':>10} {'usual reply':>13}"
    rows = [
        f"  {name}{' ' * (width - columns(name))}  {_figures(person, statistics)}"
        for name, (_, person) in zip(names, people, strict=False)
    ]
    more = len(people) - len(names)
    return [page.dim(head), *rows, *([page.dim(f"  and {number(more)} more")] if more else [])]


def _figures(person: Document, statistics: Document) -> str:
    share = f"{100 * person['message_count'] / max(1, statistics['total_messages']):.0f}%"
    reply = person["median_response_time_seconds"]
    return (
        f"{number(person['message_count']):>5} {share:>4} {person['conversation_initiations_percent']:>7.0f}%"
        f" {number(person['questions_asked']):>10} {'–' if reply is None else duration(reply):>13}"
    )


def _favourites(statistics: Document, page: Layout) -> list[str]:
    words = ", ".join(plain(item["word"]) for item in statistics["top_words"][:WORDS_SHOWN])
    emoji = "  ".join(
        f"{plain(item['emoji'])} {number(item['count'])}" for item in statistics["top_emojis"][:WORDS_SHOWN]
    )
    told = {"Often said": words, "Emoji": emoji}
    return [line for label, text in told.items() if text for line in page.wrap(text, first=f"  {label:<12}")]


def _clipped(text: str, width: int) -> str:
    while columns(text) > width:
        text = f"{text[:-2]}…"
    return text


# An insight


def insight(found: Document, *, page: Layout, full: bool = False) -> list[str]:
    """One completed insight. The short report does not quote a message twice in it if it has another."""
    document = found["document"]
    overall = document["overall"]
    quoted: set[int] = set()
    lines = ["", page.heading(f"{plain(found['icon'])} {plain(found['title'])}".strip()), ""]
    lines += [f"  {page.accent(rating(overall['rating']))}{_score(overall['score'], page)}"]
    lines += page.wrap(plain(overall["summary"]), first="  ")
    for section in document["sections"]:
        lines += ["", *_section(section, page=page, full=full, quoted=quoted)]
    for recommendation in document["recommendations"]:
        lines += ["", *_recommendation(recommendation, page=page, full=full)]
    return [*lines, "", *_sufficiency(document, page=page)]


def _score(score: int | None, page: Layout) -> str:
    if score is None:
        return ""
    return f"  {page.accent('●' * score)}{page.dim('○' * (10 - score))}  {score} of 10"


def _section(section: Document, *, page: Layout, full: bool, quoted: set[int]) -> list[str]:
    rated = f": {page.accent(rating(section['rating']))}" if section["rating"] else ""
    lines = [f"  {page.bold(plain(section['title']))}{rated}"]
    lines += page.wrap(plain(section["finding"]), first="    ")
    lines += _details(section, page) if full else _essence(section, page)
    for exchange in _chosen(section["evidence"], full=full, quoted=quoted):
        lines += _exchange(exchange, page=page, full=full)
        quoted.update(message["number"] for message in exchange["messages"])
    return lines


def _details(section: Document, page: Layout) -> list[str]:
    notes = [
        ": ".join(filter(None, [plain(person["name"]), _rating(person), plain(person["note"])]))
        for person in section["people"]
    ]
    return [line for detail in [*notes, *facts(section["facts"])] for line in page.wrap(detail, first="    · ")]


def _essence(section: Document, page: Layout) -> list[str]:
    """Each person's rating, and the first figures that the finding does not tell, in a line or two."""
    told = _ratings(section["people"])
    said = section["finding"].lower()
    new = [fact for fact in section["facts"] if fact["label"].lower() not in said]
    told += facts(new, zeros=False, people=SHORT_PEOPLE)[: SHORT_FACTS - len(told)]
    return [page.dim(line) for line in page.wrap(" · ".join(told), first="    ")] if told else []


def _ratings(people: Sequence[Document]) -> list[str]:
    rated = [person for person in people if person["rating"]]
    if len(rated) > SHORT_PEOPLE and len({person["rating"] for person in rated}) == 1:
        return [f"everybody {_rating(rated[0])}"]
    listed = ", ".join(f"{plain(person['name'])} {_rating(person)}" for person in rated[:SHORT_PEOPLE])
    return [listed] if listed else []


def _rating(person: Document) -> str:
    return rating(person["rating"]) if person["rating"] else ""


def _chosen(evidence: Sequence[Document], *, full: bool, quoted: set[int]) -> Iterator[Document]:
    """Everything, or the first exchange that no earlier section quoted, shortened."""
    if full:
        yield from evidence
        return
    fresh = [one for one in evidence if not quoted & {message["number"] for message in one["messages"]}]
    for exchange in (fresh or evidence)[:1]:
        yield {**exchange, "messages": exchange["messages"][:SHORT_QUOTES]}


def _exchange(exchange: Document, *, page: Layout, full: bool) -> list[str]:
    lines = []
    if full and exchange["context"]:
        lines = [page.dim(line) for line in page.wrap(plain(exchange["context"]), first="    ")]
    for message in exchange["messages"]:
        lines += _quote(message, page=page, full=full)
    return lines


def _quote(message: Document, *, page: Layout, full: bool) -> list[str]:
    text = plain(message["text"])
    if not full and len(text) > SHORT_CHARACTERS:
        text = f"{text[:SHORT_CHARACTERS].rpartition(' ')[0] or text[:SHORT_CHARACTERS]} …"
    when, margin = _when(message), "    ┃   "
    first, *others = page.wrap(f"{plain(message['sender'])}: {text}", first=when, rest=margin)
    return [
        page.dim(when) + first.removeprefix(when),
        *(page.dim(margin) + line.removeprefix(margin) for line in others),
    ]


def _when(message: Document) -> str:
    sent_at = datetime.fromisoformat(message["sent_at"])
    return f"    ┃ {_date(message['sent_at'])} {sent_at:%H:%M} #{message['number']} "


def _recommendation(recommendation: Document, *, page: Layout, full: bool) -> list[str]:
    people = f" ({', '.join(map(plain, recommendation['for']))})" if recommendation["for"] else ""
    lines = [f"  → {page.bold(plain(recommendation['title']))}{people}"]
    lines += page.wrap(plain(recommendation["suggestion"]), first="    ")
    if full and recommendation["why"]:
        lines += page.wrap(f"Why: {plain(recommendation['why'])}", first="    ")
    if recommendation["example"]:
        lines += page.wrap(f"“{plain(recommendation['example'])}”", first="    ")
    return lines


def _sufficiency(document: Document, *, page: Layout) -> list[str]:
    sufficiency, provenance = document["sufficiency"], document["provenance"]
    read, total = sufficiency["messages_read"], sufficiency["messages_total"]
    whole = "all" if read == total else f"{number(read)} of"
    said = [f"Read {whole} {number(total)} messages, written by the {plain(provenance['engine'])} engine."]
    return [page.dim(line) for line in page.wrap(" ".join([*said, *map(plain, sufficiency["limits"])]), first="  ")]


# Words and figures


def facts(found: Sequence[Document], *, zeros: bool = True, people: int = PEOPLE_SHOWN) -> list[str]:
    """One line a label, with the first people's figures in it; labels that have only zeros if asked for."""
    telling = {fact["label"] for fact in found if zeros or fact["value"]}
    by_label: dict[str, list[str]] = {}
    for fact in found:
        if fact["label"] in telling:
            value = figure(fact["value"], unit=fact["unit"])
            told = f"{plain(fact['person'])} {value}" if fact["person"] else value
            by_label.setdefault(plain(fact["label"]), []).append(told)
    return [f"{label}: {', '.join(values[:people])}" for label, values in by_label.items()]


def figure(value: float | str, *, unit: str) -> str:
    if isinstance(value, str):
        return plain(value)
    if unit == "percent":
        return f"{number(value)}%"
    return duration(value) if unit == "seconds" else number(value)


def number(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def duration(seconds: float) -> str:
    """The two largest parts: `45 s`, `2 min`, `1 h 5 min`, `2 days 3 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    days, minutes = divmod(round(whole / 60), 24 * 60)
    hours, minutes = divmod(minutes, 60)
    parts = [plural(days, "day") if days else "", f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join([part for part in parts if part][:2])


def rating(member: str) -> str:
    """`slightly_imbalanced` as words."""
    return "not rated" if member == NO_RATING else plain(member).replace("_", " ")


def _date(moment: str) -> str:
    at = datetime.fromisoformat(moment)
    return f"{at.day} {at:%b %Y}"
