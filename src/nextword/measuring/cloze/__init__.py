"""What a model knows of ordinary language: openings of sentences, and the words that may come next.

`english.tsv` and `korean.tsv` hold openings of four kinds (everyday, grammar, phrase, fact) in the format of
`openings.py`; `answers.py` asks a model for the next whole word of each.
"""

from nextword.measuring.cloze.answers import Answer, Cloze, Tally, answer_of, measure
from nextword.measuring.cloze.openings import Opening, read_openings, shipped_openings

__all__ = ["Answer", "Cloze", "Opening", "Tally", "answer_of", "measure", "read_openings", "shipped_openings"]
