"""The document of an insight, described for the API's readers. `insights.document` makes it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class OverallSerializer(serializers.Serializer[Any]):
    score = serializers.IntegerField(min_value=0, max_value=10, allow_null=True)
    rating = serializers.CharField(help_text="A member of the type's scale, or `not_enough_data`.")
    summary = serializers.CharField()


class PersonNoteSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    rating = serializers.CharField(allow_null=True)
    note = serializers.CharField()


class FactSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]
    person = serializers.CharField(allow_null=True, help_text="Null for the whole chat.")
    value = serializers.JSONField(help_text="A number or a word; counted, never written by a model.")
    unit = serializers.CharField()


class QuotedMessageSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(help_text="The message's number in the chat.")
    sender = serializers.CharField()
    sent_at = serializers.CharField(help_text="The wall clock of the export, without a zone.")
    text = serializers.CharField()


class ExchangeSerializer(serializers.Serializer[Any]):
    context = serializers.CharField()  # type: ignore[assignment]
    messages = QuotedMessageSerializer(many=True)


class SectionSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    title = serializers.CharField()
    rating = serializers.CharField(
        allow_null=True, help_text="A member of the section's scale, `not_enough_data`, or null where it has no scale."
    )
    finding = serializers.CharField()
    people = PersonNoteSerializer(many=True)
    facts = FactSerializer(many=True)
    evidence = ExchangeSerializer(many=True)


class RecommendationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    suggestion = serializers.CharField()
    why = serializers.CharField()
    example = serializers.CharField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`for` is a word of the language, so it cannot be declared above."""
        return {**super().get_fields(), "for": serializers.ListField(child=serializers.CharField())}


class SufficiencySerializer(serializers.Serializer[Any]):
    messages_read = serializers.IntegerField()
    messages_total = serializers.IntegerField()
    first_at = serializers.CharField(allow_null=True)
    last_at = serializers.CharField(allow_null=True)
    limits = serializers.ListField(child=serializers.CharField(), help_text="What to keep in mind, in sentences.")


class CitationsSerializer(serializers.Serializer[Any]):
    given = serializers.IntegerField()
    kept = serializers.IntegerField()
    dropped = serializers.IntegerField()


class ProvenanceSerializer(serializers.Serializer[Any]):
    engine = serializers.CharField()
    model = serializers.CharField()
    type_version = serializers.IntegerField()
    prompt_version = serializers.CharField()
    tokens = serializers.DictField(child=serializers.IntegerField())
    milliseconds = serializers.IntegerField()
    citations = CitationsSerializer()


class DocumentSerializer(serializers.Serializer[Any]):
    schema_version = serializers.IntegerField()
    overall = OverallSerializer()
    sections = SectionSerializer(many=True)
    recommendations = RecommendationSerializer(many=True)
    sufficiency = SufficiencySerializer()
    provenance = ProvenanceSerializer()
    language = serializers.CharField()
