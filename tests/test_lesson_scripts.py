"""The lesson's scripts, retyped; only their import line is changed (and nothing is shown on a screen)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nextword import GPTModel, Tokenizer, generate

VOCABULARY = ["hello", "world", "this", "is", "a", "test", "model", "GPT", "language", "AI"]

HEATMAPS = """
import torch
import matplotlib.pyplot as plt
import seaborn as sns
from nextword import GPTModel

# 모델 설정
vocab_size = 100    # 단어 개수
d_model = 128       # 임베딩 차원
context_length = 20 # 최대 문장 길이

# GPT 모델 생성
model = GPTModel(vocab_size,d_model,num_heads=4,num_layers=4,dropout=0.1,context_length=context_length)

# 가짜 데이터
input_ids = torch.randint(0,vocab_size,(1,context_length))

with torch.no_grad():
    token_embeds = model.token_embedding(input_ids).squeeze(0).numpy()  # (seq_length, d_model)
    pos_embeds = model.position_encoding(torch.arange(context_length)).numpy()  # (seq_length, d_model)
    combined_embeds = token_embeds + pos_embeds  # 최종 Transformer 입력

# 히트맵 시각화 (Embedding 확인)
fig, axes = plt.subplots(1, 3, figsize=(18, 5))

sns.heatmap(token_embeds, cmap="coolwarm", ax=axes[0])
axes[0].set_title("Token Embedding")

sns.heatmap(pos_embeds, cmap="coolwarm", ax=axes[1])
axes[1].set_title("Positional Encoding")

sns.heatmap(combined_embeds, cmap="coolwarm", ax=axes[2])
axes[2].set_title("Token + Positional Encoding")
"""

PREDICTION = """
import torch
import torch.nn.functional as F

from nextword import GPTModel

# 어휘집
vocabulary = ["hello","world","this","is","a","test","model","GPT","language","AI"]
vocabulary_size = len(vocabulary)

# 토큰 인코딩 함수
def encode(text):
    return torch.tensor([vocabulary.index(word) for word in text.split() if word in vocabulary]).unsqueeze(0)

# 토큰 디코딩 함수
def decode(tokens):
    return " ".join([vocabulary[index] for index in tokens])

# 가짜 입력 문장
input_text = "hello world this is"
input_ids = encode(input_text)

# 모델 생성
model = GPTModel(
    vocab_size=vocabulary_size,
    d_model=128,
    num_heads=4,
    num_layers=4,
    dropout=0.1,
    context_length=vocabulary_size)

model.eval() # 평가 모드

with torch.no_grad():
    logits = model(input_ids)
    next_token_logits = logits[:,-1,:]
    next_token = torch.argmax(F.softmax(next_token_logits,dim=1),dim=-1).item()

# 결과 출력
print(f"입력 문장: {input_text}")
print(f"예측된 다음 단어: {vocabulary[next_token]}")
"""

GENERATION = """
def generate(model,tokenizer,start_text,max_new_tokens):
    model.eval()
    input_ids=encode(start_text)

    for _  in range(max_new_tokens):
        with torch.no_grad():
            logits = model(input_ids)
            next_token_logits = logits[:,-1,:]
            next_token = torch.argmax(F.softmax(next_token_logits,dim=1),dim=-1).item()

            # 입력에 추가
            input_ids = torch.cat([input_ids, torch.tensor([[next_token]])], dim=1)

    return decode(input_ids.squeeze(0).tolist())

# 실행
generated_text = generate(model, encode, "hello world this is", max_new_tokens=5)
print("생성된 문장:", generated_text)
"""


def run(code: str, folder: Path) -> list[str]:
    """The lines that a script prints in a Python of its own, with every warning an error."""
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_heatmap_script_draws_its_three_embeddings(tmp_path: Path) -> None:
    check = """
assert (token_embeds.shape, pos_embeds.shape, combined_embeds.shape) == ((20, 128),) * 3
assert [ax.get_title() for ax in axes] == ["Token Embedding", "Positional Encoding", "Token + Positional Encoding"]
assert abs(axes[2].collections[0].get_array().ravel() - (token_embeds + pos_embeds).ravel()).max() == 0
plt.savefig("heatmaps.png")
"""
    assert run(HEATMAPS + check, tmp_path) == []
    drawn = (tmp_path / "heatmaps.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert int.from_bytes(drawn[16:20]) == 1800
    assert int.from_bytes(drawn[20:24]) == 500


def test_the_prediction_and_generation_scripts_print_what_the_lesson_shows(tmp_path: Path) -> None:
    ours = """
from nextword import Tokenizer, generate as ours
print("nextword:", ours(model, Tokenizer.words(vocabulary), "hello world this is", max_new_tokens=5))
"""
    given, predicted, generated, again = run(PREDICTION + GENERATION + ours, tmp_path)
    assert given == "입력 문장: hello world this is"
    name, word = predicted.split(": ")
    assert name == "예측된 다음 단어"
    assert word in VOCABULARY
    name, text = generated.split(": ")
    assert name == "생성된 문장"
    words = text.split(" ")
    assert words[:4] == ["hello", "world", "this", "is"]
    assert words[4] == word
    assert len(words) == 9
    assert set(words) <= set(VOCABULARY)
    assert again == f"nextword: {text}"


@pytest.mark.parametrize("seed", range(5))
def test_generate_equals_the_lessons_own_greedy_loop(seed: int) -> None:
    torch.manual_seed(seed)
    model = GPTModel(10, d_model=128, num_heads=4, num_layers=4, dropout=0.1, context_length=10)
    input_ids = torch.tensor([[0, 1, 2, 3]])
    model.eval()
    for _ in range(5):
        with torch.no_grad():
            next_token_logits = model(input_ids)[:, -1, :]
            next_token = torch.argmax(F.softmax(next_token_logits, dim=1), dim=-1).item()
            input_ids = torch.cat([input_ids, torch.tensor([[next_token]])], dim=1)
    expected = " ".join(VOCABULARY[index] for index in input_ids.squeeze(0).tolist())
    model.train()
    assert generate(model, Tokenizer.words(VOCABULARY), "hello world this is", 5) == expected
    assert len(expected.split()) == 9


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("nextword", ["torch", "numpy", "tokenizers", "matplotlib", "rich"]),
        ("nextword.generation, nextword.language_model, nextword.files", ["torch", "matplotlib", "transformers"]),
    ],
)
def test_importing_is_cheap(tmp_path: Path, modules: str, absent: list[str]) -> None:
    assert run(f"import sys, {modules}\nprint(*sorted(set({absent}) & set(sys.modules)))", tmp_path) == [""]


def test_public_names_reach_generation_without_torch(tmp_path: Path) -> None:
    code = "import sys, nextword\nnextword.LanguageModel, nextword.generate, nextword.Prediction, nextword.Tokenizer"
    code += "\nprint('torch' in sys.modules)\nnextword.GPTModel\nprint('torch' in sys.modules)"
    assert run(code, tmp_path) == ["False", "True"]
