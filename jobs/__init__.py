"""Batch inference over files: the service's own tasks and engine, in process, on Ray Data.

plan.py cuts the input into shards, from the input alone; worker.py answers one shard after another and writes a part file
of each at once; run.py hands the shards to workers, on this machine or a cluster. A shard is done where its part file
exists, so a job that was interrupted goes on where it stood.
"""
