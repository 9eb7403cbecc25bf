"""How steps are taken: one optimiser and one course of the learning rate for every stage."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

WARM_UP = 100
_CONSTANT_SHARE = 0.25
_LAST_SHARE = 0.02


class Steps:
    """AdamW whose rate warms up, stays for a quarter of the steps and decays; the decay is where plateaus break."""

    def __init__(self, parameters: Iterable[nn.Parameter], peak_rate: float, steps: int) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._peak, self._steps, self._taken = peak_rate, steps, 0
        groups = [
            {"params": [parameter for parameter in self._parameters if parameter.ndim >= 2], "weight_decay": 0.01},
            {"params": [parameter for parameter in self._parameters if parameter.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimiser = torch.optim.AdamW(groups, lr=peak_rate, betas=(0.9, 0.98), fused=True)

    def state(self) -> dict[str, Any]:
        """All that decides the steps to come, beside the parameters."""
        return {"taken": self._taken, "optimiser": self._optimiser.state_dict()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on after the last step of `state`."""
        self._taken = state["taken"]
        self._optimiser.load_state_dict(state["optimiser"])

    def take(self, loss: torch.Tensor) -> None:
        """One step down the gradient of `loss`."""
        self._taken += 1
        for group in self._optimiser.param_groups:
            group["lr"] = self._peak * share_of_peak(self._taken, self._steps)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)


def share_of_peak(step: int, steps: int) -> float:
    """The learning rate at a step, as a share of its peak."""
    warm = min(1.0, step / WARM_UP)
    done = step / steps
    if done < _CONSTANT_SHARE:
        return warm
    course = (done - _CONSTANT_SHARE) / (1 - _CONSTANT_SHARE)
    return warm * max(_LAST_SHARE, 0.5 + 0.5 * math.cos(math.pi * course))
