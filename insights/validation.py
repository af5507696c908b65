"""Base of the pydantic models of the catalogue and of documents. Errors are sentences that start with the location.

    section 2 (affection): signal: cuts: '5' is not a number

Only code that writes or checks insights imports this module and its users: importing pydantic and building the models
takes 0.35 s.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StrictStr,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

_SLUG = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_MAX_LABEL_LENGTH = 64

Model = TypeVar("Model", bound=BaseModel)


class ClosedModel(BaseModel):
    """An immutable model that rejects unknown keys: in a hand-written table, an unknown key is a typing error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InvalidData(ValueError):
    """Data does not match its model. `errors` has one sentence per error."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(errors))


def parse(model: type[Model], data: Any, *, source: str, context: Any = None, show_values: bool = True) -> Model:
    """Return the data as an instance of the model. Raise InvalidData; each of its sentences starts with `source`.

    Validators find `context` in their `info`. Without `show_values`, the sentences contain no value and no name from
    the data: text of a chat must not reach a log.
    """
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise InvalidData([f"{source}: {_describe(detail, data, show_values=show_values)}" for detail in details])


def error_at(*location: str | int, message: str) -> ValidationError:
    """Return an error at a location relative to the validated model, for a validator of several fields to raise."""
    return ValidationError.from_exception_data(
        "rule", [InitErrorDetails(type=custom_error(message), loc=location, input=None)]
    )


def custom_error(message: str) -> PydanticCustomError:
    """Return an error with this message. Braces in the message are not interpreted."""
    return PydanticCustomError("rule", "{message}", {"message": message})


def check_member(value: str, members: Collection[str]) -> str:
    """Return the value if it is one of the members. Raise a validation error that lists them."""
    if value not in members:
        raise custom_error(f"{value!r} is none of {', '.join(sorted(members))}")
    return value


def _check_not_blank(text: str) -> str:
    if not text.strip():
        raise custom_error("must not be blank")
    return text


def _check_slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise custom_error(f"{text!r} is not in lower snake case")
    return text


ShortText = Annotated[str, StringConstraints(strict=True, max_length=600)]
Text = Annotated[ShortText, AfterValidator(_check_not_blank)]
Slug = Annotated[Text, AfterValidator(_check_slug)]
NonBlank = Annotated[StrictStr, AfterValidator(_check_not_blank)]
Phrases = Annotated[tuple[NonBlank, ...], Field(max_length=200)]
Count = Annotated[int, Strict(), Field(ge=0)]
PositiveCount = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict()]


def _describe(detail: ErrorDetails, data: Any, *, show_values: bool) -> str:
    """Return `location: message` in plain words, with the entries of a list numbered from 1."""
    parts: list[str] = []
    value = data
    for step in detail["loc"]:
        value = _get(value, step)
        if isinstance(step, str):
            parts.append(step)
        elif detail["type"] == "model_type" or not _is_short(value):
            parts[-1] += f" {step + 1}{_label(value, show_name=show_values)}"
    return ": ".join([*parts, _message(detail, show_value=show_values)])


def _get(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None


def _label(entry: Any, *, show_name: bool) -> str:
    """Return the entry's own key or name in brackets, which is easier to find in a long file than its number."""
    if not isinstance(entry, Mapping):
        return ""
    label = entry.get("key") or (entry.get("name") if show_name else None)
    return f" ({label})" if isinstance(label, str) and len(label) <= _MAX_LABEL_LENGTH else ""


def _is_short(value: Any) -> bool:
    """Whether a message can show the value."""
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _MAX_LABEL_LENGTH)


_MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "needs at least {min_length}",
    "too_long": "takes at most {max_length}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
}


def _message(detail: ErrorDetails, *, show_value: bool) -> str:
    template = _MESSAGES.get(detail["type"])
    if template is None:
        return detail["msg"]
    message = template.format(**detail.get("ctx", {}))
    if show_value and detail["type"].endswith("_type") and _is_short(detail["input"]):
        return f"{detail['input']!r} {message}"
    return message
