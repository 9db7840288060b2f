"""Lossless tail: x_0 exactly, given the last x_t. Integers only, once the network's prediction has been rounded."""

from ddpmcodec.lossless.tail import decode_tail, encode_tail
from ddpmcodec.lossless.visit import TailLevel

__all__ = ["TailLevel", "decode_tail", "encode_tail"]
