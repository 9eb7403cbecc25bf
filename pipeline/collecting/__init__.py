"""Collections: jobs that were submitted together, as lines of shards in the bucket.

A collection is accepted shard by shard: what is in the bucket is done, whoever dies. Its jobs are opened by the
steward, a window of them at a time, so that neither Redis nor `open/` ever holds an archive.
"""
