"""HTTP: an API that OpenAI's clients use unchanged, and the page.

A request comes in past `process/guards.py` at `app.py`, which takes in the routes of every folder of `api/` (one a
protocol) and of `look/` (the page's). It is checked by the folder's `schemas.py`, becomes a batch of jobs
(`batch.py`) that `scheduler.py` runs together, and leaves in the shapes of that folder.
"""
