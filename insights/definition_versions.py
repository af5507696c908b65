"""The versions of the definitions of insight types: who saved which one when and why, and restoring one."""

from __future__ import annotations

import json
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from insights.definition import (
    Advice,
    Definition,
    EpisodeGroup,
    EvidenceRange,
    Group,
    Overall,
    Reading,
    Section,
    Signal,
)
from insights.models import InsightType, InsightTypeVersion
from insights.validation import InvalidData
from relivchats.errors import Conflict
from relivchats.staff.bulk_actions import ActionContext, BatchResult, run_batch

#: The keys in the order of the models. PostgreSQL does not keep the order of the keys of a JSON column.
_KEYS = [
    field.alias or name
    for model in (Definition, Section, Reading, EpisodeGroup, Group, Signal, EvidenceRange, Advice, Overall)
    for name, field in model.model_fields.items()
]
_PLACE_OF = {key: place for place, key in reversed(list(enumerate(_KEYS)))}


def format_definition(definition: Any) -> str:
    """Return a definition as indented JSON with one entry of a list per line: what staff edit and what is compared."""
    return json.dumps(_order_keys(definition), indent=2, ensure_ascii=False)


def _order_keys(value: Any) -> Any:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (_PLACE_OF.get(key, len(_KEYS)), key))
        return {key: _order_keys(value[key]) for key in keys}
    return [_order_keys(entry) for entry in value] if isinstance(value, list) else value


@transaction.atomic
def save_type(
    insight_type: InsightType, *, saved_by: str, reason: str, edited_version: int | None = None
) -> InsightType:
    """Save a type, with a new version if its definition changed.

    `edited_version` is the version that the editor started from. Raise Conflict if another one was saved since, and
    InvalidData if the definition is invalid.
    """
    Definition.parse(insight_type.definition)
    # The type is locked, not its latest version: a query that waited for a lock does not see rows that were added
    # meanwhile, so the second of two edits would take the same number.
    InsightType.objects.select_for_update().filter(pk=insight_type.pk).first()
    latest = InsightTypeVersion.objects.filter(insight_type=insight_type.pk).order_by("-version").first()
    changed = latest is None or latest.definition != insight_type.definition
    if changed and latest is not None and edited_version not in (None, latest.version):
        raise Conflict(f"Version {latest.version} of {insight_type.pk} was saved meanwhile. Open the page again.")
    insight_type.version = (latest.version if latest else 0) + changed
    insight_type.save()
    if changed:
        InsightTypeVersion.objects.create(
            insight_type=insight_type,
            version=insight_type.version,
            definition=insight_type.definition,
            saved_by=saved_by,
            reason=reason[:200],
        )
    return insight_type


def restore(versions: QuerySet[InsightTypeVersion], *, context: ActionContext) -> BatchResult:
    """Save the definition of each of these versions as the newest version of its type, with an audit entry."""

    def step(version: InsightTypeVersion) -> str:
        with transaction.atomic():
            insight_type = InsightType.objects.select_for_update().get(pk=version.insight_type_id)
            if version.definition == insight_type.definition:
                raise Conflict(f"Version {version.version} has the current definition of {insight_type.pk}.")
            insight_type.definition = version.definition
            reason = f"Version {version.version} restored: {context.reason}"
            try:
                save_type(insight_type, saved_by=context.actor, reason=reason)
            except InvalidData as error:
                # Rules may have been added since it was saved.
                raise Conflict(f"Version {version.version} is not valid any more. {error}") from None
        return f"version {insight_type.version} of {insight_type.pk} is a copy of version {version.version}"

    return run_batch("restore definition", versions, step, context=context)
