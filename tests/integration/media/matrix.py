"""Files of every kind that is accepted: what they are made with, and what must come out of them.

Missing, because this ffmpeg can read them but not write them: AMR-WB, GSM, iLBC, Speex and QDM2 sound; WMA Voice,
Professional and Lossless; WMV 9 and VC-1; Sorenson 3, Indeo 5 and AVS video.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

FPS = 25
SECONDS = 2.0  # of a film
COLOURS = ((200, 30, 20), (20, 160, 40), (30, 40, 190), (220, 220, 220))  # left half, half a second each
FIRST, SECOND = 500.0, 1500.0  # Hz
LEVEL = 0.3  # amplitude of the first tone; the second has half of it
SILENCE = (0.8, 1.2)  # seconds between the tones
LENGTH = 2.0  # seconds of sound


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A file. `options` are those of its encoder; the rest is what must be found in it."""

    demuxer: str
    options: tuple[str, ...] = ()
    audio: str | None = None  #: codec
    rate: int = 44_100  # Hz
    channels: int = 2
    seconds: float = LENGTH  #: of sound
    late: float = 0.0  #: seconds that the sound starts after the pictures
    padding: float = 0.03  #: seconds by which an encoder may shift the sound or make it longer
    loudness: float = 0.4  #: dB by which it may change it
    fades: bool = False  #: whether a codec for voices lets a steady tone fade
    video: str | None = None  #: codec
    size: tuple[int, int] = (160, 120)
    tolerance: int = 12  #: of colours
    cover: bool = False  #: a picture that is no video comes along
    decoy: bool = False  #: a stream of the same kind, black or silent, comes along and is not the one to take


def sound(demuxer: str, audio: str, *options: str, **fields: object) -> Case:
    return replace(Case(demuxer=demuxer, audio=audio, options=options), **fields)  # type: ignore[arg-type]


def film(demuxer: str, video: str, audio: str | None, *options: str, **fields: object) -> Case:
    case = Case(demuxer=demuxer, video=video, audio=audio, rate=48_000, options=("-bf", "0", *options))
    return replace(case, **fields)  # type: ignore[arg-type]


LAME = 0.6  # dB: at a constant bit rate it takes a twentieth off, so that nothing clips
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "2")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2")
AAC = ("-c:a", "aac", "-b:a", "160k")
SECOND_STREAM = ("-disposition:a:0", "0", "-disposition:a:1", "default")
AMR = ("-c:a", "libopencore_amrnb", "-b:a", "12.2k")
# Otherwise the encoder melts the frames before and after a cut into one another.
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "5", "-svtav1-params", "pred-struct=1")
VP = ("-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M")

CASES: Mapping[str, Case] = {
    # Sound without loss
    "u8.wav": sound("wav", "pcm_u8", "-c:a", "pcm_u8"),
    "s16.wav": sound("wav", "pcm_s16le"),
    "s24.wav": sound("wav", "pcm_s24le", "-c:a", "pcm_s24le"),
    "f32.wav": sound("wav", "pcm_f32le", "-c:a", "pcm_f32le"),
    "mulaw.wav": sound("wav", "pcm_mulaw", "-c:a", "pcm_mulaw", rate=8_000, channels=1),
    "adpcm.wav": sound("wav", "adpcm_ms", "-c:a", "adpcm_ms", padding=0.06),
    "ima.wav": sound("wav", "adpcm_ima_wav", "-c:a", "adpcm_ima_wav", padding=0.06),
    "8000.wav": sound("wav", "pcm_s16le", rate=8_000, channels=1),
    "11025.wav": sound("wav", "pcm_s16le", rate=11_025, channels=1),
    "5.1.wav": sound("wav", "pcm_s16le", rate=48_000, channels=6),
    "7.1.wav": sound("wav", "pcm_s16le", rate=48_000, channels=8),
    "short.wav": sound("wav", "pcm_s16le", seconds=0.2),
    "rf64.wav": sound("wav", "pcm_s16le", "-rf64", "always"),
    "a.w64": sound("w64", "pcm_s16le"),
    "a.aiff": sound("aiff", "pcm_s16be"),
    "s16.caf": sound("caf", "pcm_s16le", "-c:a", "pcm_s16le"),
    "alac.caf": sound("caf", "alac", "-c:a", "alac"),
    "a.au": sound("au", "pcm_s16be"),
    "a.flac": sound("flac", "flac"),
    "cover.flac": sound("flac", "flac", "-c:v", "copy", "-disposition:v", "attached_pic", cover=True),
    "96000.flac": sound("flac", "flac", rate=96_000),
    "7.1.flac": sound("flac", "flac", rate=48_000, channels=8),
    "short.flac": sound("flac", "flac", seconds=0.2),
    "alac.m4a": sound("mov", "alac", "-c:a", "alac"),
    # Sound with loss
    "cbr.mp3": sound("mp3", "mp3", "-b:a", "128k", loudness=LAME),
    "bare-vbr.mp3": sound("mp3", "mp3", "-q:a", "4", "-write_xing", "0", "-id3v2_version", "0", padding=0.09),
    "cover.mp3": sound("mp3", "mp3", "-q:a", "4", "-c:v", "copy", cover=True),
    "22050.mp3": sound("mp3", "mp3", "-b:a", "64k", rate=22_050, channels=1, loudness=LAME),
    "11025.mp3": sound("mp3", "mp3", "-b:a", "32k", rate=11_025, channels=1, padding=0.05, loudness=1),
    "short.mp3": sound("mp3", "mp3", seconds=0.2, padding=0.06),
    "a.mp2": sound("mp3", "mp2", padding=0.06),
    "a.aac": sound("aac", "aac", *AAC, padding=0.09),
    "a.m4a": sound("mov", "aac", *AAC),
    "short.m4a": sound("mov", "aac", *AAC, seconds=0.2),
    "fragments.m4a": sound(
        "mov", "aac", *AAC, "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "500000", padding=0.06
    ),
    "cover.m4a": sound("mov", "aac", *AAC, "-c:v", "copy", "-disposition:v", "attached_pic", cover=True),
    "vorbis.ogg": sound("ogg", "vorbis", "-c:a", "libvorbis"),
    "opus.ogg": sound("ogg", "opus", "-c:a", "libopus", rate=48_000),
    "one-second.ogg": sound("ogg", "opus", "-c:a", "libopus", rate=48_000, seconds=1.0),
    "flac.ogg": sound("ogg", "flac", "-c:a", "flac"),
    "5.1.opus.ogg": sound("ogg", "opus", "-c:a", "libopus", rate=48_000, channels=6, loudness=1),
    "opus.webm": sound("matroska", "opus", "-c:a", "libopus", rate=48_000),
    "flac.mka": sound("matroska", "flac", "-c:a", "flac"),
    "second.mka": sound("matroska", "flac", "-c:a", "flac", *SECOND_STREAM, decoy=True),
    "dts.mka": sound("matroska", "dts", "-c:a", "dca", "-strict", "-2", rate=48_000, padding=0.05),
    "truehd.mka": sound("matroska", "truehd", "-c:a", "truehd", "-strict", "-2", rate=48_000),
    "a.ac3": sound("ac3", "ac3", padding=0.05),
    "5.1.ac3": sound("ac3", "ac3", "-b:a", "448k", rate=48_000, channels=6, padding=0.05, loudness=1),
    "a.eac3": sound("eac3", "eac3", rate=48_000, padding=0.05),
    "a.amr": sound("amr", "amr_nb", *AMR, rate=8_000, channels=1, padding=0.05, loudness=2, fades=True),
    "a.wma": sound("asf", "wmav2", "-c:a", "wmav2", padding=0.1),
    # Films
    "moov-last.mp4": film("mov", "h264", "aac", *X264, *AAC),
    "moov-first.mp4": film("mov", "h264", "aac", *X264, *AAC, "-movflags", "faststart"),
    "fragments.mp4": film("mov", "h264", "aac", *X264, *AAC, "-movflags", "frag_keyframe+empty_moov", padding=0.06),
    "av1.mp4": film("mov", "av1", "aac", *AV1, *AAC),
    "two-videos.mkv": film("matroska", "h264", None, *X264, decoy=True),
    "silent.mp4": film("mov", "h264", None, *X264),
    "late.mp4": film("mov", "h264", "aac", *X264, *AAC, late=0.7),
    "prores.mov": film("mov", "prores", "pcm_s24le", "-c:v", "prores_ks", "-c:a", "pcm_s24le"),
    "mjpeg.mov": film("mov", "mjpeg", "pcm_s16le", "-c:v", "mjpeg", "-q:v", "2", "-c:a", "pcm_s16le"),
    "a.3gp": film(
        "mov",
        "h263",
        "amr_nb",
        *("-c:v", "h263", "-q:v", "2", "-aspect", "176:144", *AMR),
        size=(176, 144),
        rate=8_000,
        channels=1,
        padding=0.05,
        loudness=2,
        fades=True,
    ),
    "h264.mkv": film("matroska", "h264", "flac", *X264, "-bf", "2", "-c:a", "flac"),
    "hevc.mkv": film(
        "matroska",
        "hevc",
        "aac",
        *("-c:v", "libx265", "-preset", "ultrafast", "-crf", "10", "-x265-params", "log-level=none:pools=1"),
        *AAC,
    ),
    "av1.mkv": film("matroska", "av1", "opus", *AV1, "-c:a", "libopus"),
    "ffv1.mkv": film("matroska", "ffv1", "flac", "-c:v", "ffv1", "-c:a", "flac", size=(321, 241), tolerance=6),
    "odd.mkv": film("matroska", "h264", None, *X264, "-pix_fmt", "yuv444p", size=(321, 241)),
    "late.mkv": film("matroska", "mpeg4", "aac", *MPEG4, *AAC, late=0.7),
    "vp8.webm": film("matroska", "vp8", "vorbis", "-c:v", "libvpx", *VP, "-c:a", "libvorbis"),
    "vp9.webm": film("matroska", "vp9", "opus", "-c:v", "libvpx-vp9", *VP, "-c:a", "libopus", size=(161, 121)),
    "theora.ogv": film("ogg", "theora", "vorbis", "-c:v", "libtheora", "-q:v", "9", "-c:a", "libvorbis"),
    "mpeg4.avi": film("avi", "mpeg4", "mp3", *MPEG4, "-c:a", "libmp3lame", padding=0.06, loudness=LAME),
    "a.mpg": film("mpeg", "mpeg2video", "mp2", *MPEG2, "-c:a", "mp2", "-f", "vob", padding=0.06),
    "mpeg1.mpg": film(
        "mpeg", "mpeg1video", "mp2", "-c:v", "mpeg1video", "-q:v", "2", "-c:a", "mp2", "-f", "mpeg", padding=0.06
    ),
    "h264.ts": film("mpegts", "h264", "aac", *X264, *AAC, padding=0.06),
    "starts-at-100.ts": film(
        "mpegts", "mpeg2video", "ac3", *MPEG2, "-c:a", "ac3", "-output_ts_offset", "100", padding=0.06
    ),
    "a.m2ts": film(
        "mpegts", "h264", "ac3", *X264, "-c:a", "ac3", "-f", "mpegts", "-mpegts_m2ts_mode", "1", padding=0.06
    ),
    "late.ts": film("mpegts", "mpeg2video", "mp2", *MPEG2, "-c:a", "mp2", late=0.7, padding=0.06),
    "a.flv": film("flv", "flv1", "mp3", "-c:v", "flv", "-q:v", "2", "-c:a", "libmp3lame", rate=44_100, loudness=LAME),
    "h264.flv": film("flv", "h264", "aac", *X264, *AAC, padding=0.06),
    "a.mxf": film("mxf", "mpeg2video", "pcm_s16le", *MPEG2, "-c:a", "pcm_s16le", channels=1),
    "vp8.ivf": film("ivf", "vp8", None, "-c:v", "libvpx", *VP),
    "h264.nut": film("nut", "h264", "mp3", *X264, "-bf", "2", "-c:a", "libmp3lame", padding=0.06, loudness=LAME),
    "a.y4m": film("yuv4mpegpipe", "rawvideo", None, "-pix_fmt", "yuv420p"),
    "a.rm": film("rm", "rv20", "ac3", "-c:v", "rv20", "-q:v", "2", "-c:a", "ac3", size=(320, 240), padding=0.06),
    "a.wmv": film("asf", "wmv2", "wmav2", "-c:v", "wmv2", "-q:v", "2", "-c:a", "wmav2", padding=0.1),
}
