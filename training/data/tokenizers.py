"""Tokens of text, in the `tokenizers` library's own file format: its characters, its bytes, or byte pairs learnt from it.

Of characters, one that the text does not have becomes <unk>, whose id equals the model's vocabulary size: it is outside of
the embedding table, so a server can see it and refuse it.
"""

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import Fuse
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

UNKNOWN = "<unk>"
BYTES = 256  # a vocabulary of byte pairs that has no pairs: any text can be encoded, byte by byte


def character_tokenizer(text: str) -> Tokenizer:
    """A tokenizer of the characters of `text`, numbered in their order; the start token is that of a line break."""
    characters = sorted(set(text) | {"\n"})
    vocabulary = {token: i for i, token in enumerate([*characters, UNKNOWN])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = Fuse()
    return tokenizer


def pair_tokenizer(text: str, vocabulary: int) -> Tokenizer:
    """Byte-level byte pairs (Sennrich et al. 2016, arXiv:1508.07909), learnt from `text`; any text can be encoded.

    Line breaks are tokens of their own, so that one of them can start a text.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Split("\n", behavior="isolated"), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(vocab_size=vocabulary, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer
