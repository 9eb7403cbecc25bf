"""What a media process may do, and the proof that it may do no more."""
