"""Spline flows, one for each fold of the rows, averaged: density of vectors with a held-out score of every row.

Each flow (spline_flow.py) is trained on all rows but a fold, and kept as it was when that fold was likeliest. Columns are only
permuted, never mixed, so that z_j belongs to one column: z_j^2 / 2 is what it takes away.

Rows of tables repeat values, of which no density is bounded: in training x + u takes the place of x, u uniform over GRAIN.
"""

import copy
import math

import torch
from torch import Tensor, nn

from training.data.source import keyed
from training.layers.spline_flow import SplineFlow

FOLDS = 2
GRAIN = 0.03  # of standardised columns
STEPS, EVERY, BATCH = 600, 50, 256
RATE, DECAY = 3e-3, 0.01


class Flows(nn.Module):
    """x (B, D) -> log_prob (B,) in nats, the mean of the folds' log-densities, and what each column takes away, (B, D)."""

    def __init__(self, size: int, layers: int = 4, bins: int = 6, width: int = 32):
        super().__init__()
        coupling = {"bins": bins, "bound": 4.0, "width": width, "depth": 1, "dropout": 0.1}
        self.flows = nn.ModuleList(
            SplineFlow(size, layers=layers, tails="normal", linear=False, **coupling) for _ in range(FOLDS)
        ).requires_grad_(False)

    @torch.enable_grad()
    def fit(self, x: Tensor, rows: int, steps: int = STEPS) -> Tensor:
        """To standardised rows (n, D), at most `rows` of them a fold. Returns each row's log_prob by the flow that has not
        seen it, (n,)."""
        fold = torch.randperm(len(x), generator=keyed(len(x))) % FOLDS
        held_out = torch.zeros(len(x))
        for number, flow in enumerate(self.flows):
            known = x[fold != number][:rows]
            flow.columns.take(known, torch.full((x.shape[1],), GRAIN))
            _train(flow, known, x[fold == number][:rows], number, steps)
            with torch.no_grad():
                held_out[fold == number] = torch.cat([flow.log_prob(part) for part in x[fold == number].split(1024)])
        return held_out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_prob, parts = torch.zeros_like(x[:, 0]), torch.zeros_like(x)
        for flow in self.flows:
            places = torch.arange(x.shape[1])
            for mixing in flow.mixings:
                places = places[mixing.order]
            z, log_abs_det = flow(x)
            halves = 0.5 * z * z  # (B, D) float64
            normal = -(halves @ halves.new_ones(halves.shape[1], 1)).squeeze(1) - 0.5 * z.shape[1] * math.log(
                2 * math.pi
            )
            log_prob = log_prob + (normal + log_abs_det).to(x.dtype) / FOLDS
            parts = parts + halves[:, places.argsort()].to(x.dtype) / FOLDS
        return log_prob, parts


def _train(flow: SplineFlow, known: Tensor, held_out: Tensor, seed: int, steps: int) -> None:
    """Maximum likelihood; the weights are those of the step at which `held_out` was likeliest."""
    flow.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(flow.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    best, kept = -torch.inf, copy.deepcopy(flow.state_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        for step in range(1, steps + 1):
            generator = keyed(seed, step)
            rows = known[torch.randint(len(known), (BATCH,), generator=generator)]
            noise = GRAIN * (torch.rand(rows.shape, generator=generator) - 0.5)
            loss = -flow.log_prob(rows + noise).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            if step % EVERY == 0:
                with torch.no_grad():
                    likely = float(flow.eval().log_prob(held_out).mean())
                flow.train()
                if likely > best:
                    best, kept = likely, copy.deepcopy(flow.state_dict())
    flow.load_state_dict(kept)
    flow.eval().requires_grad_(False)
