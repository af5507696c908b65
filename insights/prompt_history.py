"""The texts of prompts over time. Staff cannot read the version control of the files; the database has each text.

`record` runs after every migrate. An insight names the version of the prompts that it was written with, and the
PromptSet of this version has their texts.
"""

from __future__ import annotations

import hashlib

from django.db import transaction

from insights import prompt_files
from insights.models import PromptSet, PromptVersion


@transaction.atomic
def record() -> None:
    """Record the prompts of this release unless they are recorded. Processes may do it at the same time."""
    texts = {name: prompt_files.load(name) for name in prompt_files.NAMES}
    PromptVersion.objects.bulk_create(
        [PromptVersion(name=name, digest=compute_digest(text), text=text) for name, text in texts.items()],
        ignore_conflicts=True,
    )
    prompt_set, _ = PromptSet.objects.get_or_create(version=prompt_files.compute_version())
    # Rows that another process wrote have no primary key here, so they are read.
    digests = list(map(compute_digest, texts.values()))
    prompt_set.prompts.add(*PromptVersion.objects.filter(name__in=texts, digest__in=digests))


def compute_digest(text: str) -> str:
    """Return the SHA-256 of a text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(version: PromptVersion) -> bool:
    """Return whether this release sends this text."""
    return version.name in prompt_files.NAMES and version.digest == compute_digest(prompt_files.load(version.name))
