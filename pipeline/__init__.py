"""reelmill: media in, text out. `pipeline/` is the work; `workers/` is where it runs on Celery."""

__version__ = "0.1.0"
