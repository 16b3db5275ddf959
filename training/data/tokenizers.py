"""Characters as tokens, in the `tokenizers` library's own file format: one token for each character of a text.

A character that the text does not have becomes <unk>, whose id equals the model's vocabulary size: it is outside of
the embedding table, so a server can see it and refuse it.
"""

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

UNKNOWN = "<unk>"


def character_tokenizer(text: str) -> Tokenizer:
    """A tokenizer of the characters of `text`, numbered in their order; the start token is that of a line break."""
    characters = sorted(set(text) | {"\n"})
    vocabulary = {token: i for i, token in enumerate([*characters, UNKNOWN])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = Fuse()
    return tokenizer
