"""The texts of prompts: the files in `prompts/`, and their version. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Template

from insights.episodes import KINDS, ROLES, TOPICS

DIRECTORY = Path(__file__).with_name("prompts")
NAMES = ("read", "write", "verify", "repair", "ask")


@cache
def load(name: str) -> str:
    """Return the text of a prompt: its file, with the lists of episode_kinds.toml filled in.

    What differs from call to call, such as `$language`, is still a placeholder.
    """
    text = (DIRECTORY / f"{name}.md").read_text(encoding="utf-8").strip()
    if name != "read":
        return text
    return Template(text).substitute(
        kinds="\n".join(f"- {kind.key}: {kind.description}" for kind in KINDS.values()),
        roles=_list_entries(ROLES),
        topics=_list_entries(TOPICS),
    )


@cache
def compute_version() -> str:
    """Return the version of all prompts together: the first digits of their SHA-256."""
    return hashlib.sha256("\0".join(map(load, NAMES)).encode()).hexdigest()[:12]


def _list_entries(entries: Mapping[str, str]) -> str:
    return "\n".join(f"- {key}: {description}" for key, description in entries.items())
