"""What `gunicorn app:app` reads by itself; everything stands in deechat/server/serving.py."""

from deechat.server.serving import *  # noqa: F403 - gunicorn takes each setting by its name
