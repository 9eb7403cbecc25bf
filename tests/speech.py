"""People speaking, and what they say: recordings for tests and benchmarks.

The sample recording comes as a Python package. The LibriVox clips come from Debian's `pocketsphinx-testdata`: the
installed one, or a copy that is fetched once into `.cache/speech/` without being root. All texts are in the public
domain.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import jiwer

PACKAGE = "pocketsphinx-testdata"
LIBRIVOX = Path("usr/share/pocketsphinx/test/data/librivox")
CACHE = Path(__file__).resolve().parents[1] / ".cache" / "speech"

#: What `pipeline.sample.speech_sample()` says.
TWO_CITIES = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it "
    "was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
    "Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing "
    "before us, we were all going direct to Heaven, we were all going direct the other way - in short, the period was "
    "so far like the present period, that some of its noisiest authorities insisted on its being received, for good "
    "or for evil, in the superlative degree of comparison only."
)


def librivox() -> list[tuple[Path, str]]:
    """Five sentences of "Sense and Sensibility", each a 16 kHz mono WAV of 3 to 7 s with its text.

    Raises LookupError when they are neither installed nor to be fetched.
    """
    installed = Path("/") / LIBRIVOX
    folder = installed if installed.is_dir() else CACHE / LIBRIVOX
    if not folder.is_dir():
        _fetch()
    texts = transcription((folder / "transcription").read_text())
    names = (folder / "fileids").read_text().split()
    return [(folder / f"{name}.wav", texts[name]) for name in names]


def transcription(lines: str) -> dict[str, str]:
    """Texts by name, of a sphinx transcription file: `<s> some words </s> (name)` on each line."""
    found = re.findall(r"^\s*(?:<s>)?(.*?)(?:</s>)?\s*\(([^()]+)\)\s*$", lines, flags=re.MULTILINE)
    return {name: text.strip() for text, name in found}


def normalised(text: str) -> str:
    """Lower case, no punctuation: what two writers of the same words agree on."""
    words = re.sub(r"[^\w\s']|_", " ", text.lower()).replace("'", "").split()
    return " ".join({"mr": "mister"}.get(word, word) for word in words)


def word_error_rate(reference: str, text: str) -> float:
    """Wrong, missing and added words, as a share of the reference's words."""
    return float(jiwer.wer(normalised(reference), normalised(text)))


def _fetch() -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise LookupError(f"the LibriVox clips come from Debian's {PACKAGE}, and this system has no apt-get")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        if not _download(scratch) and (os.geteuid() != 0 or not _run("apt-get", "update") or not _download(scratch)):
            raise LookupError(f"apt-get could not download {PACKAGE} (sudo apt-get install {PACKAGE} may do)")
        (package,) = Path(scratch).glob("*.deb")
        if not _run("dpkg-deb", "-x", str(package), f"{scratch}/files"):
            raise LookupError(f"{package.name} could not be unpacked")
        target = CACHE / LIBRIVOX
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            (Path(scratch) / "files" / LIBRIVOX).rename(target)
        except OSError as error:
            if not target.is_dir():  # else another process was first
                raise LookupError(f"{PACKAGE} holds no {LIBRIVOX}") from error


def _download(folder: str) -> bool:
    return _run("apt-get", "download", PACKAGE, cwd=folder)


def _run(*command: str, cwd: str | None = None) -> bool:
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, timeout=120, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
