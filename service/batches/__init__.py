"""Batches of requests that come as a file and are answered in a file, as OpenAI's Batch API has them.

`store.py` remembers files, batches and results in SQLite; `contents.py` keeps what is in the files; `lines.py` reads the
requests of an input file and `outcome.py` writes what came of them; `inside.py` asks our own application; `work.py` takes
one batch from its first state to its last; `desk.py` holds all of it together.

A line's answer is stored once, under the batch and the line's number, in the same transaction as the counts; the output
files are written from these rows when all are there. Whatever ends the process in between, a restart finds which lines have
an answer and asks for the others only.
"""
