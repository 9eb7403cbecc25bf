"""The experiments, one file per family: what breaks, how, and what must hold nevertheless."""

from tests.faults.experiment import Experiment
from tests.faults.experiments import delivery, disk, engine, network, poison, queue, scale, store, workers

EXPERIMENTS: tuple[Experiment, ...] = tuple(
    sorted(
        (
            *workers.EXPERIMENTS,
            *network.EXPERIMENTS,
            *queue.EXPERIMENTS,
            *delivery.EXPERIMENTS,
            *store.EXPERIMENTS,
            *disk.EXPERIMENTS,
            *poison.EXPERIMENTS,
            *engine.EXPERIMENTS,
            *scale.EXPERIMENTS,
        ),
        key=lambda experiment: experiment.number,
    )
)
