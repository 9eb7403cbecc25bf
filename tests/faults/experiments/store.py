"""The object store: away, overloaded, silent about what it did, cut off half way, or without conditional writes."""

import subprocess
import sys
import time
from dataclasses import replace

from pipeline.errors import MISCONFIGURED
from pipeline.settings import child_environment
from tests.faults.bench import Bench
from tests.faults.crew import ROOT
from tests.faults.experiment import Control, Experiment
from tests.faults.experiments.delivery import OVERWRITTEN, multiply
from tests.faults.setup import Setup
from tests.s3_proxy import S3Proxy

START_SECONDS = 60


def proxy_of(bench: Bench) -> S3Proxy:
    assert bench.s3_proxy is not None
    return bench.s3_proxy


def go_away(bench: Bench) -> None:
    """15: the store answers nobody for a while."""
    seconds = bench.times(10, 300)
    proxy_of(bench).down = True
    time.sleep(seconds)
    proxy_of(bench).down = False
    for _ in range(8):  # and again and again: each time meets other work half way
        time.sleep(0.7)
        proxy_of(bench).down = True
        time.sleep(0.7)
        proxy_of(bench).down = False
    bench.notes.append(f"{seconds} s, then 8 times 0.7 s")
    _tell_broken(bench)


def _tell_broken(bench: Bench) -> None:
    broken = proxy_of(bench).num_broken
    if not broken:
        bench.complaints.append("no request met the fault")
    bench.notes.append(f"{broken} requests broken")


def slow_down(bench: Bench) -> None:
    """15: 503 SlowDown to every third request."""
    proxy_of(bench).slow_down_rate = 0.3
    time.sleep(bench.times(8, 40))
    _tell_broken(bench)


def lose_answers(bench: Bench) -> None:
    """15: every third PUT is applied and gets no answer."""
    proxy_of(bench).lose_answer_rate = 0.3
    time.sleep(bench.times(8, 40))
    _tell_broken(bench)


def cut_bodies(bench: Bench) -> None:
    """15: of every third GET half of the body arrives."""
    proxy_of(bench).cut_body_rate = 0.3
    time.sleep(bench.times(8, 40))
    _tell_broken(bench)


def expect_refusal(bench: Bench) -> None:
    """16: no worker may start on such a store, and each must say why."""
    for role in ("prepare", "infer", "steward"):
        ended = subprocess.run(
            [sys.executable, "-m", "workers", role],
            cwd=ROOT,
            env=child_environment(bench.settings),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if ended.returncode != MISCONFIGURED or "ignores conditional writes" not in ended.stderr:
            bench.complaints.append(f"{role} ended with status {ended.returncode}: {ended.stderr[-300:]}")
    bench.notes.append("every role refuses to start")


#: All is accepted before the store breaks: what is refused proves nothing.
PROXIED = Setup(items=60, full={"items": 150}, per_second=40, s3_proxy=True)
#: No outage may count as a try: one more would fail a healthy item.
STRICT = replace(PROXIED, max_attempts=1)
COUNTED = Control(
    name="outages count as tries",
    setup=replace(STRICT, environment={"FAULTS_WITHOUT": "patience"}),
    finds="healthy_quarantined",
)

EXPERIMENTS = (
    Experiment(
        number=15,
        name="S3 away",
        strike=go_away,
        setup=STRICT,
        controls=(COUNTED,),
    ),
    Experiment(number=15, name="S3 503 SlowDown to 30 %", strike=slow_down, setup=STRICT, controls=(COUNTED,)),
    Experiment(
        number=15,
        name="S3 answers lost after 30 % of PUTs",
        strike=lose_answers,
        setup=STRICT,
        controls=(
            Control(
                name="store without conditions",
                setup=replace(STRICT, conditions=False, environment={"FAULTS_WITHOUT": "self-test"}),
                finds="doubled",
            ),
        ),
        quick=True,
    ),
    Experiment(number=15, name="S3 bodies cut in 30 % of GETs", strike=cut_bodies, setup=STRICT, controls=(COUNTED,)),
    Experiment(
        number=16,
        name="S3 without conditional writes",
        strike=expect_refusal,
        setup=Setup(items=0, crew={}, s3_proxy=True, conditions=False),
        submits=False,
        controls=(
            Control(
                name="no self-test, every message twice",
                setup=OVERWRITTEN,
                finds="doubled",
                strike=multiply,
            ),
        ),
    ),
)
