"""Try the media programs on a second of sound before trusting them with anything."""

import struct
import tempfile
from functools import cache
from pathlib import Path

from pipeline.errors import PermanentError, PipelineError, WorldError
from pipeline.job import SAMPLE_RATE
from pipeline.media import arguments, versions
from pipeline.media.ffmpeg import Ending, Ffmpeg
from pipeline.media.sound.placing import Placing

_RATE = 44_100  # Hz, of the test sound
_PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{target}\n#EXT-X-ENDLIST\n"
_MAX_BYTES = 1_000_000
#: A BMP of one black pixel.
_PIXEL = struct.pack("<2sIHHIIiiHHIIiiII3sx", b"BM", 58, 0, 0, 54, 40, 1, 1, 1, 24, 0, 4, 2835, 2835, 0, 0, bytes(3))


@cache
def resampler(ffmpeg: Ffmpeg) -> str:
    """`soxr`, or `swr` where ffmpeg was built without it. Raises WorldError when neither works.

    Asked once per process. A build can name soxr and lack it, so that only trying tells.
    """
    with tempfile.TemporaryDirectory(prefix="reelmill-") as folder:
        sound = Path(folder) / "sound"
        sound.write_bytes(_second_of_silence())
        evidence = ""
        for name in arguments.RESAMPLERS:
            argv = arguments.decode(ffmpeg.ffmpeg, sound, "wav", 0.0, 1.0, asked=arguments.Sound(resampler=name))
            ending, placing = Ending(), Placing()
            written = ffmpeg.stream(argv, _MAX_BYTES, ending, heed=placing.heed)
            if sum(len(pcm) for chunk in written for pcm in placing.put(chunk)) == 2 * SAMPLE_RATE:
                return name
            evidence = ending.stderr
    raise WorldError(f"{ffmpeg.ffmpeg} cannot decode a second of sound: {evidence}")


@cache
def tone_mapping(ffmpeg: Ffmpeg) -> bool:
    """Whether this ffmpeg was built with what brings HDR down to SDR. Asked once per process."""
    listed, _ = ffmpeg.run(arguments.filters(ffmpeg.ffmpeg), _MAX_BYTES)
    names = {words[1] for line in listed.decode("utf-8", "replace").splitlines() if len(words := line.split()) > 2}
    return {"zscale", "tonemap"} <= names


def self_test(ffmpeg: Ffmpeg) -> dict[str, str]:
    """Versions of both programs and the resampler at hand. Raises WorldError when a program is unusable or unsafe."""
    try:
        found = {
            "ffmpeg": _version(ffmpeg, ffmpeg.ffmpeg),
            "ffprobe": _version(ffmpeg, ffmpeg.ffprobe),
            "resampler": resampler(ffmpeg),
        }
        _refuse_playlist(ffmpeg)
        _read_picture(ffmpeg)
    except PipelineError as error:
        raise WorldError(f"the media programs do not work: {error.reason} {error.detail}") from error
    return found


def _version(ffmpeg: Ffmpeg, program: Path) -> str:
    """For example `9.0.2`, as the program says it."""
    output, ending = ffmpeg.run(arguments.version(program), _MAX_BYTES)
    words = output.decode("utf-8", "replace").split()
    if ending.code or len(words) < 3 or words[1] != "version":
        raise PermanentError(f"{program} does not tell its version", ending.stderr)
    versions.refuse_old(program.name, words[2])
    return words[2]


def _refuse_playlist(ffmpeg: Ffmpeg) -> None:
    """A playlist that points at good sound must give nothing, whichever demuxer is forced on it."""
    with tempfile.TemporaryDirectory(prefix="reelmill-") as folder:
        sound, playlist = Path(folder) / "sound.wav", Path(folder) / "playlist"
        sound.write_bytes(_second_of_silence())
        playlist.write_text(_PLAYLIST.format(target=sound))
        for demuxer in ("mov", "wav", "mp3", "mpegts"):
            argv = arguments.decode(ffmpeg.ffmpeg, playlist, demuxer, 0.0, 1.0, asked=arguments.Sound(resampler="swr"))
            pcm, _ = ffmpeg.run(argv, _MAX_BYTES)
            if pcm:
                raise WorldError(f"{ffmpeg.ffmpeg} follows playlists although it is told not to: it is not safe to use")


def _read_picture(ffmpeg: Ffmpeg) -> None:
    """Whether Pillow is there, and can be seen from inside the sandbox."""
    from pipeline.media.pictures import in_process

    with tempfile.TemporaryDirectory(prefix="reelmill-") as folder:
        picture = Path(folder) / "picture"
        picture.write_bytes(_PIXEL)
        try:
            in_process.read(picture, "bmp", 8, ffmpeg)
        finally:
            in_process.close(ffmpeg)


def _second_of_silence() -> bytes:
    """A WAV file: one second, mono, s16."""
    pcm = bytes(2 * _RATE)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, _RATE, 2 * _RATE, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 4 + len(form) + 8 + len(pcm), b"WAVE")
        + form
        + struct.pack("<4sI", b"data", len(pcm))
        + pcm
    )
