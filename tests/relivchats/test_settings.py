"""Settings come from the environment, are documented, and a value that cannot be used is refused by its name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from billing.payments import providers

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "DATABASE_URL": "postgresql://someone:secret@localhost:5432/relivchats",
    "REDIS_URL": "redis://localhost:6379/0",
    "SECRET_KEY": "a-secret-of-some-length",
    "ENCRYPTION_KEYS": "k1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}

START = "import django; django.setup()"
SAY_WHETHER_SANDBOX = f"""{START}
from billing.payments import providers
print("sandbox" in [provider.name for provider in providers.configured()])
"""


def start(code: str = START, /, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [
            sys.executable,
            "-c",
            code,
        ],
        cwd=ROOT,
        env={**keep, "DJANGO_SETTINGS_MODULE": "relivchats.settings", **GOOD, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_good_settings_start() -> None:
    started = start()
    assert started.returncode == 0, started.stderr


def test_in_production_cookies_are_bound_to_this_host_and_every_page_to_https() -> None:
    shown = start(f"""{START}
from django.conf import settings
for name in ("SESSION", "CSRF"):
    print(*(getattr(settings, name + "_COOKIE_" + field) for field in ("NAME", "SECURE", "HTTPONLY", "PATH", "DOMAIN")))
print(settings.SECURE_HSTS_SECONDS, settings.SECURE_SSL_REDIRECT)
""")
    assert shown.stdout.splitlines() == [
        "__Host-sessionid True True / None",
        "__Host-csrftoken True True / None",
        "31536000 True",
    ], shown.stderr


@pytest.mark.parametrize(("environment", "threads"), [({}, "16"), ({"PARSING_PROCESSES": "8"}, "22")])
def test_every_thread_of_the_web_server_finds_a_connection_in_the_pool(
    environment: dict[str, str], threads: str
) -> None:
    shown = start(
        """
import os
from relivchats import asgi
from django.conf import settings
executors = (asgi._requests, asgi._health, asgi._polls, asgi._heavy._executor)
others = asgi.RENEWAL_THREADS + asgi.RECORDER_THREADS
pool = settings.DATABASES["default"]["OPTIONS"]["pool"]
print(sum(each._max_workers for each in executors) + others, pool["max_size"], flush=True)
# Its threads wait for a database.
os._exit(0)
""",
        **environment,
    )
    assert shown.stdout.split() == [threads, threads], shown.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", ""),
        ("ENCRYPTION_KEYS", ""),
        ("ENCRYPTION_KEYS", "k1:tooshort"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_OWNER_URL", "mysql://localhost/relivchats"),
        ("DATABASE_OWNER_URL", "postgresql://owner:secret@localhost:5432/another"),
        ("DEBUG", "perhaps"),
        ("LOG_LEVEL", "LOUD"),
        ("MAX_CONCURRENT_INSIGHTS", "many"),
        ("MAX_CONCURRENT_INSIGHTS", "-1"),
        ("INSIGHT_ENGINE", "oracle"),
        ("EMBEDDING_ENGINE", "oracle"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "proxy.internal"),
        ("BEHIND_PROXY", "true"),
        ("KEY_STORE_DIR", "var/keys"),
        ("QDRANT_URL", "qdrant:6333"),
        ("GEMINI_EMBEDDING_DIMENSIONS", "64"),
        ("MAX_UPLOAD_SIZE_MB", "-1"),
        ("STATEMENT_TIMEOUT_SECONDS", "99999999"),
        ("REDIS_URL", "http://localhost"),
        ("PAYMENTS_SANDBOX", "true"),
        ("PAYMENT_TIMEOUT_SECONDS", "0"),
        ("STRIPE_WEBHOOK_SECRETS", ","),
        ("GEMINI_API_KEY", "MDEyMzQ1 with a space"),
        ("GEMINI_BASE_URL", "generativelanguage.googleapis.com"),
        ("OPENAI_BASE_URL", "ftp://localhost"),
        ("OPENAI_BASE_URL", "http://user:MDEyMzQ1@localhost/v1"),
        ("OPENAI_BASE_URL", "http://localhost:port/v1"),
        ("OPENAI_CONTEXT_TOKENS", "2048"),
        ("MODEL_PRICES", "gemini-3.8-flash=0.75"),
        ("MODEL_PRICES", "gemini-3.8-flash=nan/1"),
    ],
)
def test_a_missing_or_malformed_setting_stops_the_start_and_is_named(name: str, value: str) -> None:
    refused = start(**{name: value})
    assert refused.returncode != 0
    assert name in refused.stderr.splitlines()[-1]
    assert "invalid literal" not in refused.stderr.splitlines()[-1]
    assert "MDEyMzQ1" not in refused.stderr, "a key was printed"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"STRIPE_SECRET_KEY": "sk_test_x", "STRIPE_WEBHOOK_SECRETS": "whsec_x"}, "STRIPE_PUBLISHABLE_KEY"),
        ({"STRIPE_SECRET_KEY": "sk_test_x", "STRIPE_PUBLISHABLE_KEY": "pk_test_x"}, "STRIPE_WEBHOOK_SECRETS"),
        ({"RAZORPAY_KEY_ID": "rzp_test_x", "RAZORPAY_WEBHOOK_SECRETS": "x"}, "RAZORPAY_KEY_SECRET"),
        ({"RAZORPAY_KEY_ID": "rzp_test_x", "RAZORPAY_KEY_SECRET": "x"}, "RAZORPAY_WEBHOOK_SECRETS"),
    ],
)
def test_a_partly_configured_provider_is_refused(given: dict[str, str], missing: str) -> None:
    refused = start(**given)
    assert refused.returncode != 0
    assert missing in refused.stderr.splitlines()[-1]


def test_the_sandbox_is_refused_with_live_keys_even_with_debug() -> None:
    live = {
        "STRIPE_SECRET_KEY": "sk_live_x",
        "STRIPE_PUBLISHABLE_KEY": "pk_live_x",
        "STRIPE_WEBHOOK_SECRETS": "whsec_x",
    }
    assert start(DEBUG="true", PAYMENTS_SANDBOX="true").returncode == 0
    assert start(DEBUG="true", **live).returncode == 0
    refused = start(DEBUG="true", PAYMENTS_SANDBOX="true", **live)
    assert "PAYMENTS_SANDBOX" in refused.stderr.splitlines()[-1]


def test_the_sandbox_is_offered_only_if_it_is_configured(tmp_path: Path) -> None:
    embedded = {"DATABASE_URL": "", "REDIS_URL": "", "RELIVCHATS_DATA": str(tmp_path)}
    stripe = dict.fromkeys(("STRIPE_SECRET_KEY", "STRIPE_PUBLISHABLE_KEY", "STRIPE_WEBHOOK_SECRETS"), "x")
    for asked, offered in [
        (GOOD, "False"),
        (embedded, "False"),
        (embedded | {"PAYMENTS_SANDBOX": "true"}, "True"),
        (GOOD | {"PAYMENTS_SANDBOX": "auto"}, "False"),
        (embedded | {"PAYMENTS_SANDBOX": "auto"}, "True"),
        (embedded | {"PAYMENTS_SANDBOX": "auto", **stripe}, "False"),
        (embedded | {"DEBUG": "true"}, "True"),
        (embedded | {"DEBUG": "true", "PAYMENTS_SANDBOX": "false"}, "False"),
    ]:
        started = start(SAY_WHETHER_SANDBOX, **asked)
        assert started.stdout.strip() == offered, started.stderr


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    sources = [*(ROOT / "relivchats").glob("*.py")]
    read = {
        name
        for source in sources
        for name in re.findall(
            r'(?:read\(|environ\.get\(|environ\.setdefault\(|environ\[)\s*"([A-Z_]+)"', source.read_text()
        )
    } - {"DJANGO_SETTINGS_MODULE"}
    read |= {setting.name for provider in providers.REGISTRY.values() for setting in provider.settings()}
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
    assert documented == read
