"""A run: begun or gone on with, its batches, its step, its loop, its end. `train.train` is `nextword.train`."""
