"""A job's media as the stages see it: fetched from the bucket once per machine, then probed and cut."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pipeline import keys, tasks
from pipeline.engines import Capabilities
from pipeline.errors import MissingObjectError, PermanentError
from pipeline.job import Job, Kind, Media, MediaInfo, Options, SubtitleStream, Window, Windows
from pipeline.media import subtitles
from pipeline.media.cache import MediaCache
from pipeline.media.description import refuse_frames
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures.pieces import AnimationPieces, PicturePieces
from pipeline.media.pieces import FramePieces, MediaCut, ScenePieces, SoundPieces, TextPieces
from pipeline.media.probe import probe
from pipeline.media.sound.along import Along
from pipeline.media.sound.audio import WindowCut, WindowSound
from pipeline.media.sound.vad import Detector
from pipeline.media.told import Pieces
from pipeline.media.video.choice import chosen, parse
from pipeline.media.video.frames import FrameCut
from pipeline.media.video.packets import measured
from pipeline.media.video.sampling import Film
from pipeline.media.windows import choose_windows
from pipeline.objects import split_address
from pipeline.settings import Cutting, Limits, Video
from pipeline.store import ObjectStore, file_sha256
from pipeline.tasks import Task


class Source(Protocol):
    """Raises PermanentError when the media is bad, ResourceError when it is too big this time."""

    def prepare(self, job: Job) -> Windows: ...

    @contextmanager
    def cut(self, job: Job, windows: Windows, window: Window) -> Iterator[Pieces]:
        """Open one window of a job's media."""
        raise NotImplementedError


def look(path: Path, options: Options, ffmpeg: Ffmpeg) -> MediaInfo:
    """What a file is. Raises as `probe`."""
    return probe(path, ffmpeg, audio_stream=options.audio_stream, video_stream=options.video_stream)


def admitted(info: MediaInfo, task: Task, options: Options, limits: Limits, video: Video) -> tuple[Kind, ...]:
    """What a task cuts a file into. `video`: which frames are looked at, if the options do not say.

    Raises PermanentError, in plain words, when the task can do nothing with it, or would look at too many frames.
    """
    kinds = task.kinds(info, options)
    if is_seen(kinds):
        refuse_frames(info, chosen(options.frames, video, info).rate, limits)
    return kinds


def is_seen(kinds: tuple[Kind, ...]) -> bool:
    """Whether frames are looked at."""
    return not {"frames", "scene"}.isdisjoint(kinds)


class MediaSource:
    """The real one: ffmpeg and Pillow on a local copy."""

    def __init__(
        self,
        store: ObjectStore,
        cache: MediaCache,
        ffmpeg: Ffmpeg,
        *,
        cutting: Cutting,
        video: Video,
        engine: Capabilities,
        detect: Detector | None = None,
    ) -> None:
        """`detect` tells speech from other sound where levels do not."""
        self._store = store
        self._cache = cache
        self._ffmpeg = ffmpeg
        self._window_seconds = cutting.window_seconds
        self._video = video
        self._detect = detect
        images = min(engine.limits.images, video.frames_per_segment)
        self._limits = engine.limits.model_copy(update={"images": images})

    def prepare(self, job: Job) -> Windows:
        task = tasks.named(job.task)
        with self._local(job) as path:
            info = look(path, job.options, self._ffmpeg)
            kinds = admitted(info, task, job.options, self._ffmpeg.limits, self._video)
            choice = chosen(job.options.frames, self._video, info)
            if is_seen(kinds):
                info = measured(path, info, choice, self._ffmpeg)
            info = info.model_copy(update={"subtitles": self._kept(job, path, info)})
            windows = choose_windows(path, info, self._window_seconds, self._ffmpeg, self._detect)
            sha256 = None if job.media.sha256 else file_sha256(path)
        return Windows(
            media=info,
            kinds=kinds,
            limits=self._limits,
            sha256=sha256,
            frames=str(choice),
            windows=windows,
            fold=task.fold(info),
        )

    def _kept(self, job: Job, path: Path, info: MediaInfo) -> tuple[SubtitleStream, ...]:
        """The subtitles of a file, once their text is stored: the same bytes under the same keys, however often."""
        kept: list[SubtitleStream] = []
        for found in subtitles.read(path, info, self._ffmpeg):
            if found.stream.output and found.document:
                key = keys.subtitles(job.id, found.stream.output)
                self._store.create(key, found.document, subtitles.CONTENT_TYPE)
            kept.append(found.stream)
        return tuple(kept)

    @contextmanager
    def cut(self, job: Job, windows: Windows, window: Window) -> Iterator[Pieces]:
        with self._local(job) as path:
            film = Film(path, windows.media, parse(windows.frames), windows.limits, self._ffmpeg)
            # One process decodes both: the frames come first in the list, and the sound is kept until they are read.
            is_both = windows.kinds in (("frames", "sound"), ("scene",))
            along = Along() if is_both and film.can_be_heard else None
            yield MediaCut([self._pieces(film, kind, windows, window, job.options, along) for kind in windows.kinds])

    def _pieces(
        self, film: Film, kind: Kind, windows: Windows, window: Window, options: Options, along: Along | None
    ) -> Pieces:
        """The pieces of one kind. Of several kinds, the first one tells how much of the media is done."""
        path, info, limits, counts = film.path, windows.media, windows.limits, kind == windows.kinds[0]
        match kind:
            case "sound":
                split = options.channels == "split"
                clips = WindowCut(
                    path, info, window, limits.clip_seconds, self._ffmpeg, self._detect, split=split, along=along
                )
                return SoundPieces(clips, counts=counts)
            case "frames" if info.is_animation:
                return AnimationPieces(path, info, limits, self._ffmpeg, rate=film.choice.rate, counts=counts)
            case "frames":
                return FramePieces(FrameCut(film, window, along), counts=counts)
            case "scene":
                frames = FrameCut(film, window, along)
                sound = WindowSound(path, info, window, self._ffmpeg, along=along)
                most, clip_seconds = limits.images, limits.clip_seconds
                return ScenePieces(frames, sound, window.start, most=most, clip_seconds=clip_seconds)
            case "picture":
                return PicturePieces(path, info, limits, self._ffmpeg)
            case "text":
                return TextPieces(path, info, limits.text_characters, self._ffmpeg.limits)
            case "fold":
                raise ValueError("a fold is made from answers, not cut from media")

    @contextmanager
    def _local(self, job: Job) -> Iterator[Path]:
        def fetch(target: Path) -> None:
            media, address = job.media, split_address(job.media.key)
            try:
                self._store.download(media.key, target)
                if address is not None and self._store.mark(*address) != (media.etag, media.size):
                    raise PermanentError(f"its media {media.name} is no more what it was when it was let in")
            except MissingObjectError as error:
                raise PermanentError(f"its media {media.name} is not in the object store any more") from error

        is_content = job.media.sha256 is not None
        with self._cache.hold(_local_name(job.media), job.media.size, fetch, is_content=is_content) as path:
            yield path


def _local_name(media: Media) -> str:
    return media.sha256 or hashlib.sha256(media.identity.encode()).hexdigest()
