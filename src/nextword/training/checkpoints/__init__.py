"""Where a run stands, on disk: its last steps, whole or in shards, and the model of some of them."""
