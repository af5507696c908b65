"""An engine that is a language model: it reads a chat window by window, writes claims, and verifies them.

Everything that a model answers is checked: insights/engines/answers.py checks the shape, insights/claims.py each
sentence. Names are replaced in every text that is sent (chats/pseudonyms.py), and restored in the sentences that
come back. All calls pass the quota of their model (relivchats/language_models/quota.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from django.conf import settings

from chats.pseudonyms import Pseudonyms
from insights import claims, prompt_files, prompting
from insights.claims import Claim
from insights.engines import answers
from insights.engines.base import Brief, Draft, EngineRefused, EngineUnavailable, UnusableAnswer
from insights.engines.client import ModelAnswer, ModelClient, ModelRequest
from insights.episodes import Episode, Window, WindowReading
from insights.prompting import Prompt
from insights.rating import rate_section
from insights.tokens import count_text_tokens
from insights.translation import LANGUAGES
from relivchats.language_models import quota
from relivchats.language_models.slots import CallSlots

#: Tokens of an answer. A window of 8,000 tokens holds about forty episodes of sixty tokens.
MAX_OUTPUT_TOKENS = 8_192
#: How long a call may wait for the quota; after that the work is rescheduled.
MAX_QUOTA_WAIT_SECONDS = 120

#: With less time than this before its deadline, a call is not made.
MIN_CALL_SECONDS = 1.0

T = TypeVar("T")


Stage = Literal["read", "write", "verify", "ask"]


@dataclass
class Usage:
    """Tokens of the calls of one insight or question, by stage."""

    tokens: dict[str, int]

    def add(self, stage: str, answer: ModelAnswer) -> None:
        """Add the tokens of a call."""
        for direction, count in (("in", answer.tokens_in), ("out", answer.tokens_out)):
            self.tokens[f"{stage}_{direction}"] = self.tokens.get(f"{stage}_{direction}", 0) + count

    def total(self, direction: Literal["in", "out"]) -> int:
        """Return the tokens of all requests or of all answers."""
        return sum(count for name, count in self.tokens.items() if name.endswith(f"_{direction}"))


class ModelEngine:
    """Reads chats and writes insights by a language model that `client` calls."""

    languages: tuple[str, ...] = tuple(LANGUAGES)
    method: Literal["counted", "read"] = "read"
    chat_languages: frozenset[str] | None = None

    def __init__(
        self,
        client: ModelClient,
        *,
        name: str,
        model: str,
        reading_model: str,
        window_tokens: int,
        parallel_windows: int,
        write_tokens: int,
        parallel_calls: int = 350,
    ) -> None:
        self.client = client
        self.name = name
        self.model = model
        self.reading_model = reading_model
        self.window_tokens = window_tokens
        self.parallel_windows = parallel_windows
        self.write_tokens = write_tokens
        # Fewer than the connections of the client: a wait for a connection would count in the time limit of a call.
        self._slots = CallSlots(parallel_calls)

    @property
    def unavailable_reason(self) -> str:
        """`not_configured` while a required setting is missing, else an empty string."""
        return "not_configured" if self.client.missing_settings() else ""

    @property
    def prompt_version(self) -> str:
        """The version of the prompt files."""
        return prompt_files.compute_version()

    def read(
        self, window: Window, *, people: Sequence[str], other_names: Mapping[str, int] = MappingProxyType({})
    ) -> WindowReading:
        """Return what the model found in a window. Raise EngineError."""
        prompt = self.render_window(window, people=people, other_names=other_names)
        usage = Usage({})
        result, answer = self.call(
            prompt,
            model=self.reading_model,
            schema=answers.reading_schema(len(people)),
            parse=lambda text: answers.parse_reading(text, window, people_count=len(people)),
            group=people,
            stage="read",
            usage=usage,
        )
        pseudonyms = get_pseudonyms(people, other_names)
        episodes = tuple(_check_subject(episode, pseudonyms) for episode in result.episodes)
        tokens_in, tokens_out = usage.total("in"), usage.total("out")
        return replace(result, episodes=episodes, tokens_in=tokens_in, tokens_out=tokens_out, model=answer.model)

    def render_window(self, window: Window, *, people: Sequence[str], other_names: Mapping[str, int]) -> Prompt:
        """Return the texts that `read` sends."""
        return prompting.render_window(window, people=people, pseudonyms=get_pseudonyms(people, other_names))

    def write(self, brief: Brief) -> Draft:
        """Return a draft whose claims were checked and verified. Raise EngineError.

        Raise EngineRefused("cannot_judge") if the model says so of the chat.
        """
        pseudonyms = get_pseudonyms(brief.people, brief.other_names)
        usage = Usage({})
        ratings = {entry.section.key: rate_section(brief, entry) for entry in brief.sections}
        written, _ = self.call(
            prompting.render_insight(brief, ratings, pseudonyms=pseudonyms, write_tokens=self.write_tokens),
            model=self.model,
            schema=answers.writing_schema(brief.definition, len(brief.people)),
            parse=lambda text: answers.parse_writing(text, brief.definition, people_count=len(brief.people)),
            group=brief.people,
            stage="write",
            usage=usage,
        )
        if not written.can_judge:
            raise EngineRefused("cannot_judge")
        restored = [claim for each in written.claims if (claim := _restore_claim(each, pseudonyms)) is not None]
        kept = claims.check_claims(brief, restored)
        kept += claims.list_examples(brief, kept)
        verified = claims.Verified(tuple(kept))
        if settings.VERIFY_CLAIMS:
            verified = self._verify(brief, kept, usage)
        draft = claims.build_draft(brief, verified, declined=written.declined)
        n_checked = sum(claim.episode is None for claim in kept)
        return replace(
            draft,
            tokens_in=usage.total("in"),
            tokens_out=usage.total("out"),
            usage=usage.tokens,
            verification={
                "asked": len(kept) if settings.VERIFY_CLAIMS else 0,
                "confirmed": len(verified.confirmed) if settings.VERIFY_CLAIMS else 0,
                "refuted": len(verified.refuted),
                "unsupported": len(written.claims) - n_checked,
            },
        )

    def _verify(self, brief: Brief, kept: Sequence[Claim], usage: Usage) -> claims.Verified:
        """Return the claims after the verification: one call, or several if the model's context is small."""
        pseudonyms = get_pseudonyms(brief.people, brief.other_names)
        verdicts: dict[int, claims.Verdict] = {}
        start = 0
        for batch in prompting.divide_claims(brief, kept, pseudonyms=pseudonyms, max_tokens=self.write_tokens):
            answered, _ = self.call(
                prompting.render_verification(brief, batch, pseudonyms=pseudonyms),
                model=self.model,
                schema=answers.verification_schema(),
                parse=partial(answers.parse_verdicts, count=len(batch)),
                group=brief.people,
                stage="verify",
                usage=usage,
            )
            verdicts |= {start + index: verdict for index, verdict in answered.items()}
            start += len(batch)
        return claims.apply_verdicts(brief, kept, verdicts)

    def call(
        self,
        prompt: Prompt,
        *,
        model: str,
        schema: Mapping[str, Any],
        parse: Callable[[str], T],
        group: Sequence[str],
        stage: Stage,
        usage: Usage,
        deadline: float | None = None,
    ) -> tuple[T, ModelAnswer]:
        """Return the parsed answer of a call. An unusable answer is asked for again, once.

        A truncated answer about a window is not: the window is split instead. `deadline` is a time of time.monotonic()
        at which the call ends at the latest. Raise EngineError.
        """
        # Calls about one chat take turns with those about others.
        chat = "\0".join(group)

        def send(request: ModelRequest) -> ModelAnswer:
            # After the wait for the quota, and before the time limit of the call begins.
            if deadline is None:
                with self._slots.hold(chat):
                    return self.client.generate(request)
            with self._slots.hold(chat, timeout_seconds=max(0.0, deadline - time.monotonic())):
                remaining = deadline - time.monotonic()
                if remaining < MIN_CALL_SECONDS:
                    raise TimeoutError
                return self.client.generate(replace(request, timeout_seconds=min(request.timeout_seconds, remaining)))

        request = build_request(prompt, model=model, schema=schema)
        for may_repair in (True, False):
            try:
                answer = quota.call(
                    request,
                    send=send,
                    estimated_tokens=count_reserved_tokens(request),
                    give_up_at=time.monotonic() + MAX_QUOTA_WAIT_SECONDS if deadline is None else deadline,
                    # Only a hash of it leaves the process.
                    group=chat,
                )
                usage.add(stage, answer)
                return parse(answer.text), answer
            except TimeoutError:
                raise EngineUnavailable("deadline_passed") from None
            except UnusableAnswer as error:
                if not may_repair or (stage == "read" and error.code == "truncated_answer"):
                    raise
                request = build_request(prompting.render_repair(prompt), model=model, schema=schema)
        raise AssertionError("unreachable")


def build_request(prompt: Prompt, *, model: str, schema: Mapping[str, Any]) -> ModelRequest:
    """Return the call that sends a prompt."""
    return ModelRequest(
        model=model,
        instructions=prompt.instructions,
        content=prompt.content,
        schema=schema,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        timeout_seconds=settings.MODEL_TIMEOUT_SECONDS,
    )


def count_reserved_tokens(request: ModelRequest) -> int:
    """Return about how many tokens of the quota a call takes, with a quarter of the largest answer."""
    prompt = count_text_tokens(request.instructions) + count_text_tokens(request.content)
    return prompt + request.max_output_tokens // 4


def get_pseudonyms(people: Sequence[str], other_names: Mapping[str, int]) -> Pseudonyms:
    """Return the pseudonyms of a chat's people."""
    return _build_pseudonyms(tuple(people), tuple(other_names.items()), enabled=settings.PSEUDONYMS)


# Building them takes longer than masking a message, and a chat is read in many windows.
@lru_cache(maxsize=64)
def _build_pseudonyms(
    people: tuple[str, ...], other_names: tuple[tuple[str, int], ...], *, enabled: bool
) -> Pseudonyms:
    return Pseudonyms(people, dict(other_names), enabled=enabled)


def _check_subject(episode: Episode, pseudonyms: Pseudonyms) -> Episode:
    """Return the episode, with an empty subject if it names somebody who is not in the chat. People keep labels."""
    return replace(episode, subject="") if pseudonyms.unknown_labels(episode.subject) else episode


def _restore_claim(claim: Claim, pseudonyms: Pseudonyms) -> Claim | None:
    """Return the claim with names in place of labels, or None if it names somebody who is not in the chat."""
    if pseudonyms.unknown_labels(f"{claim.sentence} {claim.context}"):
        return None
    return replace(claim, sentence=pseudonyms.restore(claim.sentence), context=pseudonyms.restore(claim.context))
