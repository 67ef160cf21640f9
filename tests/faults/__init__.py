"""Mistakes, broken files and full disks: a row each, in one table for each command.

A row is one call of `fault` (or of `right`, for what has to succeed) in a list of `test_*.py`:

    fault("--image a.png", "--image: a.png: expected an image, got an empty file", put("a.png")),

`table.py` has these two, the ways to break something, and what is checked of every row.
"""
