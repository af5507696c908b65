"""Measure the quality of search results: `python -m tests.benchmarks.retrieval`.

Each of six chats hides twenty passages in 4,000 everyday messages. Two queries paraphrase each passage. The output says
how often the right chunk is first, among the first five and among the first twenty, and the mean reciprocal rank.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from tests.benchmarks import stage

CHATS, NOISE_MESSAGES, HITS = 6, 4_000, 100
START = datetime.fromisoformat("2024-03-14 09:00")

PASSAGES: list[tuple[list[str], list[str]]] = [
    (
        ["I had a terrible fight with my manager today", "he shouted at me in front of everyone", "are you ok?"],
        ["conflict at work with boss", "upset about job"],
    ),
    (
        ["papa ki tabiyat kharab hai", "hospital le gaye?", "haan doctor ne kaha rest karo"],
        ["father is sick hospital doctor", "papa hospital"],
    ),
    (
        ["let's look at flats in Pune next year", "two bedrooms at least", "we need to save for the deposit"],
        ["buying a house together", "saving money for home"],
    ),
    (
        ["I'm sorry about last night", "I shouldn't have said that", "it's okay, I overreacted too"],
        ["apology after an argument", "making up, forgiving"],
    ),
    (
        ["happy anniversary my love", "three years with you and still butterflies", "you are my whole world"],
        ["romantic affection declarations", "anniversary"],
    ),
    (
        ["did the interview go well?", "they offered me the position!!", "so proud of you, you deserve it"],
        ["congratulations on new job", "being proud of achievement"],
    ),
    (
        ["which school will our kids go to haha", "we don't even have kids yet", "a boy and a girl"],
        ["talking about having children", "family planning future"],
    ),
    (
        ["why do you always come late", "you never listen to me", "that's not fair", "I'm tired of this"],
        ["complaints and criticism", "you always you never"],
    ),
    (["kal movie chalein?", "horror nahi please", "popcorn tum laoge"], ["plan to watch a film", "movie kal"]),
    (
        ["my grandma passed away this morning", "I'm so sorry for your loss", "I can't stop crying"],
        ["grief and death in the family", "comforting someone sad"],
    ),
    (
        ["have you eaten?", "khana khaya?", "take your medicine and sleep early", "drink water please"],
        ["caring check-ins about health", "did you eat"],
    ),
    (
        ["I feel so alone in this city", "nobody understands me here", "you can always talk to me"],
        ["feeling lonely, vulnerable", "emotional support"],
    ),
    (
        ["guess who is wearing my hoodie", "give it back thief", "come and get it ;)", "you flirt"],
        ["flirting and teasing", "playful banter"],
    ),
    (
        ["mummy wants to meet your parents", "already? shaadi ki baat", "haha yes get ready"],
        ["marriage talk with parents", "shaadi parents meeting"],
    ),
    (
        ["rent is due and I am broke", "how much do you need?", "five thousand till salary comes"],
        ["lending money, finances", "borrow money rent"],
    ),
    (
        ["we should go trekking in Ladakh", "I will need new boots", "book the tickets before prices rise"],
        ["vacation travel plans", "mountain trip"],
    ),
    (
        ["the baby kicked today", "oh my god really", "I felt it twice", "we are going to be parents"],
        ["pregnancy", "expecting a child"],
    ),
    (
        ["I don't trust you anymore", "who was that girl in the photo", "she is only a colleague"],
        ["jealousy and suspicion", "trust issues"],
    ),
    (
        ["I passed the exam", "first in the class!", "all those nights paid off", "treat de do"],
        ["exam results studying success", "good marks"],
    ),
    (
        ["the cat is missing since yesterday", "did you check the roof?", "found her in the cupboard"],
        ["lost pet", "cat"],
    ),
]
NOISE = (
    """
ok|haan|acha|lol|hmm|where are you|on the way|reached?|call me|busy now|send the pic|what happened|nothing yaar|gn
good night|good morning|office mein hoon|traffic is bad|did you see the match|that goal was mad|order biryani?
paneer or chicken|my phone is at 5 percent|wifi not working again|laundry karna hai|the maid didn't come|groceries: milk
come online|this song is stuck in my head|it's raining here|so hot today|what's the otp|forwarded the file|done|haha
boss called a meeting|deadline tomorrow|bus missed|metro is packed|gym at 7?|skipping gym|new series on netflix|pakka?
episode 4 was boring|😂😂|❤️|kal milte hain|which shirt|blue one|parcel aa gaya|amazon sale|need new shoes|how much
too costly|tea?|coffee please|sleepy|wake up|late ho gaya
""".strip()
    .replace("\n", "|")
    .split("|")
)


def main() -> None:
    print(stage.machine())
    with stage.installation():
        ranks = [rank for seed in range(CHATS) for rank in measure(seed)]
    print(f"{len(ranks)} searches: {format_quality(ranks)}")


def format_quality(ranks: list[int]) -> str:
    """Return the shares of searches by rank, and the mean reciprocal rank. Ranks count from 0."""
    shares = ", ".join(f"{sum(rank < n for rank in ranks) / len(ranks):.0%} among the first {n}" for n in (1, 5, 20))
    return f"{shares}, mean reciprocal rank {sum(1 / (1 + rank) for rank in ranks) / len(ranks):.2f}"


def measure(seed: int) -> list[int]:
    from chats import indexing, search
    from chats.importing import import_chat
    from chats.models import Chat
    from relivchats.accounts.models import User

    numbered_lines = list(lines(seed))
    owner = User.objects.create_user(f"retrieval-{seed}@example.com")
    chat = import_chat(owner=owner, upload="".join(line for line, _ in numbered_lines).encode())
    indexing.request(chat)
    assert indexing.index_chat(chat.pk)
    searcher = search.Searcher(Chat.objects.get(pk=chat.pk))
    ranks = []
    for number, (_, queries) in enumerate(PASSAGES):
        target = {at for at, (_, passage) in enumerate(numbered_lines, start=1) if passage == number}
        hits = [hit.chunk for hit in searcher.search(queries, limit=HITS)]
        matches = [bool(target & set(range(chunk.first_number, chunk.last_number + 1))) for chunk in hits]
        ranks.append(matches.index(True) if True in matches else HITS * 10)
    return ranks


def lines(seed: int) -> Iterator[tuple[str, int | None]]:
    """Yield the lines of an export, each with the index of its passage, or None for noise."""
    generator = random.Random(seed)
    passage_at = dict(zip(generator.sample(range(NOISE_MESSAGES), len(PASSAGES)), range(len(PASSAGES)), strict=True))
    at = START
    for position in range(NOISE_MESSAGES):
        passage = passage_at.get(position)
        for text in PASSAGES[passage][0] if passage is not None else []:
            at += timedelta(seconds=generator.randint(20, 90))
            yield f"{at:%d/%m/%Y, %H:%M} - {generator.choice(['Asha', 'Ravi'])}: {text}\n", passage
        kind = generator.random()
        at += timedelta(seconds=generator.expovariate(1 / (60 if kind < 0.85 else 2_000 if kind < 0.97 else 25_000)))
        text = " ".join(generator.sample(NOISE, 2 if generator.random() < 0.3 else 1))
        yield f"{at:%d/%m/%Y, %H:%M} - {generator.choice(['Asha', 'Ravi'])}: {text}\n", None


if __name__ == "__main__":
    main()
