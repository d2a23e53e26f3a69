"""What a request took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nextword.server.batch import Batch


def usage_of(batch: Batch, prompts: Sequence[Sequence[int]], written: int) -> dict[str, Any]:
    """OpenAI's count of tokens."""
    read = sum(map(len, prompts))
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": sum(job.reused for job in batch.jobs)},
    }
