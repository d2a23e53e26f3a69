"""HTTP: an API that OpenAI's clients use unchanged.

Requests come in past `guards.py` at `app.py`, are checked by `schemas.py`, become jobs (`jobs.py`) that `scheduler.py`
runs together, and leave in the shapes of `completions.py` and `chat.py`.
"""
