import json
import multiprocessing
import os
import signal
from functools import partialmethod

import pytest
import torch
from torch import nn

from training.loop import RunError, train, trained
from training.models.gpt import GPT
from training.recipe import load_recipe

from .conftest import tiny

CPU = {"accelerator": "cpu", "devices": 1}


def _train_until_killed(recipe, data, run_dir, steps):
    """What the child process does: dies without a word in the middle of a step."""
    loss, trained_steps = GPT.loss, iter(range(steps))

    def deadly(self, *arguments):
        if torch.is_grad_enabled() and next(trained_steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(self, *arguments)

    GPT.loss = deadly
    train(recipe, data, run_dir, CPU, progress=False)


def test_a_killed_run_resumes_to_the_same_weights(tiny_recipe, tiny_data, tmp_path):
    child = multiprocessing.get_context("fork").Process(
        target=_train_until_killed, args=(tiny_recipe, tiny_data, tmp_path / "killed", 5)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / "last.ckpt")["state_dict"]["step"] == 4
    resumed = train(tiny_recipe, tiny_data, tmp_path / "killed", CPU, progress=False)

    undisturbed = train(tiny_recipe, tiny_data, tmp_path / "whole", CPU, progress=False)
    assert resumed.steps == undisturbed.steps == tiny_recipe.train.steps
    expected = undisturbed.family.state_dict()
    for name, found in resumed.family.state_dict().items():
        assert torch.equal(found, expected[name]), name


def test_a_finished_run_is_not_trained_again(tiny_recipe, tiny_data, tmp_path, monkeypatch):
    train(tiny_recipe, tiny_data, tmp_path, CPU, progress=False)
    monkeypatch.setattr(tiny_recipe.family_class, "loss", None)
    train(tiny_recipe, tiny_data, tmp_path, CPU, progress=False)


def test_a_run_of_other_hyper_parameters_is_refused(tiny_recipe, tiny_data, tmp_path):
    with pytest.raises(RunError, match="found no checkpoint"):
        trained(tiny_recipe, tiny_data, tmp_path)
    other = load_recipe("shakespeare-gpt", tiny(**{"optimizer.learning_rate": 0.5}))
    with pytest.raises(RunError, match=r"optimizer\.learning_rate 0\.003 there, 0\.5 here"):
        train(other, tiny_data, tmp_path, CPU, progress=False)


def test_an_option_younger_than_the_run_does_not_make_it_another(tiny_recipe, tiny_data, tmp_path):
    """As long as it has its default: another value was not what the run was trained with."""
    path = tmp_path / "hyper_parameters.json"
    older = tiny_recipe.hyper_parameters()
    del older["data"]["vocabulary"], older["model"]["kv_heads"], older["model"]["layers"]
    path.write_text(json.dumps(older))
    with pytest.raises(RunError, match=r"hyper-parameters \(model\.layers \d there, 2 here\);"):
        trained(tiny_recipe, tiny_data, tmp_path)
    path.write_text(json.dumps(older | {"model": tiny_recipe.hyper_parameters()["model"]}))
    with pytest.raises(RunError, match="found no checkpoint"):
        trained(tiny_recipe, tiny_data, tmp_path)


def test_a_run_starts_from_the_weights_of_another(tiny_recipe, tiny_data, tmp_path):
    """Of its averaged ones; a rate of zero leaves them as they are."""
    first = train(tiny_recipe, tiny_data, tmp_path / "first", CPU, progress=False).family.state_dict()
    still = {"optimizer.learning_rate": 0.0, "optimizer.muon_learning_rate": 0.0, "seed": 1}
    recipe = load_recipe("shakespeare-gpt", tiny(**{**still, "train.start_from": str(tmp_path / "first")}))
    second = train(recipe, tiny_data, tmp_path / "second", CPU, progress=False).family.state_dict()
    for name, found in second.items():
        torch.testing.assert_close(found, first[name], msg=name)


def test_compiled_networks_learn_the_same(tiny_recipe, tiny_data, tmp_path, monkeypatch):
    """By a backend that needs no C++ compiler."""
    plain = train(tiny_recipe, tiny_data, tmp_path / "plain", CPU, progress=False).family.state_dict()
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
    recipe = load_recipe("shakespeare-gpt", tiny(**{"train.compile": True}))
    compiled = train(recipe, tiny_data, tmp_path / "compiled", CPU, progress=False).family.state_dict()
    assert traced
    assert plain.keys() == compiled.keys()
    for name, found in compiled.items():
        torch.testing.assert_close(found, plain[name], msg=name)


def test_a_start_that_does_not_fit_is_refused(tiny_recipe, tiny_data, tmp_path):
    start = {"train.start_from": str(tmp_path / "first")}
    with pytest.raises(RunError, match=r"train\.start_from: found no run at .*first"):
        train(load_recipe("shakespeare-gpt", tiny(**start)), tiny_data, tmp_path / "second", CPU, progress=False)
    train(tiny_recipe, tiny_data, tmp_path / "first", CPU, progress=False)
    wider = load_recipe("shakespeare-gpt", tiny(**{**start, "model.width": 64}))
    with pytest.raises(RunError, match=r"do not fit this model \(blocks\.0\."):
        train(wider, tiny_data, tmp_path / "wider", CPU, progress=False)
