"""The API's view of the user."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relivchats import limits
from relivchats.accounts import erasure
from relivchats.accounts.models import User
from relivchats.openapi import example, problems
from relivchats.rest import authenticated_user


class UserLimitSerializer(serializers.Serializer[Any]):
    """A limit of one user, and how much of it is used."""

    limit = serializers.IntegerField(allow_null=True, help_text="Null if there is no limit.")
    used = serializers.IntegerField()


class PersonSerializer(serializers.ModelSerializer[User]):
    """A user, as the API shows them to themselves."""

    limits = serializers.SerializerMethodField(
        help_text="By name: `chats`; `stored_bytes` of their sealed messages; `open_insights`, which are not finished;"
        " `uploads_per_hour`, in this hour of the clock."
    )

    class Meta:
        model = User
        fields = ("id", "email", "created_at", "limits")

    @extend_schema_field(serializers.DictField(child=UserLimitSerializer()))
    def get_limits(self, user: User) -> Any:
        """Return the limits and their usage."""
        return limits.describe(user)


class Me(APIView):
    """`/api/me`."""

    @extend_schema(
        operation_id="me",
        tags=["people"],
        summary="Who am I",
        description="The person whose token this is, with the limits of their account and how much of each is used.",
        responses={200: PersonSerializer, **problems(401)},
        examples=[
            example(
                "A person",
                {
                    "id": "5b0a4c1e-8f4f-4a3e-9a55-0d6f6f0f6f01",
                    "email": "ann@example.org",
                    "created_at": "2026-01-05T09:30:00Z",
                    "limits": {
                        "chats": {"limit": 500, "used": 3},
                        "open_insights": {"limit": 100, "used": 6},
                        "stored_bytes": {"limit": 1073741824, "used": 2097152},
                        "uploads_per_hour": {"limit": 20, "used": 1},
                    },
                },
            )
        ],
    )
    def get(self, request: Request) -> Response:
        """Return the user whose token this is."""
        return Response(PersonSerializer(authenticated_user(request)).data)

    @extend_schema(
        operation_id="delete_account",
        tags=["people"],
        summary="Delete my account permanently",
        description="Deletes the account at once with its chats, their insights and questions, its tokens and sessions,"
        " and destroys the encryption keys. This cannot be undone. Coins that are left are lost, and nothing is paid"
        " back: ask for refunds first. The transactions of coins stay, without a link to the person.",
        responses={204: None, **problems(401, _403="The account of a member of staff.")},
    )
    def delete(self, request: Request) -> Response:
        """Erase the user whose token this is."""
        erasure.erase(authenticated_user(request))
        return Response(status=204)
