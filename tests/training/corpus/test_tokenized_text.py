"""Documents as token ids."""

from __future__ import annotations

import numpy as np

from nextword import Tokenizer
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from tests.training.sample_text import SENTENCES, TEXT


def test_the_document_start_stands_before_each_document() -> None:
    tokenizer = Tokenizer.train_bpe(TEXT, 300)
    documents = [Document(str(i), sentence) for i, sentence in enumerate(SENTENCES)]
    text = TokenizedText.from_documents(documents, tokenizer)
    assert tokenizer.bos_id is not None
    cuts = np.flatnonzero(text.tokens == tokenizer.bos_id)
    assert len(cuts) == 4
    assert cuts[0] == 0
    parts = np.split(text.tokens, cuts[1:])
    assert tuple(tokenizer.decode(part[1:].tolist()) for part in parts) == SENTENCES
    assert text.characters == sum(map(len, SENTENCES)) == 103
    assert text.bytes == sum(len(sentence.encode()) for sentence in SENTENCES) == 153


def test_a_tokenizer_without_a_document_start_adds_nothing() -> None:
    text = TokenizedText.from_documents([Document("a", "ab"), Document("b", "ba")], Tokenizer.characters("ab"))
    assert text.tokens.tolist() == [0, 1, 1, 0]
    assert TokenizedText.from_documents([], Tokenizer.characters("ab")).tokens.tolist() == []
