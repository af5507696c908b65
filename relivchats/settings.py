"""Django's settings. Their values come from environment variables, which docs/settings.md lists.

A missing or malformed value stops the start with a sentence that names the variable. Without DATABASE_URL or REDIS_URL
the embedded servers of `relivchats.embedded` are used, and the secrets are in the data directory.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import environ
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from chats.embedding_engines import ENGINES as EMBEDDING_ENGINES
from insights.engines import ENGINES
from relivchats import embedded, roles
from relivchats.crypto import Keyring
from relivchats.environment import (
    absolute_path,
    base_url,
    boolean,
    networks,
    one_of,
    prices,
    read,
    secret,
    whole,
    words,
)
from relivchats.serve import DEFAULT_WEB_MEMORY_MB
from relivchats.supervisor import ProcessError

BASE_DIR = Path(__file__).resolve().parent.parent

DATABASE_URL = os.environ.get("DATABASE_URL") or embedded.database_url()
EMBEDDED = embedded.is_embedded(DATABASE_URL)
REDIS_URL = os.environ.get("REDIS_URL") or embedded.redis_url()

if EMBEDDED:
    SECRET_KEY = read("SECRET_KEY", str, default=embedded.secret("django", Keyring.new_secret))
    try:
        ENCRYPTION_KEYS = os.environ.get("ENCRYPTION_KEYS") or embedded.keyring(Keyring.new_text)
    except ProcessError as error:
        raise ImproperlyConfigured(str(error)) from None
else:
    SECRET_KEY = read("SECRET_KEY", str)
    ENCRYPTION_KEYS = read("ENCRYPTION_KEYS", str)
try:
    Keyring.parse(ENCRYPTION_KEYS)
except ValueError as error:
    raise ImproperlyConfigured(f"ENCRYPTION_KEYS is malformed: {error}. See docs/settings.md.") from None

KEY_STORE_DIR = read("KEY_STORE_DIR", absolute_path, default=str(embedded.key_store()) if EMBEDDED else "")

if not REDIS_URL.startswith(("redis://", "rediss://")):
    raise ImproperlyConfigured("REDIS_URL is malformed: use redis://:password@host:port/0. See docs/settings.md.")

# The memory of every process contains chats and keys. It is never written to a core file.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
DEBUG = read("DEBUG", boolean, default=False)
DEFAULT_EXCEPTION_REPORTER = "relivchats.logs.PrivateExceptionReporter"
ALLOWED_HOSTS = read("ALLOWED_HOSTS", words, default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = read("CSRF_TRUSTED_ORIGINS", words, default=[])
HTTPS_ONLY = read("HTTPS_ONLY", boolean, default=not EMBEDDED)
SUPPORT_EMAIL = read("SUPPORT_EMAIL", str, default="support@relivchats.com")
LOG_LEVEL = read("LOG_LEVEL", one_of("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
CELERY_WORKER = read("CELERY_WORKER", boolean, default=False)

# Applications and requests

INSTALLED_APPS = [
    "unfold",
    "relivchats.staff.admin_config.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_results",
    "relivchats.accounts",
    "relivchats.staff",
    "chats",
    "billing",
    "insights",
    "ops",
]
MIDDLEWARE = [
    "relivchats.proxies.TrustedProxyMiddleware",
    "relivchats.logs.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "relivchats.headers.SecurityHeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "relivchats.staff.lookups.NoNullBytesMiddleware",
    "relivchats.problems.RefusalMiddleware",
    "ops.console.outage.OutageMiddleware",
]
ROOT_URLCONF = "relivchats.urls"
WSGI_APPLICATION = "relivchats.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "relivchats" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "relivchats" / "static"]
# Static files are served from the packages that contain them; nothing is collected.
WHITENOISE_USE_FINDERS = True
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "relivchats.formats"
# For values that a template shows with `unlocalize`, which the module above does not format.
DATE_FORMAT, DATETIME_FORMAT = "Y-m-d", "Y-m-d H:i:s T"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Database. Only the web server has a connection pool (see asgi.py); workers and commands close their connections.

DATABASE_POOL_SIZE = read("DATABASE_POOL_SIZE", whole, default=0, least=0)
STATEMENT_TIMEOUT_SECONDS = read("STATEMENT_TIMEOUT_SECONDS", whole, default=60, least=1)


def _read_database(name: str, url: str, *, statement_timeout_seconds: int) -> dict[str, Any]:
    """Return Django's settings of the Postgres at this address. Raise ImproperlyConfigured, naming the variable.

    A timeout of 0 means none.
    """
    try:
        database: dict[str, Any] = environ.Env.db_url_config(url)
    except (ValueError, ImproperlyConfigured):
        raise ImproperlyConfigured(
            f"{name} is malformed: use postgresql://user:password@host:port/name. See docs/settings.md."
        ) from None
    if database.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"{name} must name a Postgres database: postgresql://user:password@host:port/name.")
    database["OPTIONS"] = {
        # Operators see in Postgres who holds connections and locks.
        "application_name": f"relivchats {roles.current()}",
        **database.get("OPTIONS", {}),
        "connect_timeout": 5,
        "options": f"-c statement_timeout={statement_timeout_seconds}s -c lock_timeout=15s"
        " -c idle_in_transaction_session_timeout=120s",
    }
    return database


DATABASES: dict[str, dict[str, Any]] = {
    "default": _read_database("DATABASE_URL", DATABASE_URL, statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS)
}
# The role that owns the tables. Only `migrate` connects as it; without it, the application owns them.
_owner_url = os.environ.get("DATABASE_OWNER_URL") or (embedded.owner_url() if EMBEDDED else "")
# Building an index of a large table takes longer than any other statement may.
DATABASE_OWNER = _read_database("DATABASE_OWNER_URL", _owner_url, statement_timeout_seconds=0) if _owner_url else {}
if DATABASE_OWNER and DATABASE_OWNER["NAME"] != DATABASES["default"]["NAME"]:
    raise ImproperlyConfigured("DATABASE_OWNER_URL must name the database of DATABASE_URL. See docs/settings.md.")
if DATABASE_OWNER and DATABASE_OWNER["USER"] == DATABASES["default"]["USER"]:
    DATABASE_OWNER = {}
if DATABASE_POOL_SIZE and not CELERY_WORKER:
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 5}

# Users

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["relivchats.accounts.passwords.PasswordBackend"]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
# Failed logins within five minutes, and unknown tokens within one.
LOGIN_FAILURES_PER_ACCOUNT = read("LOGIN_FAILURES_PER_ACCOUNT", whole, default=5, least=1)
LOGIN_FAILURES_PER_ADDRESS = read("LOGIN_FAILURES_PER_ADDRESS", whole, default=20, least=1)
INVALID_TOKENS_PER_MINUTE = read("INVALID_TOKENS_PER_MINUTE", whole, default=60, least=1)
# Requests of one user, or of one address if the user is unknown. 0: no limit.
REQUESTS_PER_MINUTE = read("REQUESTS_PER_MINUTE", whole, default=100, least=0)
UPLOADS_PER_HOUR = read("UPLOADS_PER_HOUR", whole, default=20, least=0)
UNLOCKS_PER_MINUTE = read("UNLOCKS_PER_MINUTE", whole, default=3, least=0)
UNLOCKS_PER_HOUR = read("UNLOCKS_PER_HOUR", whole, default=10, least=0)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Only staff have sessions. They log in again every working day.
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
if HTTPS_ONLY:
    # Browsers accept the prefix only from this host over HTTPS, so that no other subdomain can set these cookies.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
CSRF_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = HTTPS_ONLY
SECURE_REDIRECT_EXEMPT = [r"^health", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS_ONLY
TRUSTED_PROXIES = read("TRUSTED_PROXIES", networks, default=networks(""))
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
if "BEHIND_PROXY" in os.environ:
    raise ImproperlyConfigured(
        "BEHIND_PROXY was replaced: set TRUSTED_PROXIES to the networks of your proxies, such as 10.0.0.0/8."
    )
X_FRAME_OPTIONS = "DENY"

# API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "relivchats.accounts.tokens.BearerTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["relivchats.rest.LineRenderer"],
    "DEFAULT_PARSER_CLASSES": ["relivchats.rest.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["relivchats.throttling.RequestThrottle"],
    # OPTIONS is a 405: /api/schema describes the operations.
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "relivchats.problems.problem_response",
    # The Accept header chooses between JSON and a stream; no query parameter does.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "RelivChats",
    "DESCRIPTION": "Upload an exported chat, read its statistics, unlock insights backed by its own messages.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "relivchats.openapi.describe_rate_limits",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "Basis": ["counted", "read"],
        "ChatStage": "chats.models.Chat.Status",
        "VectorStage": "chats.models.Chat.VectorStatus",
        "JobStage": "insights.models.GenerationJob.Status",
        "InsightStage": "insights.models.Insight.Status",
        "QuestionStage": "insights.question_models.ChatQuestion.Status",
        "OrderStage": "billing.models.PaymentOrder.Status",
    },
}
UPLOAD_LIMIT_BYTES = read("MAX_UPLOAD_SIZE_MB", whole, default=25, least=1) * 1024 * 1024
# An upload that may unpack to more than 1 MB is parsed in a process of its own (chats/parsing_processes.py).
PARSING_PROCESSES = read("PARSING_PROCESSES", whole, default=2, least=1)
PARSING_MEMORY_MB = read("PARSING_MEMORY_MB", whole, default=512, least=64)
PARSING_CPU_SECONDS = read("PARSING_CPU_SECONDS", whole, default=30, least=1)
# Of one user; 0: no limit.
MAX_CHATS_PER_USER = read("MAX_CHATS_PER_USER", whole, default=500, least=0)
MAX_STORED_MB_PER_USER = read("MAX_STORED_MB_PER_USER", whole, default=1024, least=0)
# Uploads stay in memory: no file of a user is ever written.
FILE_UPLOAD_HANDLERS = ["chats.upload_handler.BoundedMemoryUploadHandler"]

# Insights

INSIGHT_ENGINE = read("INSIGHT_ENGINE", one_of(*ENGINES), default="local")
EMBEDDING_ENGINE = read("EMBEDDING_ENGINE", one_of(*EMBEDDING_ENGINES), default="local")
# A chat is read once, within this budget; a larger one is read where it matters.
READING_TOKEN_BUDGET = read("READING_TOKEN_BUDGET", whole, default=400_000, least=1_000)
VERIFY_CLAIMS = read("VERIFY_CLAIMS", boolean, default=True)
PSEUDONYMS = read("PSEUDONYMS", boolean, default=True)
MODEL_TIMEOUT_SECONDS = read("MODEL_TIMEOUT_SECONDS", whole, default=120, least=1)
# Of one model, over all workers; 0: no limit, which suits a server of one's own.
MODEL_REQUESTS_PER_MINUTE = read(
    "MODEL_REQUESTS_PER_MINUTE", whole, default=300 if INSIGHT_ENGINE == "gemini" else 0, least=0
)
MODEL_TOKENS_PER_MINUTE = read(
    "MODEL_TOKENS_PER_MINUTE", whole, default=1_000_000 if INSIGHT_ENGINE == "gemini" else 0, least=0
)
# Dollars for a million tokens in and out, by model; only to show what the models cost.
MODEL_PRICES: dict[str, tuple[float, float]] = read("MODEL_PRICES", prices, default={})
EMBEDDING_REQUESTS_PER_MINUTE = read("EMBEDDING_REQUESTS_PER_MINUTE", whole, default=300, least=0)
EMBEDDING_TOKENS_PER_MINUTE = read("EMBEDDING_TOKENS_PER_MINUTE", whole, default=1_000_000, least=0)
# Of the chats that one process searches or indexes at the same time, estimated (chats/memory.py).
SEARCH_MEMORY_MB = read("SEARCH_MEMORY_MB", whole, default=1024, least=64)
# Of a worker (relivchats/memory_limit.py) and of a web process (relivchats/serve.py); 0: no limit.
WORKER_MEMORY_MB = read("WORKER_MEMORY_MB", whole, default=3072, least=0)
WEB_MEMORY_MB = read("WEB_MEMORY_MB", whole, default=DEFAULT_WEB_MEMORY_MB, least=0)
# Copies of the vectors. Without it, the sealed matrices are searched.
QDRANT_URL = read("QDRANT_URL", base_url, default="")
QDRANT_API_KEY = read("QDRANT_API_KEY", secret, default="")
# Language models. An engine whose variables are missing is not available, but never prevents the start.
GEMINI_API_KEY = read("GEMINI_API_KEY", secret, default="")
GEMINI_LLM_MODEL = read("GEMINI_LLM_MODEL", str, default="gemini-3.8-flash")
GEMINI_READING_MODEL = read("GEMINI_READING_MODEL", str, default="gemini-3.5-flash-lite")
GEMINI_EMBEDDING_MODEL = read("GEMINI_EMBEDDING_MODEL", str, default="gemini-embedding-2")
GEMINI_EMBEDDING_DIMENSIONS = read("GEMINI_EMBEDDING_DIMENSIONS", whole, default=768, least=128)
GEMINI_BASE_URL = read("GEMINI_BASE_URL", base_url, default="https://generativelanguage.googleapis.com")
OPENAI_BASE_URL = read("OPENAI_BASE_URL", base_url, default="")
OPENAI_API_KEY = read("OPENAI_API_KEY", secret, default="")
OPENAI_MODEL = read("OPENAI_MODEL", str, default="")
OPENAI_READING_MODEL = read("OPENAI_READING_MODEL", str, default=OPENAI_MODEL)
OPENAI_CONTEXT_TOKENS = read("OPENAI_CONTEXT_TOKENS", whole, default=32_768, least=4_096)
OPENAI_PARALLEL_CALLS = read("OPENAI_PARALLEL_CALLS", whole, default=4, least=1)
MAX_CONCURRENT_INSIGHTS = read("MAX_CONCURRENT_INSIGHTS", whole, default=8, least=0)
# Insights that are not finished: of one user, and of all; 0: no limit.
MAX_OPEN_INSIGHTS_PER_USER = read("MAX_OPEN_INSIGHTS_PER_USER", whole, default=100, least=0)
MAX_QUEUED_INSIGHTS = read("MAX_QUEUED_INSIGHTS", whole, default=5000, least=0)
INSIGHT_MAX_ATTEMPTS = read("INSIGHT_MAX_ATTEMPTS", whole, default=3, least=1)
INSIGHT_LEASE_SECONDS = read("INSIGHT_LEASE_SECONDS", whole, default=90, least=2)
INSIGHT_START_TIMEOUT = read("INSIGHT_START_TIMEOUT", whole, default=600, least=10)
INSIGHT_GENERATION_TIMEOUT = read("INSIGHT_GENERATION_TIMEOUT", whole, default=600, least=10)
# A task message that no worker took within this time is published again.
REDISPATCH_SECONDS = read("REDISPATCH_SECONDS", whole, default=30, least=1)
# Between two rounds of recovery (insights/recovery.py).
RECOVERY_SECONDS = read("RECOVERY_SECONDS", whole, default=15, least=1)
RESERVATION_MARGIN_SECONDS = read("RESERVATION_MARGIN_SECONDS", whole, default=600, least=60)

# Questions about a chat: coins per answer, time for an answer, and questions per user and minute.

ASK_PRICE_COINS = read("ASK_PRICE_COINS", whole, default=0, least=0)
ASK_TIMEOUT_SECONDS = read("ASK_TIMEOUT_SECONDS", whole, default=90, least=10)
ASKS_PER_MINUTE = read("ASKS_PER_MINUTE", whole, default=10, least=0)

# An adjustment of more coins than this, in either direction, needs the approval of a second person.

ADJUSTMENT_APPROVAL_COINS = read("ADJUSTMENT_APPROVAL_COINS", whole, default=2000, least=0)

# Orders per user and minute.

ORDERS_PER_MINUTE = read("ORDERS_PER_MINUTE", whole, default=10, least=0)

# Payments. Each provider in billing/payments/providers/ declares its own variables.

PAYMENT_TIMEOUT_SECONDS = read("PAYMENT_TIMEOUT_SECONDS", whole, default=10, least=1)

# Celery. A message is only a notification: Postgres is the queue of record.

CELERY_BROKER_URL = REDIS_URL
CELERY_RESULT_BACKEND = "relivchats.results:PrivateDatabaseBackend"
CELERY_RESULT_EXTENDED = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_IGNORE_RESULT = False
CELERY_TASK_DEFAULT_QUEUE = "upkeep"
CELERY_TASK_ROUTES = {
    "insights.tasks.generate_insight": "insights",
    "insights.tasks.read_chat": "insights",
    "insights.tasks.answer_question": "insights",
    "chats.tasks.index_chat": "indexing",
    "chats.tasks.store_points": "indexing",
}
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_EXPIRES = 7 * 24 * 3600
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    # With the defaults, the task of a killed worker came back after about 100 s.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # Without these, a frozen broker blocked a publisher for more than a minute.
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
}
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "dispatch-indexing": {"task": "chats.tasks.dispatch", "schedule": 5.0, "options": {"expires": 5}},
    "destroy-keys": {"task": "chats.tasks.destroy_keys", "schedule": 60.0, "options": {"expires": 60}},
    "note-current-key": {"task": "chats.tasks.note_current_key", "schedule": 300.0, "options": {"expires": 300}},
    "synchronize-points": {"task": "chats.tasks.synchronize_points", "schedule": 300.0, "options": {"expires": 300}},
    "dispatch-readings": {"task": "insights.tasks.dispatch_readings", "schedule": 5.0, "options": {"expires": 5}},
    "dispatch-questions": {"task": "insights.tasks.dispatch_questions", "schedule": 5.0, "options": {"expires": 5}},
    "dispatch-insights": {"task": "insights.tasks.dispatch", "schedule": 5.0, "options": {"expires": 5}},
    "recover": {
        "task": "insights.tasks.recover",
        "schedule": float(RECOVERY_SECONDS),
        "options": {"expires": RECOVERY_SECONDS},
    },
    "apply-payment-events": {"task": "billing.tasks.apply_events", "schedule": 10.0, "options": {"expires": 10}},
    "reconcile-payments": {"task": "billing.tasks.reconcile_payments", "schedule": 120.0, "options": {"expires": 120}},
    "canary": {"task": "ops.tasks.canary", "schedule": 10.0, "options": {"expires": 10}},
    "probe-models": {"task": "ops.tasks.probe_models", "schedule": 60.0, "options": {"expires": 60}},
    "prune": {"task": "ops.tasks.prune", "schedule": 3600.0, "options": {"expires": 3600}},
    "audit-ledger": {"task": "ops.tasks.audit_ledger", "schedule": 300.0, "options": {"expires": 300}},
    "audit-ledger-in-full": {
        "task": "ops.tasks.audit_ledger_in_full",
        "schedule": crontab(minute="40", hour="3"),
        "options": {"expires": 3600},
    },
}

# Health: thresholds of the checks

HEALTH_QUEUE_WARNING = read("HEALTH_QUEUE_WARNING", whole, default=100, least=1)
HEALTH_QUEUE_AGE_WARNING_SECONDS = read("HEALTH_QUEUE_AGE_WARNING_SECONDS", whole, default=120, least=1)
HEALTH_DATABASE_WARNING_MS = read("HEALTH_DATABASE_WARNING_MS", whole, default=250, least=1)
HEALTH_CONNECTIONS_WARNING_PERCENT = read("HEALTH_CONNECTIONS_WARNING_PERCENT", whole, default=80, least=1)
HEALTH_CONNECTIONS_CRITICAL_PERCENT = read("HEALTH_CONNECTIONS_CRITICAL_PERCENT", whole, default=95, least=1)
HEALTH_LEDGER_AUDIT_SECONDS = read("HEALTH_LEDGER_AUDIT_SECONDS", whole, default=93_600, least=1)
HEALTH_LOCK_SECONDS = read("HEALTH_LOCK_SECONDS", whole, default=5, least=1)
HEALTH_QUERY_SECONDS = read("HEALTH_QUERY_SECONDS", whole, default=30, least=1)
HEALTH_OUTAGE_JOBS = read("HEALTH_OUTAGE_JOBS", whole, default=3, least=1)
HEALTH_OUTAGE_USERS = read("HEALTH_OUTAGE_USERS", whole, default=2, least=1)
HEALTH_ERRORS_WARNING_PERCENT = read("HEALTH_ERRORS_WARNING_PERCENT", whole, default=10, least=0)
HEALTH_P95_WARNING_MS = read("HEALTH_P95_WARNING_MS", whole, default=500, least=1)
HEALTH_MEMORY_GROWTH_MB = read("HEALTH_MEMORY_GROWTH_MB", whole, default=200, least=1)
HEALTH_LOGS_WARNING_MB = read("HEALTH_LOGS_WARNING_MB", whole, default=500, least=1)
HEALTH_CLOCK_SECONDS = read("HEALTH_CLOCK_SECONDS", whole, default=5, least=1)
HEALTH_CERTIFICATES: list[str] = read("HEALTH_CERTIFICATES", words, default=[])
HEALTH_BACKUP_HOURS = read("HEALTH_BACKUP_HOURS", whole, default=48, least=0)
HEALTH_KEY_AGE_DAYS = read("HEALTH_KEY_AGE_DAYS", whole, default=365, least=0)
HEALTH_DISK_WARNING_PERCENT = read("HEALTH_DISK_WARNING_PERCENT", whole, default=80, least=1)
HEALTH_DISK_CRITICAL_PERCENT = read("HEALTH_DISK_CRITICAL_PERCENT", whole, default=90, least=1)
HEALTH_HEARTBEAT_SECONDS = read("HEALTH_HEARTBEAT_SECONDS", whole, default=30, least=1)

# Monitoring

# A slower request or query is logged as a warning.
SLOW_REQUEST_MS = read("SLOW_REQUEST_MS", whole, default=3000, least=1)
SLOW_QUERY_MS = read("SLOW_QUERY_MS", whole, default=1000, least=1)
# Of Prometheus, for /metrics. Without it only staff may read them.
METRICS_TOKEN = read("METRICS_TOKEN", secret, default="")
MONITORING_DAYS = read("MONITORING_DAYS", whole, default=35, least=3)

# Logging: one JSON line per event, to standard output; of commands, whose output is a report, to standard error

_LOG_STREAM = "ext://sys.stderr" if roles.current() == "command" else "ext://sys.stdout"
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "relivchats.logs.JSONFormatter"}},
    "filters": {"quiet_on_terminal": {"()": "relivchats.logs.QuietOnTerminal"}},
    "handlers": {
        "stdout": {
            "class": "logging.StreamHandler",
            "stream": _LOG_STREAM,
            "formatter": "json",
            "filters": ["quiet_on_terminal"],
        },
        # Warnings and errors, also as rows for `manage.py errors`.
        "events": {"class": "relivchats.error_events.EventHandler"},
    },
    "root": {"handlers": ["stdout", "events"], "level": LOG_LEVEL},
    "loggers": {
        "django.server": {"level": "WARNING"},
        # RequestMiddleware logs each request; this adds only errors.
        "django.request": {"level": "ERROR"},
        "celery.app.trace": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        # The HTTP client and the SDK of language models: nothing of a request belongs in a log.
        "google_genai": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "httpcore2": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
    },
}

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "RelivChats",
    "SITE_HEADER": "RelivChats",
    "SITE_URL": None,
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_SYMBOL": "forum",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("relivchats/favicon.svg")}
    ],
    "STYLES": [
        lambda request: static("relivchats/console.css"),
        lambda request: static("relivchats/theme.css"),
    ],
    "SCRIPTS": [
        lambda request: static("relivchats/console.js"),
        lambda request: static("relivchats/theme.js"),
    ],
    "COLORS": {
        "primary": {
            "50": "oklch(96.2% .018 272.3)",
            "100": "oklch(93% .034 272.8)",
            "200": "oklch(87% .065 274)",
            "300": "oklch(78.5% .115 274.7)",
            "400": "oklch(70% .16 276.9)",
            "500": "oklch(58.5% .233 277.1)",
            "600": "oklch(51.1% .262 277)",
            "700": "oklch(45.7% .24 277)",
            "800": "oklch(39.8% .195 277.4)",
            "900": "oklch(35.9% .144 278.7)",
            "950": "oklch(25.7% .09 281.3)",
        },
    },
    "DASHBOARD_CALLBACK": "ops.dashboard.context",
    "COMMAND": {"search_callback": "ops.console.search.command_results"},
    "SIDEBAR": {"show_search": True, "command_search": True, "navigation": "ops.dashboard.sidebar"},
}
