"""The one way to say that media is beyond a limit: both figures, and the setting that raises it. Pure."""

from pipeline.errors import LimitError
from pipeline.settings import PREFIX, Limits


def variable(setting: str) -> str:
    """The environment variable of a field of `Limits`."""
    return f"{PREFIX}LIMITS__{setting.upper()}"


def within(limits: Limits, setting: str, value: float, name: str, unit: str = "") -> None:
    """Raise LimitError when a value is beyond the limit of that field. `name`: what the value is, in plain words."""
    limit: float = getattr(limits, setting)
    if value > limit:
        told = f"{name} {value:,.0f}{unit}, allowed {limit:,.0f}{unit}"
        raise LimitError(f"the file is beyond a limit: {told} ({variable(setting)})", setting)


def holds_more(limits: Limits, setting: str, what: str, allowed: float | None = None) -> LimitError:
    """That media went on beyond a limit while it was read, when nobody knows yet how far.

    `what` there is too much of: `s of sound`. `allowed`: what the limit comes to for this media, if not its figure.
    """
    limit: float = getattr(limits, setting) if allowed is None else allowed
    return LimitError(
        f"the file is beyond a limit: it holds more than {limit:,.0f} {what} ({variable(setting)})", setting
    )
