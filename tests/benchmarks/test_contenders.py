"""What a setting says is what a peer's server is told."""

from dataclasses import asdict

import pytest

from benchmarks import one_client
from benchmarks.contenders import PEERS, Setting
from benchmarks.one_shot_peers import CLIENTS, at_edge
from benchmarks.peers.graph import options
from benchmarks.works import GAN


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_servers_are_told_their_settings(peer) -> None:
    for setting in peer.settings:
        told = asdict(options(["--port", "1", *peer.arguments(GAN, setting)]))
        assert {name: told[name] for name in asdict(setting)} == asdict(setting)


@pytest.mark.parametrize("settings", [one_client.SETTINGS, *(peer.settings for peer in PEERS)])
def test_no_setting_is_tried_twice_or_goes_by_the_name_of_another(settings) -> None:
    assert len({str(setting) for setting in settings}) == len(set(settings)) == len(settings)


@pytest.mark.parametrize("settings", [one_client.SETTINGS, *(peer.settings for peer in PEERS)])
def test_where_threads_wait_for_each_other_the_runtimes_default_is_tried_too(settings) -> None:
    """ONNX Runtime has its threads spin; a peer that sleeps only would be compared at less than its best."""
    several = [setting for setting in settings if setting.threads > 1]
    assert several
    assert any(setting.spin == "always" for setting in several)


def test_a_setting_says_how_its_threads_wait() -> None:
    assert str(Setting(workers=2)) == "workers 2, session threads 1"
    assert str(Setting(threads=2, spin="always", inline=True)) == (
        "workers 1, session threads 2 that spin, called in the event loop"
    )


def test_a_setting_beyond_which_none_was_tried_is_noted() -> None:
    tried = [Setting(batch, workers=workers) for batch in (4, 16, CLIENTS) for workers in (1, 2, 3)]
    assert at_edge(Setting(16, workers=2), tried) == at_edge(Setting(CLIENTS), tried) == []
    assert at_edge(Setting(4, workers=3), tried) == ["batch", "workers"]
    assert at_edge(Setting(workers=2), [Setting(workers=2), Setting(threads=2, workers=2)]) == []
