"""`generate` of Hugging Face transformers, greedily: a process for benchmarks.side.

python -m benchmarks.peers.transformers.text <checkpoint> <threads> dynamic|static

With its default cache, which grows; or in the way that its documentation gives for speed, with a cache of fixed size and steps
that torch.compile has compiled.
"""

import sys
import time

import torch
from transformers import AutoModelForCausalLM, CompileConfig

from benchmarks.side import answer


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    options = {}
    if sys.argv[3] == "static":
        compiled = CompileConfig()
        compiled._compile_all_devices = True  # it compiles on accelerators only, unless it is told so
        options = {"cache_implementation": "static", "compile_config": compiled}

    @torch.inference_mode()
    def run(prompt: list[int], tokens: int) -> dict:
        start = time.perf_counter()
        ids = torch.tensor([prompt])
        written = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=tokens,
            min_new_tokens=None,
            **options,
        )[0, len(prompt) :].tolist()
        return {"seconds": time.perf_counter() - start, "tokens": written}

    answer(run)


if __name__ == "__main__":
    main()
