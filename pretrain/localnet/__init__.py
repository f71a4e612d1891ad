"""A whole subnet on this machine: an embedded chain and hub, and the real neurons as processes."""
