"""The web tier's entry. It alone pools database connections: one for each of the server's threads."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "10")

application = get_wsgi_application()
