"""The sizes of one loaded model, made when they are first asked for."""

from pathlib import Path
from typing import Any

from pipeline.engines.gemma3n.loading import Loaded
from pipeline.engines.gemma3n.variants import WHOLE, Layers, named, names, own_sizes
from pipeline.engines.gemma3n.views import view

AUTO = "auto"


class Sizes:
    """Models of every size that share one set of weights."""

    def __init__(self, loaded: Loaded, file: Path | None = None) -> None:
        """With the sizes in `file` instead of the checkpoint's own. Raises WorldError when that is wrong."""
        self._whole = loaded.model
        self._layers = Layers.of(loaded.model.config)
        self._own = own_sizes(loaded.path, file)
        self._made: dict[str, Any] = {WHOLE: loaded.model}

    @property
    def names(self) -> tuple[str, ...]:
        """Every size, the largest first, the whole before a published name for the same."""
        every = [named(name, self._layers, self._own) for name in names(self._layers, self._own)]
        return tuple(size.name for size in sorted(every, key=lambda size: -size.total_width))

    @property
    def steps(self) -> tuple[str, ...]:
        """The sizes that `auto` may choose, the largest first, one of each width."""
        chosen: dict[int, str] = {}
        for name in self.names:
            chosen.setdefault(named(name, self._layers, self._own).total_width, name)
        return tuple(chosen.values())

    def check(self, name: str) -> None:
        """Raise PermanentError when there is no such size."""
        if name != AUTO:
            named(name, self._layers, self._own)

    def model(self, name: str) -> Any:
        """The model of that size. Raises PermanentError when there is none."""
        if name not in self._made:
            self._made[name] = view(self._whole, named(name, self._layers, self._own))
        return self._made[name]
