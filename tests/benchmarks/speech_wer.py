"""How well people are understood: word error rate of reelmill against its engine alone, on the same recordings."""

import json
import tempfile
from pathlib import Path

from pipeline.sample import speech_sample
from tests.benchmarks.sides import engine_alone, reelmill
from tests.speech import TWO_CITIES, librivox, normalised, word_error_rate


def main() -> None:
    spoken = [*librivox(), (speech_sample(), TWO_CITIES)]
    files = [path for path, _ in spoken]
    with tempfile.TemporaryDirectory(prefix="reelmill-speech-wer-") as data_dir:
        through, _ = reelmill(files, Path(data_dir), "--in-process")
    alone, _ = engine_alone(files)

    print(f"{'file':<48} {'words':>6} {'reelmill':>9} {'alone':>9}")
    num_words = 0
    num_wrong = {"pipeline": 0.0, "alone": 0.0}
    for (path, reference), *texts in zip(spoken, through, alone, strict=True):
        words = len(normalised(reference).split())
        rates = [word_error_rate(reference, text) for text in texts]
        num_words += words
        for side, rate in zip(num_wrong, rates, strict=True):
            num_wrong[side] += rate * words
        print(f"{path.name:<48} {words:>6} {rates[0]:>9.1%} {rates[1]:>9.1%}")
    total = {side: wrong / num_words for side, wrong in num_wrong.items()}
    print(f"{'all':<48} {num_words:>6} {total['pipeline']:>9.1%} {total['alone']:>9.1%}")

    figures = {
        "wer_minus_engine_alone": round(total["pipeline"] - total["alone"], 4),
        "wer_pipeline": round(total["pipeline"], 4),
        "wer_alone": round(total["alone"], 4),
    }
    print(json.dumps({"benchmark": "speech-wer", "figures": figures}))


if __name__ == "__main__":
    main()
