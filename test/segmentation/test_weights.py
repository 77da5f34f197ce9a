import hashlib
import logging
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import yaml

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.errors import WeightsError
from seg2d3d_ros.segmentation import weights as weights_module
from seg2d3d_ros.segmentation.backend import choose_backend, create_backend
from seg2d3d_ros.segmentation.checkpoints import find_damage, load_state_dict
from seg2d3d_ros.segmentation.weights import (
    check_model,
    default_model,
    find_model,
    load_models,
    open_model,
)
from seg2d3d_ros.types import Camera, Rig

RIG = Rig((Camera("front", 8, 8, np.eye(3), np.eye(4)),))


@pytest.fixture
def pinned(tmp_path):
    """Return a configuration with one small file that is pinned, and that file."""
    file = tmp_path / "weights" / "thing" / "thing.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x80 some weights")
    manifest = tmp_path / "manifest.yaml"
    facts = {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "bytes": 14}
    entry = {"licence": "MIT", "source": "https://example.org/thing", "files": {file.name: facts}}
    model = {"backend": "grounded_sam2", "weights": {"detector": "thing"}}
    tree = {"version": 1, "weights": {"thing": entry}, "models": {"thing-model": model}}
    manifest.write_text(yaml.safe_dump(tree))
    config = override(
        Config(),
        {
            "segmentation.model": "thing-model",
            "segmentation.weights_dir": str(tmp_path / "weights"),
            "segmentation.weights_manifest": str(manifest),
            "segmentation.require_pinned": True,
        },
    )
    return config, file


def test_manifest_of_the_package_names_licence_source_and_files_of_every_model():
    models = load_models(Config())
    assert {m.backend for m in models.values()} == {
        "grounded_sam",
        "grounded_sam2",
        "owlv2_sam2",
        "sam_auto",
        "sam3",
    }
    for model in models.values():
        assert not model.smaller or model.smaller in models
        for weights in model.weights.values():
            assert weights.files
            assert weights.source.startswith("https://")
            assert weights.licence


def test_open_model_pinned_file_of_the_right_hash_is_accepted(pinned):
    config, file = pinned
    assert open_model(config).folders == {"detector": file.parent}


def test_open_model_missing_file_says_what_to_put_where(pinned):
    config, file = pinned
    file.unlink()
    with pytest.raises(WeightsError) as caught:
        open_model(config)
    for part in ("thing.bin", str(file.parent), "https://example.org/thing", "MIT"):
        assert part in str(caught.value)


def test_open_model_one_byte_changed_is_refused(pinned):
    config, file = pinned
    file.write_bytes(b"\x80 some WEIGHTS")
    with pytest.raises(WeightsError, match="sha256"):
        open_model(config)


def test_open_model_truncated_file_is_refused_by_its_size(pinned):
    config, file = pinned
    file.write_bytes(b"\x80 some")
    with pytest.raises(WeightsError, match="it has 6 bytes, 14 are needed"):
        open_model(config)


def test_open_model_unpinned_is_refused_only_under_require_pinned(weights, tiny_config, caplog):
    config = tiny_config("sam_auto", require_pinned=True)
    with pytest.raises(WeightsError, match="require_pinned"):
        open_model(config)
    with caplog.at_level(logging.WARNING):
        assert open_model(tiny_config("sam_auto")).backend == "sam_auto"
    assert "without a pinned hash" in caplog.text


def test_open_model_hashes_a_file_only_once_until_it_changes(pinned, monkeypatch):
    config, file = pinned
    open_model(config)
    hashed = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        weights_module.hashlib, "file_digest", lambda f, n: hashed.append(f.name) or digest(f, n)
    )
    open_model(config)
    assert hashed == []
    os.utime(file, ns=(1, 1))
    open_model(config)
    assert hashed == [str(file)]


def test_find_model_misspelt_name_proposes_the_nearest():
    with pytest.raises(WeightsError, match="did you mean 'grounded-sam2-tiny'"):
        find_model(Config(), "grounded-sam2-tyni")


def test_default_model_of_another_backend_is_an_error():
    config = override(Config(), {"segmentation.model": "sam3"})
    with pytest.raises(WeightsError, match="'sam3'.*'grounded_sam2'"):
        default_model(config, "grounded_sam2")
    assert default_model(Config(), "grounded_sam2").name == "grounded-sam2-tiny"


@pytest.mark.parametrize(
    "text", ["version: 2", "- a", "version: 1\nweights: {a: {files: {}}}", "{"]
)
def test_load_models_bad_manifest_is_an_error_that_names_it(text, tmp_path):
    (tmp_path / "m.yaml").write_text(text)
    config = override(Config(), {"segmentation.weights_manifest": str(tmp_path / "m.yaml")})
    with pytest.raises(WeightsError, match="m.yaml"):
        load_models(config)


def test_choose_backend_auto_takes_the_model_if_its_weights_verify(pinned):
    config, file = pinned
    assert choose_backend(config, RIG).name == "grounded_sam2"
    file.unlink()
    choice = choose_backend(config, RIG)
    assert choice.name == "classical"
    assert "thing.bin" in choice.reason


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.safetensors", b"", "empty"),
        ("a.safetensors", b"<!DOCTYPE html><html>", "HTML"),
        ("a.pth", b"\n <html>", "HTML"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid", "LFS"),
        ("a.pth", b"hello, world", "not a checkpoint"),
        ("a.safetensors", b"hello, world", "not a safetensors"),
        ("a.safetensors", (8).to_bytes(8, "little") + b"not json", "header"),
    ],
)
def test_find_damage_tells_what_a_file_really_is(name, content, expected, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert expected in find_damage(tmp_path / name)


def test_find_damage_truncated_safetensors_is_found_without_reading_it(weights, tmp_path):
    whole = (weights / "tiny-sam2" / "model.safetensors").read_bytes()
    file = tmp_path / "model.safetensors"
    file.write_bytes(whole)
    assert find_damage(file) == ""
    file.write_bytes(whole[:-10])
    assert f"it has {len(whole) - 10} bytes" in find_damage(file)


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_load_state_dict_hostile_pickle_is_refused_and_does_not_run(torch, tmp_path):
    trace = tmp_path / "was_run"
    for file, save in (("zip.pth", torch.save), ("plain.pth", _pickle_to)):
        save({"weight": Exploit(trace)}, tmp_path / file)
        with pytest.raises(WeightsError, match="refused"):
            load_state_dict(tmp_path / file)
        assert not trace.exists()


def _pickle_to(value, path):
    path.write_bytes(pickle.dumps(value))


def test_load_state_dict_whole_network_is_refused(torch, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(WeightsError, match="refused"):
        load_state_dict(tmp_path / "network.pth")


@pytest.mark.parametrize("is_zip", [True, False])
def test_load_state_dict_reads_both_formats_of_torch(torch, is_zip, tmp_path):
    state = {"weight": torch.arange(6.0)}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    assert zipfile.is_zipfile(tmp_path / "a.pth") is is_zip
    assert torch.equal(load_state_dict(tmp_path / "a.pth")["weight"], state["weight"])


def test_load_state_dict_truncated_file_is_damaged(torch, tmp_path):
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[:2000])
    with pytest.raises(WeightsError, match="damaged"):
        load_state_dict(tmp_path / "a.pth")


def copy_weights(weights, tmp_path, tiny_config, backend):
    folder = tmp_path / "copy"
    shutil.copytree(weights, folder)
    return folder, tiny_config(backend, weights_dir=str(folder))


def activate(config):
    backend = create_backend(config.segmentation.backend, config)
    backend.activate([(8, 8)])


def test_backend_hostile_checkpoint_is_refused(torch, weights, tmp_path, tiny_config):
    folder, config = copy_weights(weights, tmp_path, tiny_config, "grounded_sam")
    torch.save({"weight": Exploit(tmp_path / "was_run")}, folder / "tiny-sam" / "sam.pth")
    with pytest.raises(WeightsError, match="refused"):
        activate(config)
    assert not (tmp_path / "was_run").exists()


def test_backend_checkpoint_of_another_network_is_refused(torch, weights, tmp_path, tiny_config):
    folder, config = copy_weights(weights, tmp_path, tiny_config, "grounded_sam")
    torch.save({"weight": torch.zeros(3)}, folder / "tiny-sam" / "sam.pth")
    with pytest.raises(WeightsError, match="not a checkpoint of segment-anything"):
        activate(config)


def test_backend_safetensors_of_another_network_are_refused(weights, tmp_path, tiny_config):
    folder, config = copy_weights(weights, tmp_path, tiny_config, "sam_auto")
    shutil.copy(
        weights / "tiny-owl" / "model.safetensors", folder / "tiny-sam2" / "model.safetensors"
    )
    with pytest.raises(WeightsError, match="another network"):
        activate(config)


def test_backend_pickle_in_place_of_safetensors_counts_as_missing(
    torch, weights, tmp_path, tiny_config
):
    folder, config = copy_weights(weights, tmp_path, tiny_config, "sam_auto")
    (folder / "tiny-sam2" / "model.safetensors").unlink()
    torch.save({}, folder / "tiny-sam2" / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"needs model\.safetensors"):
        activate(config)


def test_check_model_reports_the_hash_to_pin(weights, tiny_config):
    config = tiny_config("sam_auto")
    checks = {c.path.name: c for c in check_model(config, find_model(config, "tiny-sam_auto"))}
    file = weights / "tiny-sam2" / "config.json"
    assert checks["config.json"].state == "unpinned"
    assert hashlib.sha256(file.read_bytes()).hexdigest() in checks["config.json"].reason
