"""`python -m workers.ping prepare|infer`: does the worker of this machine answer? Exit status 0 if it does.

The question goes the way that work goes, over the queue: a worker that runs but has lost its connection does not
answer. Costs a second of CPU, so ask once a minute.
"""

import socket
import sys

from pipeline import settings as configuration
from pipeline.broker import create_app

ROLES = ("prepare", "infer")
ANSWER_SECONDS = 10


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in ROLES:
        sys.exit(f"usage: python -m workers.ping {'|'.join(ROLES)}")
    with create_app(configuration.load()) as app:
        # Celery names a worker NAME@HOST; several of one role on a machine are told apart by their process.
        asked = f"{sys.argv[1]}-*@{socket.gethostname()}"
        answers = app.control.inspect(pattern=asked, matcher="glob", timeout=ANSWER_SECONDS, limit=1).ping()
    if not answers:
        sys.exit(f"no {asked} answered within {ANSWER_SECONDS} s")


if __name__ == "__main__":
    main()
