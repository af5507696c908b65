"""Bearer tokens of our own: issued once in the clear, stored as digests."""

from __future__ import annotations

import hashlib
import secrets

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from relivchats.accounts.models import AccessToken, User

PREFIX = "rc_"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def issue(user: User) -> str:
    """A new token for this person, in the clear for the only time."""
    token = PREFIX + secrets.token_urlsafe(32)
    AccessToken.objects.create(user=user, digest=digest(token))
    return token


class BearerTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer rc_…`. Identity comes from the token alone."""

    def authenticate(self, request: Request) -> tuple[User, AccessToken] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = (
            AccessToken.objects.select_related("user")
            .filter(digest=digest(token.strip()), revoked_at=None, user__is_active=True)
            .first()
        )
        if found is None:
            raise AuthenticationFailed("This token is not known or no longer valid. Ask for a new one.")
        return found.user, found

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = BearerTokenAuthentication
    name = "bearerToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "One of ours: `manage.py token EMAIL` prints it."}
