"""What to train and what to expect of it: settings that were left open, baselines, forecast, verdict."""
