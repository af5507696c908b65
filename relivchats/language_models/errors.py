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


#: The codes of a rejected call for which waiting a minute does not help: the quota of a day, and billing.
QUOTA_EXHAUSTED = "quota_exhausted"
SPEND_LIMIT_REACHED = "spend_limit_reached"


class EngineRateLimited(EngineError):
    """The provider received too many calls and says when to call again. `exhausted`: the quota of a day is used up.

    `spending`: not the quota, but a limit on spending or the paid credit is. That is exhausted too, and needs a person.
    """

    code = "rate_limited"
    uses_attempt = False

    def __init__(self, *, retry_after_seconds: float, exhausted: bool = False, spending: bool = False) -> None:
        super().__init__(SPEND_LIMIT_REACHED if spending else QUOTA_EXHAUSTED if exhausted else "")
        self.retry_after_seconds = retry_after_seconds
        self.exhausted = exhausted or spending
        self.spending = spending


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
