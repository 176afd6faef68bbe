"""What gunicorn's worker needs besides gunicorn."""
