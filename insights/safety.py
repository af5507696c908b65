"""Signs that somebody may be in danger: then an insight gives no score and points to help.

A small list of phrases in English and Hinglish that seldom stand in a joke. It
finds words, it does not judge people: what is said of a match is neutral.
"""

from __future__ import annotations

from collections.abc import Mapping

CONCERNS: Mapping[str, tuple[str, ...]] = {
    "violence": (
        "he hit me", "she hit me", "you hit me", "hits me", "slapped me", "choked me", "punched me",
        "hurts me physically", "raised his hand on me", "raised her hand on me", "domestic violence",
        "mujhe maara", "mujhe mara", "mujhe thappad", "haath uthaya", "hath uthaya", "maar peet", "marpeet",
        "मुझे मारा", "हाथ उठाया", "मारपीट",
    ),
    "coercion": (
        "forced me to", "forced himself", "forced herself", "raped", "molested", "blackmail", "blackmailing",
        "leak your photos", "leak your pics", "leak my photos", "leak my pics", "won't let me leave",
        "wont let me leave", "locked me in", "not allowed to meet anyone", "zabardasti ki", "jabardasti ki",
        "photo leak kar dunga", "photos viral kar", "ghar se nikalne nahi deta", "जबरदस्ती की", "ब्लैकमेल",
    ),
    "self_harm": (
        "kill myself", "end my life", "want to die", "commit suicide", "suicidal", "self harm",
        "self-harm", "hurt myself", "cut myself again", "don't want to live", "dont want to live",
        "no reason to live", "better off without me", "jeena nahi chahta", "jeena nahi chahti", "jeena nhi chahta",
        "jeena nhi chahti", "marna chahta hu", "marna chahti hu", "mar jana chahta", "mar jana chahti",
        "suicide kar", "khudkushi", "आत्महत्या", "जीना नहीं चाहता", "जीना नहीं चाहती", "मरना चाहता", "मरना चाहती",
    ),
}  # fmt: skip

#: Every one of them: the messages that are never quoted as an example of something else.
PHRASES = tuple(phrase for phrases in CONCERNS.values() for phrase in phrases)

HELP = (
    "In India, Tele-MANAS (14416) listens free of charge, day and night, and 112 is the emergency number; "
    "elsewhere, please use your local emergency number."
)
NOTICE = (
    "Some messages may speak of someone being hurt, pressed or in despair. A count of words cannot judge that, so "
    f"this insight gives no score. If anyone is in danger or needs to talk, help is near. {HELP}"
)
FINDING = "Some messages of this chat may speak of someone being hurt or in distress, so nothing is rated here. " + HELP


def speaks_of_danger(text: str) -> bool:
    lowered = text.casefold()
    return any(phrase in lowered for phrase in PHRASES)
