"""JSON schemas of pydantic models, for the API's description and for language models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_COMPONENT = "#/components/schemas/{model}"


def component_schemas(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Return the schemas of the model and of its parts by class name, with references to OpenAPI components.

    They allow unknown keys: a client must not reject a document that has a new one.
    """
    schema = model.model_json_schema(ref_template=_COMPONENT, mode="serialization")
    schemas = {**schema.pop("$defs", {}), model.__name__: schema}
    return {name: _without(part, "title", "additionalProperties") for name, part in schemas.items()}


def flat_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the model's schema without references, titles and descriptions, for structured output.

    Gemini rejects a schema with an unspecific error if it has too many limits, so the models for answers declare none.
    """
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(part: Any) -> Any:
        if isinstance(part, list):
            return [inline(entry) for entry in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inline(definitions[part["$ref"].rpartition("/")[2]])
        return {key: inline(value) for key, value in part.items()}

    flat: dict[str, Any] = _without(inline(schema), "title", "description")
    return flat


def _without(schema: Any, *keywords: str) -> Any:
    """Return the schema without these keywords. A property of the same name has a schema as its value and is kept."""
    if isinstance(schema, list):
        return [_without(part, *keywords) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without(value, *keywords)
        for key, value in schema.items()
        if key not in keywords or isinstance(value, dict)
    }
