"""Bearer tokens of our own: shown once when issued, stored as digests, revoked by staff and operators."""

from __future__ import annotations

import hashlib
import secrets

from django.db.models.functions import Now
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from relivchats import logs
from relivchats.accounts.models import AccessToken, User
from relivchats.errors import Conflict
from relivchats.throttling import Limit, TooManyRequests, client_address

PREFIX = "rc_"
INVALID_TOKENS = Limit("invalid-token", "INVALID_TOKENS_PER_MINUTE")


class TokenRevoked(Conflict):
    """The token was revoked before (409)."""

    title = "Already revoked"


def digest(token: str) -> str:
    """Return the SHA-256 digest of a token in hexadecimal, as it is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def issue(user: User) -> str:
    """Create a token for this user and return it. It cannot be shown again."""
    token = PREFIX + secrets.token_urlsafe(32)
    AccessToken.objects.create(user=user, digest=digest(token))
    return token


def revoke(token: AccessToken) -> str:
    """Make a token invalid from now on and return the outcome. Raise TokenRevoked if it already is."""
    # One statement: of two concurrent calls, one revokes it and the other is refused.
    if not AccessToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now()):
        raise TokenRevoked("This token was revoked before.")
    return "revoked"


class BearerTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer rc_…`. Identity comes from the token alone."""

    def authenticate(self, request: Request) -> tuple[User, AccessToken] | None:
        """Return the user and the token, or None without a bearer token.

        Raise AuthenticationFailed if the token is unknown or revoked, and TooManyRequests if the caller's address sent
        too many such tokens. The token is looked up before anything is counted: a valid one always passes, whatever
        others behind the same address send.
        """
        scheme, _, text = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = (
            AccessToken.objects.select_related("user")
            .filter(digest=digest(text.strip()), revoked_at=None, user__is_active=True)
            .first()
        )
        if token is not None:
            logs.bind(user=token.user_id)
            return token.user, token
        window = INVALID_TOKENS.hit(client_address(request))
        if window is not None and window.exceeded:
            raise TooManyRequests(
                "Too many unknown tokens were sent from your address."
                f" Check the token, and try again in {window.reset_seconds} s.",
                retry_after_seconds=window.reset_seconds,
            )
        raise AuthenticationFailed("This token is not known or no longer valid. Ask for a new one.")

    def authenticate_header(self, request: Request) -> str:
        """Return the scheme for the header WWW-Authenticate."""
        return "Bearer"


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The description of our tokens in the OpenAPI schema."""

    target_class = BearerTokenAuthentication
    name = "bearerToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "http", "scheme": "bearer", "description": "One of ours: `manage.py token EMAIL` prints it."}
