"""Packets to bytes and back: range coding, the models of what is coded, the header, the file, the archive's index."""
