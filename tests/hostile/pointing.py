"""Files that point at others: playlists, disguised ones, films whose media lies elsewhere, pictures with links."""

import io
import struct
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

#: Texts that point at another file or address. `{canary}` is a path, `{url}` the same behind a port.
PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{canary}\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n",
    "m3u8-http": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n",
    "m3u8-itself": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhostile.mp4\n",
    "m3u8-bom": "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{canary}\n#EXT-X-ENDLIST\n",
    "m3u8-key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:2,\n{canary}\n#EXT-X-ENDLIST\n',
    "m3u8-map": '#EXTM3U\n#EXT-X-MAP:URI="{canary}"\n#EXTINF:2,\n{canary}\n#EXT-X-ENDLIST\n',
    "m3u8-concat": "#EXTM3U\n#EXTINF:2,\nconcat:{canary}|{canary}\n#EXT-X-ENDLIST\n",
    "m3u8-subfile": "#EXTM3U\n#EXTINF:2,\nsubfile,,start,0,end,9999,,:{canary}\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "dash-bare": '<MPD type="static"><Period><BaseURL>{canary}</BaseURL></Period></MPD>',
    "concat": "file '{canary}'\n",
    "concat-protocol": "concat:{canary}|{canary}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{canary}'\n",
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/></svg>',
    "pls": "[playlist]\nFile1={url}\nNumberOfEntries=1\n",
    "html": '<!DOCTYPE html><html><img src="{url}"></html>',
    "xspf": '<?xml version="1.0"?><playlist><track><location>{url}</location></track></playlist>',
    "asx": '<asx version="3"><entry><ref href="{url}"/></entry></asx>',
    "smil": '<smil><body><audio src="{canary}"/></body></smil>',
    "smooth": '<?xml version="1.0"?><SmoothStreamingMedia><StreamIndex Url="{url}"/></SmoothStreamingMedia>',
    "entity": '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{canary}">]><x>&e;</x>',
    "postscript": "%!PS-Adobe-3.0\n({canary}) run\n",
    "pdf": "%PDF-1.7\n1 0 obj<</URI({url})>>\n",
}
#: What stands in front of a playlist to make it look like media.
DISGUISES = {
    "ogg": b"OggS\0\x02",
    "flac": b"fLaC\0\0\0\x22",
    "mov": b"\0\0\0\x18ftypisom\0\0\0\0",
    "wav": b"RIFF\xff\xff\0\0WAVE",
    "avi": b"RIFF\xff\xff\0\0AVI ",
    "matroska": b"\x1a\x45\xdf\xa3",
    "mp3": b"ID3\x04\0\0\0\0\0\0",
    "aac": b"\xff\xf1\x50\x80\x01\x7f\xfc",
    "mpegts": (b"G" + bytes(187)) * 5,
    "mpeg": b"\0\0\x01\xba",
    "asf": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "caf": b"caff\0\x01\0\0",
    "mxf": b"\x06\x0e\x2b\x34",
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff",
}


def disguised(canary: Path, port: int) -> dict[str, bytes]:
    """A playlist behind the first bytes of each format."""
    list_of_canary = filled("m3u8", canary, port)
    return {f"{name} then a playlist": magic + b"\n" + list_of_canary for name, magic in DISGUISES.items()}


def filled(name: str, canary: Path, port: int) -> bytes:
    """A playlist that points at the canary."""
    return PLAYLISTS[name].format(canary=canary, url=f"http://127.0.0.1:{port}/canary.wav", port=port).encode()


def atom(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def referring(film: bytes, target: Path) -> bytes:
    """A QuickTime file whose tracks lie in another one: its `dref` names that, and its own media is zeros.

    `film` has its index behind its media. ffmpeg knows the alias of a Macintosh only: the address is its item 2.
    """
    address = str(target).encode()
    address += bytes(len(address) % 2)
    place = bytes(10 + 1 + 27 + 12) + b"\x01" + b"x".ljust(63, b"\0") + bytes(16 + 4 + 16)
    alias = place + struct.pack(">HH", 2, len(address)) + address + struct.pack(">hH", -1, 0)
    outside = atom(b"dref", bytes(4), struct.pack(">I", 1), atom(b"alis", bytes(4), alias))
    return b"".join(replaced(kind, body, outside) for kind, body in atoms(film))


def reference_movie(target: str) -> bytes:
    """A QuickTime file that is nothing but the address of another."""
    address = target.encode() + b"\0"
    data = atom(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(address)), address)
    return atom(b"ftyp", b"qt  ", bytes(4)) + atom(b"moov", atom(b"rmra", atom(b"rmda", data)))


def atoms(data: bytes) -> list[tuple[bytes, bytes]]:
    """Name and content of each atom in a row."""
    found, place = [], 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        size = size if size >= 8 else len(data) - place
        found.append((name, data[place + 8 : place + size]))
        place += size
    return found


def replaced(name: bytes, body: bytes, outside: bytes) -> bytes:
    """An atom with every `dref` in it exchanged."""
    if name == b"dref":
        return outside
    if name in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        return atom(name, *(replaced(kind, content, outside) for kind, content in atoms(body)))
    return atom(name, bytes(len(body)) if name == b"mdat" else body)


def pictures_that_point(canary: Path, port: int) -> dict[str, bytes]:
    """Good pictures whose notes name the canary."""
    url = f"http://127.0.0.1:{port}/canary.wav"
    notes = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{url}"><!ENTITY f SYSTEM "file://{canary}">]><x>&e;&f;</x>'
    info, picture, made = PngInfo(), Image.new("RGB", (8, 8)), {}
    info.add_itxt("XML:com.adobe.xmp", notes)
    for name, options in (("PNG", {"pnginfo": info}), ("JPEG", {"xmp": notes.encode()}), ("WEBP", {"xmp": notes})):
        output = io.BytesIO()
        picture.save(output, name, **options)
        made[f"notes in {name}"] = output.getvalue()
    return made
