"""The requests that tests and commands share: cases of every kind, drawn from one seed."""

from typing import Any

import numpy as np

from tests.integration.gemma3n.mixed import KINDS, Case, random_cases, random_prompt


def draw_cases(model: Any, processor: Any, seed: int, num_prompts: int, each: int) -> list[Case]:
    """`num_prompts * each` cases, named by number. A prompt of every kind comes before the next of any."""
    random = np.random.default_rng(seed)
    cases: list[Case] = []
    for number in range(num_prompts):
        prompt = random_prompt(processor, random, KINDS[number % len(KINDS)])
        cases += random_cases(model, prompt, random, each)
    return [case.named(str(number)) for number, case in enumerate(cases)]


def shuffled(cases: list[Case], random: np.random.Generator, count: int) -> list[Case]:
    return [cases[index] for index in random.permutation(len(cases))[:count]]
