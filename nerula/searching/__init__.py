"""Searching: ranges of a method's arguments, what a trial is worth, and what all of them say."""
