"""onnxruntime-genai, greedily, past and present in one buffer: a process for benchmarks.side.

python -m benchmarks.peers.genai.text <model> <threads>
"""

import json
import sys
import time

import numpy as np
import onnxruntime_genai as genai

from benchmarks.side import answer


def load(directory: str, threads: int) -> genai.Model:
    """A model with so many threads for one operator, which wait by spinning as is genai's default."""
    config = genai.Config(directory)
    options = {"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}
    config.overlay(json.dumps(options))
    return genai.Model(config)


def write(model: genai.Model, prompts: np.ndarray, tokens: int, sampling: dict | None = None) -> np.ndarray:
    """Write after each of the prompts (B, T) int32, padded on the left. Returns their tokens (B, `tokens`)."""
    parameters = genai.GeneratorParams(model)
    batch, length = prompts.shape
    options = {"do_sample": False} if sampling is None else sampling
    parameters.set_search_options(
        max_length=length + tokens, batch_size=batch, past_present_share_buffer=True, **options
    )
    generator = genai.Generator(model, parameters)
    generator.append_tokens(prompts)
    while not generator.is_done():
        generator.generate_next_token()
    return np.stack([generator.get_sequence(row)[length:] for row in range(batch)])


def main() -> None:
    model = load(sys.argv[1], int(sys.argv[2]))

    def run(prompt: list[int], tokens: int) -> dict:
        start = time.perf_counter()
        written = write(model, np.array([prompt], np.int32), tokens)[0].tolist()
        return {"seconds": time.perf_counter() - start, "tokens": written}

    answer(run)


if __name__ == "__main__":
    main()
