"""Faults on purpose: real Valkey, SeaweedFS and Celery workers, and a checker that trusts none of them.

`python -m tests.faults` runs the experiments of `experiments/`; what each promises and breaks stands in its file.
"""
