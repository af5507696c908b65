"""What operators see of the engine: its models, where texts go, what is missing, and when its models are retired.

Nothing here calls a provider. `ops/engine.py` does, for `manage.py engine --check`.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from insights.engines import get_engine
from insights.engines.base import Engine
from insights.engines.client import ModelClient
from relivchats.language_models.errors import SPEND_LIMIT_REACHED

#: What an operator does about an error code of the engine.
_ADVICE: Mapping[str, str] = {
    "invalid_key": "The provider rejects the key. Create a new one, set it, and restart the workers.",
    "unknown_model": "The provider does not have this model. Set another one, and restart the workers.",
    "invalid_base_url": "Nothing answers at this address. Check it: most servers need /v1 at its end.",
    "redirected": "The address answers with a redirect, which is not followed. Set the address that it redirects to.",
    "account_not_eligible": "The provider does not serve this account from here. Check its billing and its region.",
    "account_disabled": "The provider limited or disabled this account. See the provider's console.",
    "quota_exhausted": "The quota is used up. Wait until it is renewed, or raise it in the provider's console.",
    "spend_limit_reached": "This is billing, not a quota: a limit on spending is reached, or the paid credit is used"
    " up. Raise the limit or add funds in the provider's console, then check again.",
    "rate_limited": "The provider receives too many calls. Lower MODEL_REQUESTS_PER_MINUTE.",
    "memory_busy": "Large chats wait for memory. Raise SEARCH_MEMORY_MB, or start more workers.",
    "chat_too_large": "A chat needs more memory than a worker may use. Raise WORKER_MEMORY_MB.",
    "timeout": "No complete answer in time. Raise MODEL_TIMEOUT_SECONDS, or use a faster model.",
    "connection_refused": "No server answers at this address. Check it, and whether the server runs.",
    "connection_lost": "The server closed the connection. See its log.",
    "tls_failed": "The server's certificate is not trusted. Add its issuer to the system's certificates.",
    "provider_error": "The provider reports an error of its own. Try again later, and see its status page.",
    "malformed_response": "The answer is not that of an API. Check the address, and proxies on the way.",
    "request_rejected": "The provider rejects the request. Check that the model supports JSON schemas.",
    "schema_ignored": "The server ignores JSON schemas, or the model cannot follow them. Use another one.",
    "truncated_prompt": "The server cut the prompt. Raise its context size to OPENAI_CONTEXT_TOKENS.",
}


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine and its configuration. `models` is keyed by use: `writing` and `reading`; empty for `local`.

    `host` receives all texts; it is empty if nothing leaves this machine's processes. `missing` names the required
    settings that are not set.
    """

    name: str
    models: Mapping[str, str]
    host: str = ""
    is_own_network: bool = True
    is_encrypted: bool = True
    missing: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """What to do so that the engine can be used, or an empty string."""
        if not self.missing:
            return ""
        verb = "is" if len(self.missing) == 1 else "are"
        return f"{' and '.join(self.missing)} {verb} not set. Set it and restart web and workers (docs/engines.md)."


def get_client(engine: Engine) -> ModelClient | None:
    """Return the client of an engine that is a model, or None."""
    client: ModelClient | None = getattr(engine, "client", None)
    return client


def describe_engine() -> EngineState:
    """Return the state of this process's engine."""
    engine = get_engine()
    client = get_client(engine)
    if client is None:
        return EngineState(engine.name, {})
    address = urlsplit(client.address)
    host = address.hostname or ""
    return EngineState(
        name=engine.name,
        models={"writing": engine.model, "reading": str(getattr(engine, "reading_model", ""))},
        host=host,
        is_own_network=_is_own_network(host),
        is_encrypted=address.scheme == "https",
        missing=client.missing_settings(),
    )


def advice_for(code: str) -> str:
    """Return what an operator does about an error code of the engine."""
    return _ADVICE.get(code, "See the log of the workers.")


def remedy_for(code: str) -> str:
    """Return the command to run while a model is not called because of an error code of the engine."""
    command = "manage.py engine --check"
    if code == SPEND_LIMIT_REACHED:
        return f"{command}  # after you raised the limit or added funds in the provider's console"
    return command


def retirement_of(engine: str, model: str) -> date | None:
    """Return the day on which a provider retires a model, if it is known."""
    dates = _retirements().get(engine, {})
    # A version is a number; "-lite" and the like are other models.
    return dates.get(re.sub(r"-[0-9]+\Z", "", model.removeprefix("models/"))) or dates.get(model)


@cache
def _retirements() -> Mapping[str, Mapping[str, date]]:
    return tomllib.loads(Path(__file__).with_name("retirements.toml").read_text())


def _is_own_network(host: str) -> bool:
    """Return whether the host is this machine or has a private address or a name without a dot, as in Compose."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa"))
