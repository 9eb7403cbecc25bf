"""Telling somebody's server how jobs and collections ended: at least once, and signed.

What is owed is in the bucket from the moment somebody asks for it, so that nothing that happens to Redis or to a worker
forgets it. Whoever delivers needs to remember nothing.
"""
