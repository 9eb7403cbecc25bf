"""Every error of the mill, split by what its catcher should do about it."""

#: Exit status of a worker that starting again would not help (EX_CONFIG of sysexits.h).
MISCONFIGURED = 78


class ReelmillError(Exception):
    """Root of all errors that reelmill raises on purpose."""


class UsageError(ReelmillError):
    """The command or setting is wrong: the user must change it."""


class WorldError(ReelmillError):
    """Something the mill stands on is missing or unsafe: it must not start."""


class EngineLostError(WorldError):
    """The engine of this process will never answer again (its device failed, it hangs): a new process has to."""


class PipelineError(ReelmillError):
    """Root of what can go wrong with one piece of work.

    `detail` holds technical evidence (the tail of a program's stderr, say); the message itself is in plain words.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class PermanentError(PipelineError):
    """The item is bad: trying again gives the same; it fails at once."""


class LimitError(PermanentError):
    """The item is beyond a limit that the operator chose: `setting` is the field of `Limits` that raises it."""

    def __init__(self, reason: str, setting: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.setting = setting


class ResourceError(PipelineError):
    """The item was too big this time (memory, time): smaller, then alone, then it fails."""


class TransientError(PipelineError):
    """The world is bad (object store, Redis, GPU away): the work is sent again later and no try is counted."""


class LeavingError(TransientError):
    """This process is told to stop: another one should do the work, now."""


class MissingObjectError(PipelineError):
    """The object store has no such key."""
