"""Finds what identifies people besides names: phone numbers, e-mail addresses, links, handles and numbers. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from chats.romanization import MARKS

#: A digit run of so many digits or more is masked, also with signs between the digits.
MIN_DIGITS = 5
_PHONE_DIGITS = range(10, 16)
#: Digits at the end that two spellings of a phone number share, with and without a country code.
_SAME_DIGITS = 9
_MIN_PHONE_NAME_DIGITS = 7

_GAP = "[ \u00a0\u2009\u202f\u2007\\-\u2010-\u2015().\\/\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe0f\u20e3]"
_WORD_CHAR = rf"[\w{MARKS}]"
_SIGN = r"(?:[^\W\d]|-)"

#: Without one of these, a text has no contact details.
_NEEDED = re.compile(r"[@＠\d]|://|www\.|\w\.\w", re.IGNORECASE)
_PATTERN = re.compile(
    rf"""
      (?P<link>   (?<![^\W_])[a-z][a-z0-9+.\-]{{0,15}}://\S+ | ://\S+ | www\.\S+
                | (?<![\w@.\-])(?:[\w\-]+\.)+[^\W\d_]{{2,24}}(?::\d+)?[/?\#]\S* )
    | (?P<email>  (?<![\w.+\-])[\w.+\-]+[@＠][\w\-]+(?:\.[\w\-]+)+ )
    | (?P<handle> (?<![\w.+\-])[\w.+\-]+[@＠][\w\-]+ | [@＠]{_WORD_CHAR}(?:{_WORD_CHAR}|[.\-](?=\w))* )
    | (?P<place>  [-+]?\d{{1,3}}\.\d{{3,}}\s?°?\s?[NSEW]?\s?[,;\s]\s?[-+]?\d{{1,3}}\.\d{{3,}}\s?°?\s?[NSEW]? )
    | (?P<code>   (?<!\w)[A-Z]{{2}}\d{{2}}(?:[ ]?[A-Z0-9]{{4}}){{2,8}}(?:[ ]?[A-Z0-9]{{1,3}})?(?!\w)
                | (?<![\w\-])(?=[^\W\d])(?=(?:{_SIGN}*\d){{4}})[\w\-]+ )
    | (?P<number> \+?\(?\d(?:{_GAP}{{0,3}}\d){{{MIN_DIGITS - 1},}}\w* )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_AT = "@＠"
_HOST = re.compile(r"(?:[^/?#]*://)?(?:[^/?#@]*@)?([^/?#:@\s]*)")


def has_details(text: str) -> bool:
    """Return whether a text can contain a contact detail or a label: most texts cannot."""
    return bool(_NEEDED.search(text))


def mask_details(
    text: str,
    *,
    find_label: Callable[[str], str],
    find_phone_label: Callable[[str], str],
    protect: Callable[[str], str],
) -> str:
    """Return the text with a placeholder, wrapped by `protect`, for each contact detail.

    `find_label` returns the label of a person of the chat whose name a text contains, or an empty string: the handle
    of such a name becomes the label, and a host that contains one is not kept. `find_phone_label` returns the label
    of the person with these digits.
    """

    def mask(match: re.Match[str]) -> str:
        found = match.group()
        match match.lastgroup:
            case "link":
                host = _shorten_host(found)
                return protect(f"[link {host}]" if host and not find_label(host) else "[link]")
            case "email":
                return protect("[email]")
            case "handle":
                is_phone = sum(map(str.isdecimal, found)) >= MIN_DIGITS
                label = find_phone_label(read_digits(found)) if is_phone else ""
                if found[0] in _AT:
                    label = label or find_label(found[1:])
                return protect(label or ("[phone]" if is_phone else "[handle]"))
            case "place":
                return protect("[coordinates]")
            case "code":
                return protect("[number]")
        digits = read_digits(found)
        is_phone = len(digits) in _PHONE_DIGITS or found.startswith("+")
        return protect(find_phone_label(digits) or ("[phone]" if is_phone else "[number]"))

    return _PATTERN.sub(mask, text)


def read_digits(text: str) -> str:
    """Return the digits of a text in any script as ASCII digits."""
    return "".join(str(int(char)) for char in text if char.isdecimal())


def make_phone_key(digits: str) -> str:
    """Return what a phone number has in common with its other spellings; empty if it is too short for one."""
    return digits[-_SAME_DIGITS:] if len(digits) >= _MIN_PHONE_NAME_DIGITS else ""


def _shorten_host(link: str) -> str:
    """Return the registered part of a link's host, or an empty string if it could identify somebody.

    Subdomains are left out: on many sites they are the names of accounts.
    """
    match = _HOST.match(link.removeprefix("://"))
    host = match.group(1).casefold() if match else ""
    labels = host.strip(".").split(".")
    if not re.fullmatch(r"[a-z0-9\-.]+", host) or len(labels) < 2 or sum(char.isdigit() for char in host) >= MIN_DIGITS:
        return ""
    # Such as co.in and com.br.
    is_second_level = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if is_second_level else -2 :])
