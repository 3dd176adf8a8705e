"""Settings of the service; whatever differs between machines comes from environment variables.

    DATABASE_URL    postgresql://...   the truth: jobs, metrics, checkpoints
    REDIS_URL       redis://...        the doorbell: Celery's broker
    SECRET_KEY      signs sessions
    ALLOWED_HOSTS   names that the service answers to, comma-separated
    DEBUG           off unless set; never on a machine that others reach
    BEHIND_HTTPS    on where a proxy ends TLS and sets X-Forwarded-Proto

`manage.py up` sets the first three for the processes that it starts. They may be missing in a process
that uses none of them, such as `manage.py up` itself; Django says so when one is then needed.
"""

import logging
from datetime import timedelta
from pathlib import Path

import environ  # type: ignore[import-untyped]
import structlog

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# Who we are -----------------------------------------------------------------------------------
SECRET_KEY = env.str("SECRET_KEY", default="")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
ROOT_URLCONF = "service.urls"
ASGI_APPLICATION = "service.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

INSTALLED_APPS = [
    "service.accounts",
    "service.jobs",
    "service.experiments",
    "service.webhooks",
    "service.api",
    "service.panel",
    "service.local_stack",
    "unfold",  # before the admin, whose templates it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_structlog",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

if env.bool("BEHIND_HTTPS", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 31_536_000

# Static files: served by the web process straight from the packages, without a collectstatic step.
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

# Database -------------------------------------------------------------------------------------
# One connection a thread; the web process has four (asgi.py), and a thread's lives for a minute.
DATABASES = (
    {
        "default": {
            **env.db_url("DATABASE_URL"),
            "ENGINE": "django.db.backends.postgresql",
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
        }
    }
    if env.str("DATABASE_URL", default="")
    else {}
)

# Panel ----------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "Altprop",
    "SITE_HEADER": "Altprop",
    "SITE_SYMBOL": "neurology",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: f"{STATIC_URL}panel/favicon.svg"}
    ],
}

# HTTP API -------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "service.accounts.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",  # the panel's pages read the API
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "service.api.errors.exception_handler",
}
REST_KNOX = {
    # knox's own 10 hours would end a script in the middle of a long experiment.
    "TOKEN_TTL": timedelta(days=90),
    "AUTH_HEADER_PREFIX": "Token",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Altprop",
    "DESCRIPTION": "Trains neural networks with backpropagation and its alternatives, and measures which is better.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "WEBHOOKS": ["service.api.webhooks_shape.MESSAGE"],
}

# Requests a user may make; "" lifts a limit.
ALTPROP_RATE_ANONYMOUS = env.str("ALTPROP_RATE_ANONYMOUS", default="50/second")
ALTPROP_RATE_READ = env.str("ALTPROP_RATE_READ", default="200/second")
ALTPROP_RATE_WRITE = env.str("ALTPROP_RATE_WRITE", default="100/second")

# Job engine -----------------------------------------------------------------------------------
ALTPROP_LEASE_SECONDS = env.float("ALTPROP_LEASE_SECONDS", default=45.0)  # a silent worker loses its job after this
ALTPROP_HEARTBEAT_SECONDS = env.float("ALTPROP_HEARTBEAT_SECONDS", default=5.0)  # between two renewals of a lease
ALTPROP_WISHES_SECONDS = env.float("ALTPROP_WISHES_SECONDS", default=1.0)  # between two looks for cancel or pause
ALTPROP_REAPER_SECONDS = env.float("ALTPROP_REAPER_SECONDS", default=10.0)  # between two searches for lost workers
ALTPROP_DISPATCH_SECONDS = env.float("ALTPROP_DISPATCH_SECONDS", default=15.0)  # between two rings for waiting jobs
ALTPROP_RETAIN_SECONDS = env.float("ALTPROP_RETAIN_SECONDS", default=60.0)  # between two removals of old checkpoints
ALTPROP_DEFAULT_QUEUE = env.str("ALTPROP_DEFAULT_QUEUE", default="cpu")  # of a job that names none

ALTPROP_ARRAYS_DIR = env.str("ALTPROP_ARRAYS_DIR", default=None)  # .npz files of users; API and workers both see it

# Webhooks -------------------------------------------------------------------------------------
ALTPROP_WEBHOOK_SECONDS = env.float("ALTPROP_WEBHOOK_SECONDS", default=2.0)  # between two looks for due messages
ALTPROP_WEBHOOK_TIMEOUT_SECONDS = env.float("ALTPROP_WEBHOOK_TIMEOUT_SECONDS", default=10.0)  # that a receiver may take
# Whether messages go to private addresses too. On where the service runs on one machine for whoever started it (the
# local stack marks its processes); off where users of it could otherwise reach what only the service can.
ALTPROP_WEBHOOK_ALLOW_PRIVATE = env.bool(
    "ALTPROP_WEBHOOK_ALLOW_PRIVATE", default=DEBUG or "ALTPROP_STACK" in env.ENVIRON
)

# Celery: a message is only the doorbell (docs/explanation/architecture.md) ---------------------
CELERY_BROKER_URL = env.str("REDIS_URL", default="")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # a late-acked message would run a long job twice
CELERY_TASK_TRACK_STARTED = False
CELERY_TASK_DEFAULT_QUEUE = "maintenance"
CELERY_TASK_PUBLISH_RETRY = False  # a request must not wait for a dead broker; the dispatcher rings again
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True  # no doorbell waits behind a job that runs
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # the job goes on when Redis is gone
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # however long Redis is away
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 30
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "socket_keepalive": True,
    "socket_connect_timeout": 2,
    "health_check_interval": 25,
}


def _every(task: str, seconds: float) -> dict[str, object]:
    """A periodic task whose message is worthless once the next one is due."""
    return {
        "task": f"service.{task}",
        "schedule": seconds,
        "options": {"queue": "maintenance", "expires": seconds},
    }


CELERY_BEAT_SCHEDULE = {
    "dispatch": _every("jobs.tasks.dispatch", ALTPROP_DISPATCH_SECONDS),
    "reap": _every("jobs.tasks.reap", ALTPROP_REAPER_SECONDS),
    "retain": _every("jobs.tasks.retain", ALTPROP_RETAIN_SECONDS),
    "deliver": _every("webhooks.tasks.deliver", ALTPROP_WEBHOOK_SECONDS),
    "retain_webhooks": _every("webhooks.tasks.retain", ALTPROP_RETAIN_SECONDS),
}

# Logs: one line an event ----------------------------------------------------------------------
_SHARED_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
]
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_SHARED_PROCESSORS,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG  # one line a request, when it is answered
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "structlog.stdlib.ProcessorFormatter",
            "foreign_pre_chain": _SHARED_PROCESSORS,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(
                    colors=False,
                    pad_event_to=0,
                    pad_level=False,
                    # Plain, since the fancy one prints local variables, passwords among them.
                    exception_formatter=structlog.dev.plain_traceback,
                ),
            ],
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # Each is one line per message, said again by our own line about the job.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},  # a 4xx is one line already
        "httpx": {"level": "WARNING"},  # it says the addresses of webhooks, which may hold a secret
        "django.server": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}
