"""Our own diffusion network in torch, walked by the service's sampler on tensors: a process for benchmarks.side.

    python -m benchmarks.torch_diffusion <saved network> <threads> eager|default|max-autotune contiguous|channels_last

As it is written, or by torch.compile in one of its modes, with its tensors in one of their layouts. max-autotune comes with
frozen weights: on a CPU it chooses among kernels for those only (PyTorch's tutorial "Using Max-Autotune Compilation on CPU").
Asked for an image: `noise` (784 numbers), `sigmas` and `label`.
"""

import sys
import time
from collections.abc import Callable

import torch
import torch._inductor.config
from torch import Tensor

from benchmarks.side import answer
from service.samplers import diffusion


@torch.inference_mode()
def walk(denoise: Callable[..., Tensor], noise: Tensor, sigmas: list[float], label: Tensor) -> Tensor:
    """DPM-Solver++(2M) from unit noise (n, C, H, W) to images of the same shape, in [0, 1]."""
    steps = diffusion.from_noise(diffusion.dpmpp_2m, sigmas[0] * noise, sigmas, iter(()))  # type: ignore[arg-type]
    x, sigma = next(steps)
    while True:
        x0 = denoise(x, noise.new_full((len(noise),), sigma), label)
        try:
            x, sigma = steps.send(x0)
        except StopIteration as stop:
            return stop.value.clamp(0, 1)


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    way, layout = (
        sys.argv[3],
        {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[sys.argv[4]],
    )
    denoise = torch.load(sys.argv[1], weights_only=False).eval().denoise.to(memory_format=layout)
    if way != "eager":
        torch._inductor.config.freezing = way == "max-autotune"
        denoise = torch.compile(denoise, mode=way)

    def run(noise: list[float], sigmas: list[float], label: int) -> dict:
        start = time.perf_counter()
        x = torch.tensor(noise).view(1, 1, 28, 28).to(memory_format=layout)
        image = walk(denoise, x, sigmas, torch.tensor([label]))
        return {"seconds": time.perf_counter() - start, "image": image.flatten().tolist()}

    answer(run)


if __name__ == "__main__":
    main()
