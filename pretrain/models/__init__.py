"""A model as files: which ones count, what their headers say, and how they become a network of a known family.

Everything read here was written by a stranger. Nothing of it reaches a library that would act on it: JSON is parsed
with bounds, headers are checked before their data is touched, and the network is built from our own configuration.
"""
