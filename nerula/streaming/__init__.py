"""Streaming: samples that arrive, in windows that are embedded as they are full.

`ring` keeps what the next windows need, `live` makes windows of it and results of them, `inputs`
makes packets of bytes, `follow` waits for bytes.
"""
