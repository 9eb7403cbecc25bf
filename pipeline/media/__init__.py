"""Media in: probing hostile files, planning windows, cutting clips of speech. Only `ffmpeg.py` starts processes."""
