"""HTTP beneath both SDKs: with time-outs, and an answer is a JSON object or none."""

from __future__ import annotations

from typing import Any

import requests
from django.conf import settings

from billing.payments.providers.base import ProviderUnavailable

#: Connecting takes no longer; answering has PAYMENT_TIMEOUT_SECONDS.
CONNECT_SECONDS = 3.05


class Session(requests.Session):
    """Raises ProviderUnavailable, which neither SDK knows, so neither prints it or tries again."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = (CONNECT_SECONDS, settings.PAYMENT_TIMEOUT_SECONDS)
        options["allow_redirects"] = False
        try:
            response = super().request(*args, **options)
            answer = response.json()
        except (requests.RequestException, ValueError):
            raise ProviderUnavailable from None
        if response.status_code >= 500 or response.status_code == 429 or not isinstance(answer, dict):
            raise ProviderUnavailable
        return response
