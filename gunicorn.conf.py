"""What `gunicorn app:app` reads by itself; everything stands in deechat/serving.py."""

from deechat.serving import *  # noqa: F403 - gunicorn takes each setting by its name
