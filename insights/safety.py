"""Signs that somebody may be in danger. An insight of such a chat gives no score and points to help.

The signs are phrases in English and Hinglish; a second list has longer, harmless phrases that contain them. At each
place in a text the longest phrase decides: "don't want to live with your mother" is harmless, "don't want to live with
this pain" is not. In doubt, a phrase counts as a sign; phrases that are rarely meant seriously ("hass hass ke mar
jaungi") are not listed. The lists find words and do not judge people, so the texts about a match are neutral.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product


def _each(*parts: str) -> tuple[str, ...]:
    """Return every phrase with one choice from each part; bars separate choices."""
    return tuple(" ".join(choice) for choice in product(*(part.split("|") for part in parts)))


_NOT = "don't|dont|do not|didn't|didnt|did not"
_WANT = "want to|wanna"

CONCERNS: Mapping[str, tuple[str, ...]] = {
    "violence": (
        *_each("he|she|you|dad|papa|husband|they", "hit me|hits me|beats me|slapped me|punched me|choked me|kicked me"),
        "hits me", "slapped me", "choked me", "punched me", "beats me up", "beat me up", "hitting me",
        "hurts me physically", "raised his hand on me", "raised her hand on me", "domestic violence",
        "mujhe maara", "mujhe mara", "mujhe marta hai", "mujhe maarta hai", "mujhe marti hai", "mujhe maarti hai",
        "mujhe thappad", "haath uthaya", "hath uthaya", "haath uthata", "hath uthata", "maar peet", "maarpeet",
        "marpeet", "मुझे मारा", "मुझे मारता", "मुझे मारती", "हाथ उठाया", "हाथ उठाता", "मारपीट",
    ),
    "coercion": (
        "forced me to", "forces me to", "forced himself", "forced herself", "raped", "rape", "molested",
        "blackmail", "blackmails", "blackmailed", "blackmailing",
        *_each("leak", "your|my", "photos|pics|videos"), *_each("won't|wont", "let me leave"), "locked me in",
        "not allowed to meet anyone", "zabardasti ki", "jabardasti ki", "photo leak kar dunga", "photos viral kar",
        *_each("ghar se nikalne", "nahi|nhi", "deta|deti|dete"), "जबरदस्ती की", "ब्लैकमेल",
    ),
    "self_harm": (
        "kill myself", "killing myself", "end my life", "ending my life", *_each("want to|wanted to|wanna", "die"),
        "commit suicide", "suicidal", "self harm", "self-harm", "hurt myself", "hurting myself", "cut myself again",
        "cutting myself", *_each(_NOT, _WANT, "live"), *_each("no longer", _WANT, "live"),
        *_each(_NOT, _WANT, "live in", "this world|this life|this hell|this pain|pain|fear|hell|misery"),
        *_each(_NOT, _WANT, "live with", "this|this pain|this guilt|this shame|pain|guilt|myself"),
        *_each(_NOT, _WANT, "live on", "earth|this earth|this planet"),
        *_each(_NOT, _WANT, "be alive"), "no reason to live", "better off without me", "better off dead",
        *_each("jeena", "nahi|nhi|nai", "chahta|chahti|hai mujhe"), *_each("mujhe", "jeena", "nahi|nhi|nai"),
        *_each("zinda", "nahi|nhi|nai", "rehna"), *_each("marna|mar jana", "chahta|chahti"),
        *_each("mujhe", "marna hai|mar jana hai|mar jana chahiye"), *_each("jeene ka", "man|mann", "nahi|nhi|nai"),
        *_each("suicide", "kar|karna|karne|karunga|karungi|kar lunga|kar lungi"), "khudkushi", "आत्महत्या",
        "जीना नहीं", "मरना चाहता", "मरना चाहती", "मर जाना चाहता", "मर जाना चाहती",
    ),
}  # fmt: skip

_PLACES = (
    "in|at|near|here|there|next|close|far|on|under|alone|apart|separately|together|around|by|inside|outside|abroad|away"
    "|off|with|beside|between|among|upstairs|downstairs|anywhere near"
)

#: Longer phrases that contain one of the above and are harmless.
HARMLESS: tuple[str, ...] = (
    *_each(_NOT, _WANT, "live", _PLACES), *_each("no longer", _WANT, "live", _PLACES),
    *_each("no reason to live", _PLACES), *_each(_NOT, _WANT, "die"),
    *_each("want to|wanted to|wanna", "die", "laughing|of laughter|of laughing|of embarrassment|of cuteness"),
    *_each("he|she|you|dad|papa|husband|they", "hit me", "up|back"),
    *_each("he|she|you|dad|papa|husband|they", "beats me", "at|in|to|by|every"),
    *_each("it|this|that|song|music|nostalgia|hunger|sleep", "hits me"),
    *_each("hits me", "different|differently|up|hard|that|right"), "choked me up",
    *_each("mujhe mara", "hua|samjho"), *_each("class|meeting", "mein|me", "haath|hath", "uthaya"),
    *_each("maar peet|marpeet|maarpeet", "wali", "film|movie|picture"),
    *_each("forced me to", "eat|watch|dance|try|sing|play|laugh|smile|study|wake|attend|listen|buy|read|cook|clean"
           "|learn|join|work|exercise|walk|run|rest|have lunch|have dinner|have breakfast|take rest|take a"),
    *_each("forced himself|forced herself", "to"), "emotional blackmail", "emotional blackmailing",
    *_each("won't|wont", "let me leave", "without|early|work|office|hungry|the table"),
    *_each("zabardasti ki|jabardasti ki", "smile|hasi|hassi"),
    *_each("kill myself|killing myself", "laughing|with laughter"),
    *_each("hurt myself", "while|playing|cooking|running|falling|shaving|chopping|cutting vegetables|accidentally"
           "|at the gym|in the gym|in the kitchen|by mistake|by accident"), "accidentally hurt myself",
    *_each("nahi|nhi", "marna chahta|marna chahti"), *_each("marna", "nahi|nhi", "chahta|chahti"),
)  # fmt: skip

CONCERN_KINDS = frozenset(CONCERNS)

#: All phrases of CONCERNS, to find messages by their words. `find_concerns` decides whether a message counts.
PHRASES = tuple(phrase for phrases in CONCERNS.values() for phrase in phrases)

HELP = (
    "In India, Tele-MANAS (14416) listens free of charge, day and night, and 112 is the emergency number; "
    "elsewhere, please use your local emergency number."
)
NOTICE = (
    "Some messages may speak of someone being hurt, pressed or in despair. If anyone is in danger or needs to talk, "
    f"help is near. {HELP}"
)
WITHHELD = "Questions that touch on this are not rated here, and this insight costs nothing."
FINDING = "This is not rated here; the summary says why. What was counted stands as it is."
RECOMMENDATION = {
    "title": "Reach out for help if it is needed",
    "suggestion": "If anyone is in danger or in despair, talk to somebody who can help: the summary says whom to call.",
    "why": "Nobody has to carry such things alone, and trained people are there at any hour.",
    "example": "I am worried and I do not want to be alone with this. Could you stay with me while I call?",
}

Tokens = tuple[str, ...]

# A word with its apostrophes in any script, or a sign. For `re`, vowel signs of Devanagari are not word characters.
_TOKEN = re.compile(r"[\w'\u0900-\u0963]+|[^\w\s]")


def find_concerns(text: str) -> set[str]:
    """Return the kinds of danger that a text may speak of.

    Within a phrase only spaces are allowed: "I don't want to live, there is no point" does not contain the harmless
    "live there".
    """
    tokens, index, kinds = _tokenize(text), 0, set()
    while index < len(tokens):
        phrases = _PHRASES_BY_FIRST_WORD.get(tokens[index], ())
        longest = next((phrase for phrase in phrases if tokens[index : index + len(phrase)] == phrase), ())
        if longest in _KINDS:
            kinds.add(_KINDS[longest])
        # Past the phrase: a sign within a harmless phrase must not be found on its own.
        index += len(longest) or 1
    return kinds


def mentions_danger(text: str) -> bool:
    """Return whether a text may speak of danger."""
    return bool(find_concerns(text))


def count_concerns(texts: Iterable[str]) -> dict[str, int]:
    """Return the number of texts that may speak of each kind of danger, without the kinds that have none."""
    found = [kind for text in texts for kind in find_concerns(text)]
    return {kind: found.count(kind) for kind in CONCERNS if kind in found}


def _tokenize(text: str) -> Tokens:
    # Phones write the typographic apostrophe, keyboards the straight one.
    return tuple(_TOKEN.findall(text.casefold().replace("\u2019", "'")))


_KINDS: Mapping[Tokens, str] = {_tokenize(phrase): kind for kind, phrases in CONCERNS.items() for phrase in phrases}


#: All phrases by their first word, the longest first.
_PHRASES_BY_FIRST_WORD: dict[str, list[Tokens]] = {}
for _phrase in sorted({*_KINDS, *map(_tokenize, HARMLESS)}, key=len, reverse=True):
    _PHRASES_BY_FIRST_WORD.setdefault(_phrase[0], []).append(_phrase)
