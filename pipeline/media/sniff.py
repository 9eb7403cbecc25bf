"""From the first bytes of a file to what may read it. Names and extensions are never looked at."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import PermanentError
from pipeline.media import plaintext
from pipeline.media.sound import rows

#: Bytes of a file that `recognise` wants to see.
HEAD_BYTES = 1 << 16

_ID3_HEADER = 10  # bytes
_APE_HEADER = 32  # bytes
_TS_PACKETS = 5  # sync bytes that must stand in a row, where the head is long enough

_MOV_ATOMS = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"})
_MAGICS = (
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"caff", "caf"),
    (b"FLV", "flv"),
    (b".snd", "au"),
    (b"#!AMR", "amr"),
    (b"riff\x2e\x91\xcf\x11", "w64"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x06\x0e\x2b\x34", "mxf"),
    (b"DKIF", "ivf"),
    (b"nut/multimedia container\0", "nut"),
    (b".RMF", "rm"),
    (b"YUV4MPEG2 ", "yuv4mpegpipe"),
    (b"wvpk", "wv"),
    (b"TTA1", "tta"),
    (b"Creative Voice File\x1a", "voc"),
    (b"\x7f\xfe\x80\x01", "dts"),
    (b"\xfe\x7f\x01\x80", "dts"),
    (b"\x1f\xff\xe8\x00", "dts"),
    (b"\xff\x1f\x00\xe8", "dts"),
)
#: Frames of Dolby TrueHD, and of the format that it came from, are marked at byte 4.
_LOSSLESS = {b"\xf8\x72\x6f\xba": "truehd", b"\xf8\x72\x6f\xbb": "mlp"}
#: Containers that name their kind at byte 8.
_FORMS = {
    (b"RIFF", b"WAVE"): "wav",
    (b"RF64", b"WAVE"): "wav",
    (b"BW64", b"WAVE"): "wav",
    (b"RIFF", b"AVI "): "avi",
    (b"FORM", b"AIFF"): "aiff",
    (b"FORM", b"AIFC"): "aiff",
}
_PICTURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)
#: Brands of files that hold pictures where an mp4 has its streams; of moving HEVC ones, ffmpeg reads the stream.
_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"})


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file is, and the name of what may read it: a demuxer, a picture format, or the encoding of a text."""

    kind: Literal["timed", "picture", "text"]
    name: str


def recognise(head: bytes) -> Recognised:
    """What a file that begins with `head` is. Raises PermanentError, in plain words, for what is no media."""
    if not head:
        raise PermanentError("the file is empty")
    # Text comes first: some marks of formats are words. No media is text as far as the head goes, but for this one.
    if not head.startswith(b"#!AMR\n") and (encoding := plaintext.encoding(head)):
        return Recognised("text", encoding)
    if picture := _picture(head):
        return Recognised("picture", picture)
    # Behind a tag there may be rubbish before the first frame: the mp3 demuxer looks for it.
    found = _demuxer(behind_ape(behind_id3(head)), tagged=id3_bytes(head) > 0)
    if found is None:
        reason = "this is not a media format that reelmill accepts"
        raise PermanentError(reason, f"first bytes: {head[:16].hex(' ')}")
    return Recognised("timed", found)


def id3_bytes(head: bytes) -> int:
    """Length of the ID3v2 tag that a file begins with; 0 without one. The tag may be longer than `head`."""
    if len(head) < _ID3_HEADER or head[:3] != b"ID3" or any(byte & 0x80 for byte in head[6:10]):
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    footer = _ID3_HEADER if head[5] & 0x10 else 0
    return _ID3_HEADER + size + footer


def behind_id3(head: bytes) -> bytes:
    """`head` without the ID3 tags it begins with."""
    while length := id3_bytes(head):
        head = head[length:]
    return head


def behind_ape(head: bytes) -> bytes:
    """`head` without the APE tag it begins with, which belongs to the end of a file."""
    if not head.startswith(b"APETAGEX"):
        return head
    return head[_APE_HEADER + int.from_bytes(head[12:16], "little") :]


def _picture(head: bytes) -> str | None:
    for magic, name in _PICTURES:
        if head.startswith(magic):
            return name
    if (head[:4], head[8:12]) == (b"RIFF", b"WEBP"):
        return "webp"
    if head[4:8] == b"ftyp":
        return _branded(head)
    is_bitmap = head.startswith(b"BM") and len(head) > 10 and head[6:10] == bytes(4)
    return "bmp" if is_bitmap else None


def _branded(head: bytes) -> str | None:
    """The kind of picture that the first box names, if it names one: by its own brand, or those it is compatible with.

    The brand `mif1` says only that there is a picture.
    """
    own = head[8:12]
    others = {head[place : place + 4] for place in range(16, min(int.from_bytes(head[:4]), len(head)) - 3, 4)}
    if own in _AVIF or (own in _HEIF and _AVIF & others):
        return "avif"
    return "heif" if own in _HEIF else None


def _demuxer(head: bytes, *, tagged: bool) -> str | None:
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head[4:8] in _LOSSLESS:
        return _LOSSLESS[head[4:8]]
    return _FORMS.get((head[:4], head[8:12])) or _frames(head) or ("mp3" if tagged else None)


def _frames(head: bytes) -> str | None:
    """The demuxer for a bare row of frames. Their marks are short, so that more than the mark is looked at."""
    if head.startswith(b"\x0b\x77") and len(head) > 5:
        return "eac3" if head[5] >> 3 > 10 else "ac3"
    if _is_mpegts(head, 188, 0) or _is_mpegts(head, 192, 4):
        return "mpegts"
    if _is_adts(head):
        return "aac"
    if _is_mpeg_audio(head):
        return "mp3"
    # A recording may begin anywhere in a packet or a frame.
    is_cut = any(_is_mpegts(head, packet, place, _TS_PACKETS) for packet in (188, 192) for place in range(packet))
    return "mpegts" if is_cut else rows.demuxer(head)


def _is_mpegts(head: bytes, packet: int, offset: int, least: int = 2) -> bool:
    syncs = head[offset : offset + packet * _TS_PACKETS : packet]
    return len(syncs) >= least and set(syncs) == {0x47}


def _is_adts(head: bytes) -> bool:
    """An AAC frame: the layer bits are zero."""
    return len(head) > 6 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 0xF < 13


def _is_mpeg_audio(head: bytes) -> bool:
    """A frame of MPEG audio layer 2 or 3, without the values that the standard reserves."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, bitrate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer in (1, 2) and bitrate != 15 and rate != 3
