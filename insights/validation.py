"""Base of the pydantic models of the catalogue and of documents. Errors are sentences that start with the location.

    section 2 (affection): signal: cuts: '5' must be a number

Only code that writes or checks insights imports this module and its users: importing pydantic and building the models
takes 0.35 s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from pydantic_core import InitErrorDetails, PydanticCustomError

from insights.translation import show_member

_MAX_SHOWN_LENGTH = 64

#: Plain words for the errors of pydantic, by type. Errors of validators have their own messages.
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
    "string_pattern_mismatch": "is not in lower snake case",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "needs at least {min_length}",
    "too_long": "takes at most {max_length}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
}

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
        # Not chained: the text of pydantic's error contains values.
        details = error.errors(include_url=False)
    sentences = []
    for detail in details:
        n_steps = len(detail["loc"])
        inner = [other for other in details if len(other["loc"]) > n_steps and other["loc"][:n_steps] == detail["loc"]]
        if detail["type"] == "too_short" and inner:
            # pydantic counts the valid entries only, so a list whose entries are invalid is reported as too short.
            continue
        location = [source]
        value = data
        for step in detail["loc"]:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                # A missing value, or a location that a validator named, is not in the data.
                value = None
            if isinstance(step, str):
                location.append(step)
            elif detail["type"] == "model_type" or not _is_short(value):
                location[-1] += f" {step + 1}"
                # An entry's own key is easier to find in a long file than its number.
                if isinstance(value, Mapping):
                    name = value.get("key") or (value.get("name") if show_values else None)
                    location[-1] += f" ({name})" if isinstance(name, str) and _is_short(name) else ""
        template = _MESSAGES.get(detail["type"])
        message = template.format(**detail.get("ctx", {})) if template else detail["msg"]
        if show_values and detail["type"].endswith(("_type", "_mismatch")) and _is_short(detail["input"]):
            message = f"{detail['input']!r} {message}"
        sentences.append(": ".join([*location, message]))
    raise InvalidData(sentences)


def translate_shown(model: Model, translate: Callable[[str], str]) -> Model:
    """Return a copy of the model with every text that people are shown replaced by what `translate` returns."""
    values: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if SHOWN in field.metadata:
            is_table = isinstance(value, Mapping)
            values[name] = {key: translate(text) for key, text in value.items()} if is_table else translate(value)
        elif isinstance(value, BaseModel):
            values[name] = translate_shown(value, translate)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            values[name] = tuple(translate_shown(entry, translate) for entry in value)
    return model.model_copy(update=values)


def list_texts(model: BaseModel, *, location: str) -> Iterator[tuple[str, str]]:
    """Yield each text that people are shown, with its location."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if SHOWN in field.metadata:
            texts = value if isinstance(value, Mapping) else {"": value}
            for key, text in texts.items():
                if text:
                    yield f"{location}: {name}{key and f' ({show_member(key)})'}", text
        elif isinstance(value, BaseModel):
            yield from list_texts(value, location=f"{location}: {name}")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for entry in value:
                own = getattr(entry, "title", "")
                yield from list_texts(entry, location=f"{location}: {own}")


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


#: Marks the fields of the catalogue that people are shown, and that are translated (insights/translation_files.py).
SHOWN = "shown"

ShortText = Annotated[str, StringConstraints(strict=True, max_length=600)]
Text = Annotated[ShortText, AfterValidator(_check_not_blank)]
ShownText = Annotated[Text, SHOWN]
Slug = Annotated[Text, StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")]
NonBlank = Annotated[StrictStr, AfterValidator(_check_not_blank)]
Phrases = Annotated[tuple[NonBlank, ...], Field(max_length=200)]
Count = Annotated[int, Strict(), Field(ge=0)]
PositiveCount = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict()]


def _is_short(value: Any) -> bool:
    """Return whether a message can show the value."""
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _MAX_SHOWN_LENGTH)
