import argparse

import pytest

from seg2d3d_ros.cli import models


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*arguments):
    parser = argparse.ArgumentParser()
    models.configure(parser)
    return models.run(parser.parse_args(arguments))


@pytest.fixture
def one_model(tmp_path):
    """Return the options for a manifest with one file, which is not pinned, and that file."""
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "version: 1\n"
        "weights: {w: {licence: MIT, source: 'https://example.org', files: {w.txt: {}}}}\n"
        "models: {mine: {backend: sam_auto, weights: {segmenter: w}}}\n"
    )
    file = tmp_path / "weights" / "w" / "w.txt"
    file.parent.mkdir(parents=True)
    file.write_text("abc")
    return ["--manifest", str(manifest), "--weights-dir", str(tmp_path / "weights")], file


def test_models_list_names_every_model_with_state_and_licence(one_model, capsys):
    options, _ = one_model
    assert run("list", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines if line.startswith("mine")] == [
        ["mine", "sam_auto", "unpinned"]
    ]
    assert any(line.startswith("sam3") and "SAM License" in line for line in lines)


def test_models_where_says_which_file_goes_into_which_folder(one_model, capsys):
    options, file = one_model
    assert run("where", "mine", *options) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(file.parent),
        "  from https://example.org",
        "  licence: MIT",
        "  w.txt",
    ]


def test_models_verify_prints_the_hash_and_fails_when_the_file_is_gone(one_model, capsys):
    options, file = one_model
    assert run("verify", "mine", *options) == 0
    # sha256 of "abc", FIPS 180-2
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" in (
        capsys.readouterr().out
    )
    file.unlink()
    assert run("verify", "mine", *options) == 1
    assert capsys.readouterr().out.startswith("missing")


def test_models_verify_without_a_name_fails_when_no_model_is_whole(one_model, capsys):
    options, file = one_model
    assert run("verify", *options) == 0  # the others are not asked for
    file.unlink()
    assert run("verify", *options) == 1
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]} >= {"missing"}


def test_models_verify_damaged_file_fails_even_when_not_named(one_model):
    options, file = one_model
    file.write_text("")
    assert run("verify", *options) == 1
