"""Node software of a decentralised pretraining subnet on Bittensor."""

__version__ = "0.1.0"
