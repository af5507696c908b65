"""HTTP beneath both SDKs: with time-outs, and an answer is a JSON object or none.

That our keys are not accepted is no answer either: it says nothing of what was
asked under the last ones, so nothing may be taken for refused.
"""

from __future__ import annotations

import logging
from typing import Any

import requests
from django.conf import settings

from billing.payments.providers.base import ProviderUnavailable

logger = logging.getLogger(__name__)

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
        if response.status_code in (401, 403):
            logger.error("a payment provider does not accept our keys", extra={"status": response.status_code})
            raise ProviderUnavailable
        if response.status_code >= 500 or response.status_code == 429 or not isinstance(answer, dict):
            raise ProviderUnavailable
        return response
