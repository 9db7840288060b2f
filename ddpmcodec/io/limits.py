"""Limit of a picture's size, for all who read, write or code one."""

MAX_PIXELS = 64 << 20  # of a picture, and of the canvas that it is coded on
