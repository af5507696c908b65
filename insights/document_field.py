"""A serializer field for the document of an insight, described in the API's schema by the pydantic model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework import serializers

from insights.models import Insight

if TYPE_CHECKING:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import Direction


class DocumentField(serializers.Field[Insight, Any, "dict[str, Any] | None", Insight]):
    """The decrypted document, or null until the insight is completed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(source="*", read_only=True, **options)

    def to_representation(self, value: Insight) -> dict[str, Any] | None:
        """Return the document as it was stored."""
        return value.open_document()


class DocumentFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Describes DocumentField. The pydantic models take 0.35 s to import, so that happens on request."""

    target_class = "insights.document_field.DocumentField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        """Return a reference to the document's component, and register it with its parts."""
        from insights.document_models import Document
        from insights.json_schema import component_schemas

        for name, schema in component_schemas(Document).items():
            component = ResolvedComponent(  # type: ignore[no-untyped-call]
                name=name, type=ResolvedComponent.SCHEMA, object=f"insights.{name}", schema=schema
            )
            auto_schema.registry.register_on_missing(component)
        return {"oneOf": [{"$ref": "#/components/schemas/Document"}, {"type": "null"}]}
