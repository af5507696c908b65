"""The API's view of the user."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relivchats.accounts.models import User
from relivchats.openapi import example, problems
from relivchats.rest import authenticated_user


class PersonSerializer(serializers.ModelSerializer[User]):
    """A user, as the API shows them to themselves."""

    class Meta:
        model = User
        fields = ("id", "email", "created_at")


class Me(APIView):
    """`/api/me`."""

    @extend_schema(
        operation_id="me",
        tags=["people"],
        summary="Who am I",
        description="The person whose token this is.",
        responses={200: PersonSerializer, **problems(401)},
        examples=[
            example(
                "A person",
                {
                    "id": "5b0a4c1e-8f4f-4a3e-9a55-0d6f6f0f6f01",
                    "email": "ann@example.org",
                    "created_at": "2026-01-05T09:30:00Z",
                },
            )
        ],
    )
    def get(self, request: Request) -> Response:
        """Return the user whose token this is."""
        return Response(PersonSerializer(authenticated_user(request)).data)
