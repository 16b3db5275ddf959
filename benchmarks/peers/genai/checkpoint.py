"""A Llama of a given size with random weights, as a checkpoint of transformers and as a model of onnxruntime-genai.

    python -m benchmarks.peers.genai.checkpoint <directory> <layers> <width> <heads> <kv_heads> <context> <vocabulary>

Its blocks have as many weights as ours: three matrices of a feed-forward of 8/3 the width, where ours has two of four times.
The last token ends a text, and is never the likeliest.
"""

import subprocess
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def main() -> None:
    directory = Path(sys.argv[1])
    layers, width, heads, kv_heads, context, vocabulary = map(int, sys.argv[2:])
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=8 * width // 3 // 8 * 8,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=context,
            bos_token_id=0,
            eos_token_id=vocabulary - 1,
            pad_token_id=0,
            tie_word_embeddings=False,
        )
    )
    torch.nn.init.zeros_(model.lm_head.weight.data[-1])
    model.save_pretrained(directory / "transformers")
    # The builder asks for a tokenizer; nobody uses it.
    tokens = Tokenizer(WordLevel({f"<{i}>": i for i in range(vocabulary)}, unk_token="<0>"))
    PreTrainedTokenizerFast(tokenizer_object=tokens).save_pretrained(directory / "transformers")
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(directory / "transformers")]
    command += ["-o", str(directory / "genai"), "-p", "fp32", "-e", "cpu", "-c", str(directory / "cache")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
