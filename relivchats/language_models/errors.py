"""The errors of engines: those that write insights and those that embed texts. No error contains a text of a chat."""

from __future__ import annotations


class EngineError(Exception):
    """An engine could not write a draft. `code` is stored with the insight and logged; it never contains chat text."""

    code = "engine_error"
    #: whether this failure counts against the maximum number of attempts
    uses_attempt = True
    #: whether another attempt may succeed
    may_retry = True

    def __init__(self, code: str = "") -> None:
        self.code = code or self.code
        super().__init__(self.code)


class EngineRateLimited(EngineError):
    """The provider received too many calls and says when to call again. `exhausted`: the quota of a day is used up."""

    code = "rate_limited"
    uses_attempt = False

    def __init__(self, *, retry_after_seconds: float, exhausted: bool = False) -> None:
        super().__init__("quota_exhausted" if exhausted else "")
        self.retry_after_seconds = retry_after_seconds
        self.exhausted = exhausted


class EngineUnavailable(EngineError):
    """The provider did not answer, or reported an error of its own."""

    code = "engine_unavailable"


class EngineMisconfigured(EngineError):
    """The key or the model is wrong. No attempt is used: an operator can correct it before the job's deadline."""

    code = "engine_misconfigured"
    uses_attempt = False


class UnusableAnswer(EngineError):
    """The answer is malformed, or too few of its citations are in the chat."""

    code = "unusable_answer"


class EngineRefused(EngineError):
    """The provider refuses this request; another attempt would not change that."""

    code = "engine_refused"
    may_retry = False
