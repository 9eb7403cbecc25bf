"""All settings, read from the environment once at the edge and passed down.

`REELMILL_REDIS__URL=...` sets `redis.url`, and so on. A `REELMILL_*` variable that no field takes is an error.
This is the only module that touches the environment.
"""

import base64
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import UsageError

PREFIX = "REELMILL_"
#: Begins the secrets of webhooks (Standard Webhooks 1.0.0).
SECRET_PREFIX = "whsec_"


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Redis(Group):
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis or Valkey, `redis://` or `rediss://`, password included."""
    namespace: str = Field("reelmill", pattern=r"^[A-Za-z0-9_-]+$")
    """Prefix of every key and queue: one per environment that shares a server."""


class S3(Group):
    endpoint: str = ""
    """host:port of the object store. Empty: nothing is configured (local mode fills it in)."""
    access_key: str = ""
    secret_key: SecretStr = SecretStr("")
    bucket: str = "reelmill"
    region: str | None = None
    secure: bool = True
    """TLS. Off only for a store on this machine."""


#: The model of an engine when none is named.
DEFAULT_MODELS = {"whisper": "packaged:tiny.en", "gemma3n": "google/gemma-3n-E4B-it"}


class Engine(Group):
    name: str = Field("whisper", pattern=r"^[a-z0-9_]+$")
    """One of the files in `pipeline/engines/`."""
    model: str = ""
    """A local directory, a hub id, `packaged:tiny.en` (whisper, from the `weights` extra), or `tiny` (gemma3n, a
    checkpoint for trying out that comes with reelmill). Empty: the engine's own default."""
    revision: str | None = None
    """gemma3n: the commit of the hub model. None: the one that reelmill names in its results on first use."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """gemma3n: dtype of the weights. auto: bfloat16 on a GPU, float32 on a CPU."""
    host_embeddings: bool = True
    """gemma3n: keep the per-layer embedding table (4.4 GiB of E4B) in the host's memory, shared by all processes."""
    adapter: str | None = None
    """gemma3n: a LoRA adapter, a directory or a hub id."""
    batching: Literal["continuous", "static"] = "continuous"
    """gemma3n: requests join and leave the running batch, or wait for the longest of theirs."""
    context_tokens: int = Field(4096, ge=64, le=32_768)
    """gemma3n: most tokens of one segment, input and output together. A slot of the batch holds as many."""
    sizes: Path | None = None
    """gemma3n: a file of sizes by name, `{"e3b": {"ffn": [width of each layer], "skip": [layer]}}`, for `--variant`.
    None: the checkpoint's own variants.json, if it has one. The published sizes are known without a file."""
    promised_seconds: float = Field(300, gt=0)
    """gemma3n: jobs with `--variant auto` get a smaller model while what waits would take longer than this."""
    url: str = ""
    """openai: where the server is, such as http://gpu-host:8000/v1"""
    api_key: SecretStr = SecretStr("")
    """openai: its key, if it wants one."""
    request_seconds: float = Field(300, gt=0)
    """openai: how long one request may take."""
    threads: int = Field(0, ge=0)
    """CPU threads of the engine. 0: all cores."""
    max_batch: int = Field(0, ge=0)
    """Segments in one batch, or requests at once on an openai server. 0: 64 on a GPU or a server, 8 on a CPU."""
    batch_wait: float = Field(0.05, ge=0)
    """Seconds the oldest segment waits for others to share its batch."""
    stall_seconds: float = Field(300, gt=0)
    """Seconds without progress of the engine after which its process is ended and started anew."""

    @model_validator(mode="before")
    @classmethod
    def _default_model(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("model"):
            return given
        name = given.get("name", "whisper")
        return {**given, "model": DEFAULT_MODELS.get(name, name)}


def asked_engine(engine: Engine) -> str:
    """Engine, model with its revision, adapter and server asked for, as a job carries them.

    The server is told by a digest: servers may give their models any names, so it decides the answer as well.
    """
    model = f"{engine.model}@{engine.revision}" if engine.revision else engine.model
    server = _server(engine.url) if engine.name == "openai" and engine.url else None
    return ":".join(part for part in (engine.name, model, engine.adapter, server) if part)


def _server(url: str) -> str:
    """Equal for the same address, whoever asks there: names and passwords are no part of it."""
    scheme, place, path, *_ = urlsplit(url)
    place = place.rpartition("@")[2].lower()
    return hashlib.sha256(f"{scheme}://{place}{path.rstrip('/')}".encode()).hexdigest()[:12]


class Workers(Group):
    prepare_processes: int = Field(0, ge=0)
    """Processes that cut media. 0: one per core."""
    infer_threads: int = Field(0, ge=0)
    """Segments an infer worker holds at once. 0: three batches' worth."""
    grace_seconds: float = Field(25, ge=0)
    """How long a worker that is told to stop (SIGTERM) may take to end what it has; the rest goes back to the queue.
    Longer than a call of the model takes, so that what is in the GPU is not lost."""
    cache_dir: Path | None = None
    """Where workers keep fetched media. None: under the system's temporary directory."""
    cache_bytes: int = Field(20_000_000_000, ge=0)
    """Size that the media cache is kept under (a file in use is never removed)."""


class Cutting(Group):
    window_seconds: float = Field(600, ge=60)
    """A long file is cut by several workers, in stretches of about this length."""
    windows_ahead: int = Field(4, ge=1)
    """Windows of one job that may be cut but not yet answered: bounds the temporary objects."""


class Video(Group):
    frames_per_second: float = Field(1.0, gt=0, le=60)
    """Frames looked at in each second of a video, and the most that `keyframes` takes, where no number is given."""
    frames: str = ""
    """Which frames of a video a job looks at, if it does not say: `fps=N` takes the first frame of each 1/N seconds,
    exactly; `scene` or `scene=SECONDS` the first one after each cut, by two frames a second, and one at least of every
    30 or so many seconds; `keyframes` or `keyframes=N` decodes key frames alone: a preview at a twentieth of the cost.
    Empty: REELMILL_VIDEO__FRAMES_PER_SECOND of each second; of a video of more than 20 minutes, `scene`."""
    frames_per_segment: int = Field(8, ge=1)
    """Most frames in one request; fewer where the engine takes fewer."""


class Speech(Group):
    gate: Literal["vad", "none"] = "vad"
    """What decides which clips hold speech: a voice activity detector, or nothing (every sound goes to the engine)."""


class Limits(Group):
    """Media beyond a limit is refused, and the refusal names the limit and the setting that raises it."""

    file_bytes: int = Field(100_000_000_000, gt=0)
    duration_seconds: float = Field(24 * 3600, gt=0, allow_inf_nan=False)
    streams: int = Field(32, gt=0)
    channels: int = Field(32, gt=0)
    sample_rate: int = Field(384_000, gt=0)
    """Hz"""
    pixels: int = Field(200_000_000, gt=0)
    """of one picture or frame"""
    frame_rate: float = Field(1000, gt=0, allow_inf_nan=False)
    """frames a second of a video, on average, by its header: Matroska's clock ticks in ms, so an honest file may say
    as many"""
    frames: int = Field(2 * 24 * 3600, gt=0)
    """that one job looks at"""
    picture_bytes: int = Field(2_000_000_000, gt=0)
    """of a picture file: some formats are read into memory as a whole."""
    pages: int = Field(1000, gt=0)
    """of one picture file"""
    animation_frames: int = Field(20_000, gt=0)
    animation_pixels: int = Field(20_000_000_000, gt=0)
    """of all frames of an animation together, at their own size"""
    text_bytes: int = Field(20_000_000, gt=0)
    """of a text document"""
    channel_samples: float = Field(24 * 3600 * 48_000 * 2, gt=0, allow_inf_nan=False)
    """duration x sample rate x channels: how much a small file may blow up to."""
    subtitle_bytes: int = Field(50_000_000, gt=0)
    """of all the subtitles that one file brings along, as text"""
    result_bytes: int = Field(100_000_000, gt=0)
    """of all the answers that one job's result is made of"""
    header_bytes: int = Field(8_000_000, gt=0)
    """of what ffprobe tells about one file"""
    process_seconds: float = Field(1800, gt=0, allow_inf_nan=False)
    """Time that is spent waiting for one media process; four times as much in all, if its output is read slowly."""
    process_bytes: int = Field(2_000_000_000, ge=500_000_000)
    """Address space of one media process. Less than the least would keep it from starting."""
    process_output_bytes: int = Field(200_000_000_000, gt=0)
    """of what one media process hands over: a day of frames of 768 x 768, one a second, is 153 GB"""


class Sandbox(Group):
    """Media is decoded by programs that see nothing but one file and the libraries of the system (bubblewrap)."""

    mode: Literal["auto", "required", "off"] = "auto"
    """auto: a worker of a fleet does not start without; on the machine of one user, whose media it is, the work goes
    on without where there is none."""
    bwrap: Path | None = None
    """The bubblewrap program. None: the one on PATH, else the one that the `local` extra brings."""


class Steward(Group):
    interval: float = Field(2, gt=0)
    """Seconds between two looks at the bucket."""
    jobs_in_flight: int = Field(256, ge=1)
    """Jobs admitted to the queues at once; the others wait in the bucket."""
    lease_seconds: float = Field(15, gt=0)
    """A worker that has not renewed its lease for this long is taken for dead."""
    max_attempts: int = Field(3, ge=1)
    """Tries after which a piece of work is quarantined."""


class Webhooks(Group):
    """Messages to servers about how jobs and collections ended (`submit --webhook`), by Standard Webhooks."""

    secrets: SecretStr = SecretStr("")
    """What messages are signed with: `whsec_...`, as `reelmill webhooks secret` makes them. While receivers change over
    to another one, both, with a comma between them."""
    private: bool = False
    """Also to http://, any port, and addresses of the local network: where the receivers are your own, and whoever may
    submit may reach whatever this machine reaches."""
    request_seconds: float = Field(20, gt=0, le=300)
    """How long a server may take to answer."""
    give_up_hours: float = Field(72, gt=0)
    """A message that could not be delivered for so long is put aside, for `reelmill webhooks redrive`."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The secrets, one by one."""
        return tuple(part.strip() for part in self.secrets.get_secret_value().split(",") if part.strip())

    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        for key in self.keys:
            try:
                size = len(base64.b64decode(key.removeprefix(SECRET_PREFIX), validate=True))
            except ValueError:
                size = 0
            if not key.startswith(SECRET_PREFIX) or not 24 <= size <= 64:
                raise ValueError(
                    f"a secret is {SECRET_PREFIX} and 24 to 64 bytes in base64: `reelmill webhooks secret` makes one"
                )
        return self


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    data_dir: Path = Path(".reelmill")
    """Where local mode keeps its services, logs and transcripts."""
    redis: Redis = Redis()
    s3: S3 = S3()
    engine: Engine = Engine()
    workers: Workers = Workers()
    cutting: Cutting = Cutting()
    video: Video = Video()
    speech: Speech = Speech()
    limits: Limits = Limits()
    sandbox: Sandbox = Sandbox()
    steward: Steward = Steward()
    webhooks: Webhooks = Webhooks()
    price_per_hour: float | None = Field(None, ge=0)
    """What an hour of one engine (a GPU) costs, in whatever currency. None: costs are not told."""
    ffmpeg: Path | None = None
    """The ffmpeg program. None: the one on PATH, else the one that the `local` extra brings."""
    ffprobe: Path | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def _known(names: set[str], model: type[BaseModel], prefix: str) -> set[str]:
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        names.add(variable)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            _known(names, field.annotation, f"{variable}__")
    return names


def load() -> Settings:
    """Settings from the environment. Raises UsageError that names the wrong variable."""
    known = _known(set(), Settings, PREFIX)
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise UsageError(f"unknown setting {', '.join(unknown)}; the known ones are: {', '.join(sorted(known))}")
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'__'.join(str(part).upper() for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        raise UsageError(f"bad setting: {problems}") from error


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of a worker process: this one's, with every setting written out."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return inherited | dict(_flatten(settings, PREFIX))


def _flatten(group: BaseModel, prefix: str) -> Mapping[str, str]:
    flat: dict[str, str] = {}
    for name in type(group).model_fields:
        value: Any = getattr(group, name)
        variable = f"{prefix}{name}".upper()
        if isinstance(value, BaseModel):
            flat |= _flatten(value, f"{variable}__")
        elif isinstance(value, SecretStr):
            flat[variable] = value.get_secret_value()
        elif value is not None:
            flat[variable] = str(value)
    return flat
