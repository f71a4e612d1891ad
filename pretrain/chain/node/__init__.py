"""A node in front of an embedded chain: a subtensor node's JSON-RPC over websocket, for any ``ws://`` client.

Bytes are checked and stored as a node stores them, so a client's whole path is walked: metadata, storage keys, signed
extrinsics, inclusion, events, finality. What is not there is said to be missing, never made up.
"""
