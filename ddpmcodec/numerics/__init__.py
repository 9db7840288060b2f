"""Numbers that every machine makes alike: counter-based randomness, fixed-point logarithms, integer symbol models."""
