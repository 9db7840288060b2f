"""Rate-distortion curves, the paper's and other codecs': what `ddpmcodec rd` measures and draws."""
