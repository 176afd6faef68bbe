"""The WSGI application, `app:app`; `python app.py` serves it with the same configuration."""

from __future__ import annotations

if __name__ == "__main__":
    from deechat.server import serving

    serving.serve()
else:
    from gevent import monkey

    monkey.patch_all()  # before anything imports ssl or makes a lock

    from deechat import create_app

    app = create_app()
