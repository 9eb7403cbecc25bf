"""Where the work runs on Celery: the processes of a fleet."""
