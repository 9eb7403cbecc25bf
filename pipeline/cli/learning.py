"""What a run teaches about the speed of its engine, kept for plans."""

import time
from collections.abc import Container

from pipeline import tasks
from pipeline.cli.plan import sizes_of
from pipeline.errors import PipelineError
from pipeline.job import Result
from pipeline.planning.estimate import NOTHING, Work, work
from pipeline.planning.experience import charged, keep, learn, recall
from pipeline.settings import Settings, asked_engine
from pipeline.stages.source import admitted

#: With so many jobs, the time until the first has ended, in which engines are still loading, is left out.
ENOUGH_JOBS = 3


class Learning:
    """Listens to the jobs of one run as they end."""

    def __init__(self, settings: Settings, fresh: Container[str]) -> None:
        """`settings`: those of the mill. `fresh`: jobs that were not done before this run."""
        self._settings = settings
        self._sizes = sizes_of(settings)
        self._fresh = fresh
        self._began = time.monotonic()
        self._done: list[tuple[float, Work]] = []

    def ended(self, result: Result) -> None:
        if result.job in self._fresh and result.status == "done" and result.media.info is not None:
            self._done.append((time.monotonic(), self._work(result)))

    def keep(self, seconds: float | None = None, engine_seconds: float = 0.0) -> None:
        """`seconds`: what the whole run took, where its jobs are told only at its end. `engine_seconds`: that engines
        were busy with all of it; 0 where nobody measured."""
        if not self._done:
            return
        done = [one for _, one in self._done]
        if seconds is None:
            seconds = self._done[-1][0] - self._began
            if len(done) >= ENOUGH_JOBS:
                seconds = self._done[-1][0] - self._done[0][0]
                engine_seconds *= 1 - charged(done[0]) / (charged(sum(done, NOTHING)) or 1.0)
                done = done[1:]
        rates = recall(self._settings.data_dir, asked_engine(self._settings.engine))
        keep(self._settings.data_dir, learn(rates, sum(done, NOTHING), seconds, engine_seconds))

    def _work(self, result: Result) -> Work:
        """What it was, counted as a plan counts it."""
        info, options = result.media.info, result.asked.options
        assert info is not None
        if info.is_timed:
            info = info.model_copy(update={"duration": result.media.duration})  # as it was decoded
        try:
            kinds = admitted(info, tasks.named(result.task), options, self._settings.limits, self._settings.video)
        except PipelineError:  # it is done all the same: whoever cut it had other limits
            return NOTHING
        return work(info, kinds, options, self._sizes)
