"""gunicorn's settings and worker, the data folder, and logging."""
