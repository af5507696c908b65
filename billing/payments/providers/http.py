"""The HTTP session of the providers' SDKs: with timeouts, and every response is a JSON object or an error."""

from __future__ import annotations

import logging
from typing import Any

import requests
from django.conf import settings

from billing.payments.providers.base import ProviderUnavailable

logger = logging.getLogger(__name__)

#: Just above a multiple of 3 s, the TCP retransmission window (Requests' documentation, "Timeouts").
CONNECT_TIMEOUT_SECONDS = 3.05


class Session(requests.Session):
    """Raise ProviderUnavailable for every failure. The SDKs do not know it, so they neither print nor retry it."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request with timeouts and without redirects. Raise ProviderUnavailable."""
        options["timeout"] = (CONNECT_TIMEOUT_SECONDS, settings.PAYMENT_TIMEOUT_SECONDS)
        # The APIs do not redirect. A followed redirect could send the request, with its keys, to another host.
        options["allow_redirects"] = False
        try:
            response = super().request(*args, **options)
            answer = response.json()
        except (requests.RequestException, ValueError):
            raise ProviderUnavailable from None
        if response.status_code in (401, 403):
            # Not a refusal: it says nothing about a request that was sent with the previous keys.
            logger.error("payment provider rejected the API keys", extra={"status": response.status_code})
            raise ProviderUnavailable
        # The request may or may not have had an effect. Only a clear refusal may fail an order or a refund.
        if response.status_code >= 500 or response.status_code == 429 or not isinstance(answer, dict):
            raise ProviderUnavailable
        return response
