"""One small byte-level tokenizer for the whole folder, trained on English, Korean, code and emoji."""

from __future__ import annotations

import pytest

from nextword import Tokenizer

CORPUS = [
    "the quick brown fox jumps over the lazy dog, and the other fox watches the dog. " * 12,
    "안녕하세요. 오늘은 토큰 입력부터 단어 예측까지 살펴봅니다. 안녕히 가세요. " * 24,
    "def forward(self, input_ids):\n    return self.output_layer(self.hidden(input_ids))\n" * 12,
    "🙂 party 🎉🎉 family 👨‍👩‍👧‍👦 flag 🇰🇷 " * 12,
]

# What people really type, and what breaks tokenizers.
TEXTS = {
    "english": "To be, or not to be: that's the question.",
    "korean": "대한민국의 토큰, 단어 예측! 밝혔다.",
    "code": "for i in range(10):\n\tprint(f'{i:>3}')  # done\n\n\nreturn None",
    "emoji": "a🙂b 👍🏽 family 👨‍👩‍👧‍👦 flags 🇰🇷🇺🇸",
    "digits": "12345 3.14159 1,000,000 ½ ٣",
    "crlf": "one\r\ntwo\rthree\n\n\r\n",
    "nul and controls": "a\x00b\x1b[31m\x7f\x85",
    "jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af",  # NFD of two Hangul syllables
    "combining": "e\u0301 n\u0303\u0323 Z\u0351\u036b\u0343",
    "bom": "\ufeffbegin \ufeff middle",
    "spaces": "   leading, trailing   \u00a0\u3000\u200b \t ",
    "special spelling": "<|endoftext|> is text <|im_end|>",
    "beyond the BMP": "𝒳𐍈𠮷\U0010ffff",
    "apostrophes": "I'LL you'Re DON'T 'S x's",
    "nothing": "",
}


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    return Tokenizer.train_bpe(CORPUS, vocab_size=440)
