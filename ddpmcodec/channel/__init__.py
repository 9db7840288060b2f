"""Reverse channel coding: how a step's sample gets across. Two channels behind one Protocol, with white or coloured
priors.
"""
