"""Media in: what a file is, its windows, its pieces. Processes start in `sandbox/process.py` and nowhere else."""
