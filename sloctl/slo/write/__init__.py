"""Objectives as documents of a format, plain data in the order of its fields.

A writer says what its format has words for and leaves out the rest; whoever reads the document again and compares
knows what was lost. What cannot be said at all raises `NoWords`.
"""
