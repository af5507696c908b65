"""The WSGI entry point of the web server. Only this process pools database connections, one per thread."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "10")

application = get_wsgi_application()
