"""Security headers of every response: a content security policy, no caching, and no features of the browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpRequest, HttpResponseBase

_PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in ("browsing-topics", "camera", "display-capture", "geolocation", "microphone", "payment", "usb")
)


def _policy(sources: Mapping[str, str]) -> str:
    """Return a policy that allows these sources and nothing else."""
    closed = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
    return "; ".join(f"{directive} {allowed}" for directive, allowed in {**closed, **sources}.items())


#: No page of ours has an inline script or style, so none needs a nonce, and an injected one never runs.
_PAGE: Mapping[str, str] = {
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
}
_POLICIES = {
    # Documents are data. A browser that shows one as a page runs nothing.
    "data": _policy({}),
    "page": _policy(_PAGE),
    # Alpine.js evaluates the expressions in Unfold's templates, and Unfold writes its colours in a <style>.
    "admin": _policy({**_PAGE, "script-src": "'self' 'unsafe-eval'", "style-src": "'self' 'unsafe-inline'"}),
    # Swagger UI sets styles of elements.
    "docs": _policy({**_PAGE, "style-src": "'self' 'unsafe-inline'"}),
}


def set_security_headers(response: HttpResponseBase, *, path: str) -> None:
    """Set the headers that the view did not set."""
    is_page = response.headers.get("Content-Type", "").startswith("text/html")
    if path.startswith("/admin"):
        policy = _POLICIES["admin"]
    elif path == "/api/docs":
        policy = _POLICIES["docs"]
    else:
        policy = _POLICIES["page" if is_page else "data"]
    response.headers.setdefault("Content-Security-Policy", policy)
    response.headers.setdefault("Permissions-Policy", _PERMISSIONS)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    # What is private must not stay on a shared computer.
    response.headers.setdefault("Cache-Control", "private, no-store")


class SecurityHeadersMiddleware:
    """Sets the headers of every response, besides those of Django's SecurityMiddleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response with the headers."""
        response = self.get_response(request)
        set_security_headers(response, path=request.path)
        return response
