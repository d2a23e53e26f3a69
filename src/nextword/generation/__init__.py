"""Logits -> distribution -> next word -> text. Drives anything of the shape of `Backend`; never imports torch."""

from nextword.generation.backend import Backend, Cache
from nextword.generation.memory import Memory
from nextword.generation.prediction import Candidate, Prediction, predict_ids, predict_token
from nextword.generation.sampling import Sampling, Stages
from nextword.generation.scoring import Score, score_tokens
from nextword.generation.stream import Generation, TextStream, TokenLogprob
from nextword.generation.words import WordCandidate, WordPrediction, predict_word
from nextword.settings import GenerationSettings

__all__ = [
    "Backend",
    "Cache",
    "Candidate",
    "Generation",
    "GenerationSettings",
    "Memory",
    "Prediction",
    "Sampling",
    "Score",
    "Stages",
    "TextStream",
    "TokenLogprob",
    "WordCandidate",
    "WordPrediction",
    "predict_ids",
    "predict_token",
    "predict_word",
    "score_tokens",
]
