"""Encoders: a signal and its validity mask to tokens and an embedding."""
