"""Recordings that were cut off: all that is whole is read, and the rest is named."""

import logging
import shutil
import sqlite3
import zlib

import numpy as np
import pytest
from bag_maker import (
    COMPRESSION,
    HEIGHT,
    START_NS,
    STEP_NS,
    STORAGE,
    TF_STATIC,
    WIDTH,
    camera_info,
    drive,
    picture,
    unchunked,
    write_bag,
)
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.io.rosbag_file import RosbagFile
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.types import Frame

NUM = 40


def noisy_drive(start=0, num=NUM):
    """Pictures that do not compress, so that a recording has several chunks."""
    rng = np.random.default_rng(0)
    size = {"height": HEIGHT * 16, "width": WIDTH * 16}
    messages = [TF_STATIC, ("/cam/camera_info", START_NS, camera_info(**size))]
    for i in range(start, start + num):
        noise = rng.integers(0, 256, (size["height"], size["width"], 3), np.uint8)
        messages.append(
            ("/cam/image_raw", START_NS + i * STEP_NS, picture(START_NS + i * STEP_NS, noise))
        )
    return messages


def storage_file(bag):
    return next(p for p in sorted(bag.iterdir()) if p.suffix != ".yaml")


def cut(file, share):
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def stamps(source):
    return [item.stamp_ns for item in source if isinstance(item, Frame)]


def chunks_of(file):
    """Return begin and end (ns), offset and length of the payload of each chunk of a file."""
    reader = McapReader(file)
    reader.open()
    found = [
        (
            c.message_start_time,
            c.message_end_time,
            c.chunk_start_offset + 9 + 40 + len(c.compression),
            c.compressed_size,
        )
        for c in reader.chunks
    ]
    reader.close()
    return found


def spoil(file, offset, num_bytes):
    data = bytearray(file.read_bytes())
    data[offset : offset + num_bytes] = bytes(b ^ 0xA5 for b in data[offset : offset + num_bytes])
    file.write_bytes(bytes(data))


def with_checksums(file):
    """Give the chunks of an mcap file their checksums, as the recorder of ROS 2 does."""
    data = bytearray(file.read_bytes())
    for _, _, offset, size in chunks_of(file):
        payload, at = data[offset : offset + size], offset - 40
        data[at + 24 : at + 28] = zlib.crc32(payload).to_bytes(4, "little")
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["checksum", "compression", "records"])
def test_mcap_damaged_chunk_in_the_middle_is_left_out_and_named(tmp_path, how, caplog):
    packed = COMPRESSION.storage if how == "compression" else None
    bag = write_bag(tmp_path / "bag", noisy_drive(), compression=packed)
    whole, file = stamps(open_source(bag)), storage_file(bag)
    if how == "checksum":
        with_checksums(file)
        assert stamps(open_source(bag)) == whole
    chunks = chunks_of(file)
    start_ns, end_ns, offset, size = chunks[len(chunks) // 2]
    lost = [s for s in whole if start_ns <= s <= end_ns]
    assert len(chunks) >= 5 and len(lost) >= 2
    if how == "checksum":
        spoil(file, offset + size // 2, 1)  # one byte of a picture
    else:
        spoil(file, offset, size // 2)
    source = open_source(bag)
    with caplog.at_level(logging.WARNING):
        assert stamps(source) == [s for s in whole if s not in lost]
    (remark,) = source.remarks()
    assert f"lost are {len(lost)} of /cam/image_raw" in remark
    assert f"{(end_ns - start_ns) * 1e-9:.1f} s are damaged and left out" in remark
    assert f"{(start_ns - chunks[0][0]) * 1e-9:.1f} s from its start" in remark
    assert [r.getMessage() for r in caplog.records].count(remark) == 1
    assert stamps(source) == [s for s in whole if s not in lost]  # again, and told once
    assert source.remarks() == (remark,)


def test_mcap_with_several_damaged_chunks_and_no_index_is_read_around_them(tmp_path):
    bag = write_bag(tmp_path / "bag", noisy_drive(), compression=COMPRESSION.storage)
    whole, file = stamps(open_source(bag)), storage_file(bag)
    chunks = chunks_of(file)
    lost = []
    for start_ns, end_ns, offset, size in (chunks[1], chunks[3]):
        spoil(file, offset, size)
        lost += [s for s in whole if start_ns <= s <= end_ns]
    file.write_bytes(file.read_bytes()[:-10])  # the footer is gone, and with it the index
    source = open_source(bag)
    assert stamps(source) == [s for s in whole if s not in lost]
    assert any("2 damaged chunks are left out" in r for r in source.remarks()), source.remarks()


def packed_pictures(file):
    """Return the messages of pictures as they lie in a file."""
    reader = (McapReader if file.suffix == ".mcap" else Sqlite3Reader)(file)
    reader.open()
    pictures = [c for c in reader.connections if c.topic == "/cam/image_raw"]
    found = [bytes(data) for _, _, data in reader.messages(pictures)]
    reader.close()
    return found


@pytest.mark.parametrize("has_metadata", [True, False])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_broken_messages_that_are_packed_one_by_one_are_left_out_and_named(
    tmp_path, storage, has_metadata, caplog
):
    plugin = getattr(STORAGE, storage)
    bag = write_bag(tmp_path / "bag", noisy_drive(), plugin, COMPRESSION.message)
    if not has_metadata:
        (bag / "metadata.yaml").unlink()
    whole, file = stamps(open_source(bag)), storage_file(bag)
    assert len(whole) == NUM
    data, packed = file.read_bytes(), packed_pictures(file)
    for k in (5, 20, 21):  # the descriptor of the frame, and the size of its first block
        spoil(file, data.index(packed[k][:200]) + 4, 8)
    source = open_source(bag)
    with caplog.at_level(logging.WARNING):
        left = stamps(source)
    assert left == [s for i, s in enumerate(whole) if i not in (5, 20, 21)]
    remark = source.remarks()[-1]
    assert "3 messages are damaged and left out" in remark
    assert "lost are 3 of /cam/image_raw" in remark
    assert "0.6, 2.1, 2.2 s from its start" in remark
    assert [r.getMessage() for r in caplog.records].count(remark) == 1
    assert stamps(source) == left and source.remarks()[-1] == remark  # again, and told once


@pytest.mark.parametrize("compression", [None, "storage"])
def test_mcap_cut_anywhere_yields_every_whole_chunk_before_the_cut(tmp_path, compression):
    bag = write_bag(
        tmp_path / "bag", noisy_drive(), compression=compression and COMPRESSION.storage
    )
    whole, file = stamps(open_source(bag)), storage_file(bag)
    reader = McapReader(file)
    reader.open()
    chunk_ends = [c.chunk_start_offset + c.chunk_length for c in reader.chunks]
    reader.close()
    assert len(whole) == NUM
    assert len(chunk_ends) >= 5
    size = file.stat().st_size
    for share in (0.995, 0.9, 0.61, 0.3):
        cut(file, share * size / file.stat().st_size)
        source = open_source(bag)
        read = stamps(source)
        num_chunks = sum(end <= file.stat().st_size for end in chunk_ends)
        assert read == whole[: len(read)]
        assert NUM * (num_chunks - 1) / len(chunk_ends) < len(read)
        assert len(read) <= NUM * num_chunks / len(chunk_ends) + 1
        assert any("cannot be read" in r for r in source.remarks())


def test_mcap_without_footer_loses_no_message(tmp_path):
    file = storage_file(write_bag(tmp_path / "bag", noisy_drive()))
    file.write_bytes(file.read_bytes()[:-10])
    assert len(stamps(open_source(file))) == NUM


def test_mcap_whose_end_was_never_written_is_read_up_to_there(tmp_path):
    bag = write_bag(tmp_path / "bag", noisy_drive(), compression=COMPRESSION.storage)
    file = storage_file(bag)
    size = file.stat().st_size
    data = file.read_bytes()[: size // 2] + bytes(size // 2)  # what a power cut leaves
    file.write_bytes(data)
    read = stamps(open_source(file))
    assert NUM * 0.3 < len(read) <= NUM * 0.5


def test_cut_recording_says_how_much_is_lost_and_warns(tmp_path, caplog):
    bag = write_bag(tmp_path / "bag", noisy_drive())
    cut(storage_file(bag), 0.5)
    with caplog.at_level(logging.WARNING):
        source = open_source(bag)
    with RosbagFile(bag) as file:
        losses = file.losses
    assert "bag is cut off" in losses[0]
    assert "MiB cannot be read" in losses[1]
    assert [r.getMessage() for r in caplog.records[:2]] == list(losses)
    assert source.remarks()[:2] == losses
    assert any(losses[1] in line for line in source.describe())


@pytest.mark.parametrize("is_bare", [True, False])
def test_mcap_without_chunks_is_read_in_whatever_order_it_was_written(tmp_path, is_bare):
    messages = [m for m in drive(num=9) if m[0] == "/cam/image_raw"]
    messages = [TF_STATIC, ("/cam/camera_info", START_NS, camera_info()), *messages]
    bag = write_bag(tmp_path / "bag", messages, compression=COMPRESSION.storage)
    unchunked(storage_file(bag))
    source = open_source(storage_file(bag) if is_bare else bag)
    assert stamps(source) == [START_NS + i * STEP_NS for i in range(9)]
    assert source.remarks() == ()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("metadata", [None, b"", b"\0" * 500, b"rosbag2_bagfile_information:\n"])
def test_killed_recorder_that_wrote_no_metadata_loses_nothing(tmp_path, storage, metadata):
    bag = write_bag(tmp_path / "bag", drive(), getattr(STORAGE, storage))
    (bag / "metadata.yaml").unlink()
    if metadata is not None:
        (bag / "metadata.yaml").write_bytes(metadata)
    source = open_source(bag)
    assert len(stamps(source)) == 5
    assert "metadata" in source.remarks()[0]


def test_split_recording_with_a_cut_last_file_is_read_in_order(tmp_path):
    bag = tmp_path / "drive"
    bag.mkdir()
    for part, start in ((2, 0), (10, NUM)):  # 10 comes after 2
        made = write_bag(tmp_path / f"part{part}", noisy_drive(start))
        shutil.move(storage_file(made), bag / f"drive_{part}.mcap")
    cut(bag / "drive_10.mcap", 0.5)
    source = open_source(bag)
    read = stamps(source)
    assert read == sorted(read)
    assert NUM * 1.3 < len(read) < NUM * 1.6
    assert any(r.startswith("drive_10.mcap: ") for r in source.remarks())
    assert not any(r.startswith("drive_2.mcap: ") for r in source.remarks())
    assert "drive_3.mcap to drive_9.mcap are lost" in source.remarks()
    assert 5.5 < source.duration_s < 7.0  # of both parts; each had 4 s


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_whole_split_recording_without_metadata_is_not_called_cut_off(tmp_path, storage):
    bag = tmp_path / "drive"
    bag.mkdir()
    for part, start in enumerate((0, NUM)):
        made = write_bag(tmp_path / f"part{part}", noisy_drive(start), getattr(STORAGE, storage))
        file = storage_file(made)
        shutil.move(file, bag / f"drive_{part}{file.suffix}")
    source = open_source(bag)
    assert len(stamps(source)) == 2 * NUM
    remark = "the recording drive is read from its files: metadata.yaml is missing"
    assert source.remarks() == (remark,)
    cut(bag / f"drive_1{file.suffix}", 0.5)
    assert "drive is cut off or damaged" in open_source(bag).remarks()[0]


@pytest.mark.parametrize("metadata", ["none", "complete", "made anew"])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_split_recording_without_a_middle_file_names_it_and_the_gap(tmp_path, storage, metadata):
    bag, num = tmp_path / "drive", 10
    bag.mkdir()
    for part in range(6):
        messages = noisy_drive(part * num, num)[0 if part == 0 else 2 :]  # TF and rig come once
        file = storage_file(write_bag(tmp_path / "part", messages, getattr(STORAGE, storage)))
        if part == 0:  # which has all topics
            text = (file.parent / "metadata.yaml").read_text()
        if part not in (2, 4):
            shutil.move(file, bag / f"drive_{part}{file.suffix}")
        shutil.rmtree(tmp_path / "part")
    if metadata != "none":
        parts = range(6) if metadata == "complete" else (0, 1, 3, 5)
        named = "\n  - ".join(f"drive_{part}{file.suffix}" for part in parts)
        (bag / "metadata.yaml").write_text(text.replace(f"- {file.name}", f"- {named}"))
    source = open_source(bag)
    assert len(stamps(source)) == 4 * num
    remarks = source.remarks()
    # pictures come every 0.1 s, so the one before the gap and the one after it are 1.1 s apart
    for lost, before, after in ((2, 1, 3), (4, 3, 5)):
        lost, before, after = (f"drive_{part}{file.suffix}" for part in (lost, before, after))
        assert f"{lost} is lost: 1.1 s between {before} and {after}" in remarks
    assert source.describe()[-1] == f"note: {remarks[-1]}"


def test_split_recording_whose_first_files_were_taken_away_lacks_nothing_between(tmp_path):
    bag = tmp_path / "drive"
    bag.mkdir()
    for part in (7, 8):
        made = write_bag(tmp_path / f"part{part}", noisy_drive(part * NUM))
        shutil.move(storage_file(made), bag / f"drive_{part}.mcap")
    assert not any("lost" in remark for remark in open_source(bag).remarks())


def test_missing_file_of_a_split_recording_is_named_and_the_others_are_read(tmp_path):
    bag = write_bag(tmp_path / "drive", drive())
    metadata = bag / "metadata.yaml"
    text = metadata.read_text()
    assert text.count("- drive.mcap") == 1
    metadata.write_text(text.replace("- drive.mcap", "- drive.mcap\n  - drive_1.mcap"))
    source = open_source(bag)
    assert len(stamps(source)) == 5
    assert "drive_1.mcap" in source.remarks()[0]
    assert str(tmp_path) not in source.remarks()[0]  # a result does not depend on where it lay


def test_several_recordings_in_one_folder_are_not_taken_as_one(tmp_path):
    for name in ("monday", "tuesday"):
        made = write_bag(tmp_path / name, drive())
        shutil.move(storage_file(made), tmp_path / f"{name}.mcap")
        shutil.rmtree(made)
    with pytest.raises(
        InputError, match=r"several recordings; give one of them, say monday\.mcap"
    ):
        open_source(tmp_path)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_cut_packed_file_is_unpacked_as_far_as_it_goes(tmp_path, storage):
    bag = write_bag(tmp_path / "bag", noisy_drive(), getattr(STORAGE, storage), COMPRESSION.file)
    assert storage_file(bag).suffix == ".zstd"
    cut(storage_file(bag), 0.6)
    source = open_source(bag)
    assert NUM * 0.3 < len(stamps(source)) < NUM * 0.65
    assert any("unpacked" in r for r in source.remarks())


def test_cut_sqlite_file_yields_the_messages_before_the_cut(tmp_path):
    bag = write_bag(tmp_path / "bag", noisy_drive(), STORAGE.sqlite3)
    whole = stamps(open_source(bag))
    cut(storage_file(bag), 0.6)
    source = open_source(bag)
    read = stamps(source)
    assert read == whole[: len(read)]
    assert NUM * 0.5 < len(read) < NUM * 0.65
    assert any("MiB are missing" in r for r in source.remarks())


@pytest.mark.parametrize("num_pages", [1, 40])
def test_sqlite_file_with_broken_pages_in_the_middle_loses_only_their_rows(tmp_path, num_pages):
    bag = write_bag(tmp_path / "bag", noisy_drive(), STORAGE.sqlite3)
    whole, file = stamps(open_source(bag)), storage_file(bag)
    data = bytearray(file.read_bytes())
    page = int.from_bytes(data[16:18], "big")
    middle = len(data) // page // 2 * page
    data[middle : middle + num_pages * page] = b"\xa5" * page * num_pages
    file.write_bytes(bytes(data))
    source = open_source(bag)
    read = stamps(source)
    assert set(read) < set(whole) and read == sorted(read)
    num_lost = len(whole) - len(read)
    assert 1 <= num_lost <= 1 + num_pages * page // (HEIGHT * 16 * WIDTH * 16 * 3) + 1
    assert any(f"{num_lost} of /cam/image_raw" in r for r in source.remarks()), source.remarks()


def test_sqlite_file_with_a_broken_leaf_of_the_table_loses_only_its_rows(tmp_path):
    bag = write_bag(tmp_path / "bag", drive(num=400), STORAGE.sqlite3)
    whole, file = stamps(open_source(bag)), storage_file(bag)
    data = bytearray(file.read_bytes())
    page = int.from_bytes(data[16:18], "big")
    leaves = [at for at in range(page, len(data), page) if data[at] == 0x0D]
    assert len(leaves) > 20
    broken = leaves[len(leaves) // 2]
    data[broken : broken + page] = b"\xa5" * page
    file.write_bytes(bytes(data))
    source = open_source(bag)
    read = stamps(source)
    assert set(read) < set(whole) and read == sorted(read)
    assert len(whole) - len(read) < 20
    assert "malformed" in source.remarks()[0] + source.remarks()[1]


def _opened(file, journal_mode):
    """Return a connection that writes a transaction to the file while it goes on."""
    database = sqlite3.connect(file, isolation_level=None)
    database.execute(f"PRAGMA journal_mode = {journal_mode}").fetchall()
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute("PRAGMA cache_size = 2")  # pages reach the file in the transaction
    return database


def test_rows_that_only_the_write_ahead_log_holds_are_read(tmp_path):
    bag = write_bag(tmp_path / "bag", drive(), STORAGE.sqlite3)
    file, kept = storage_file(bag), tmp_path / "kept"
    database = _opened(file, "WAL")
    rows = database.execute("SELECT topic_id, timestamp, data FROM messages").fetchall()
    database.execute("DELETE FROM messages")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?,?,?)", rows)
    shutil.copytree(bag, kept)  # as a crash leaves it
    database.close()
    before = storage_file(kept).read_bytes()
    source = open_source(kept)
    assert len(stamps(source)) == 5
    assert any("-wal" in r for r in source.remarks())
    assert storage_file(kept).read_bytes() == before  # a recording is never written to


def test_transaction_that_a_crash_left_half_done_is_rolled_back(tmp_path):
    bag = write_bag(tmp_path / "bag", drive(), STORAGE.sqlite3)
    file, kept = storage_file(bag), tmp_path / "kept"
    database = _opened(file, "DELETE")
    database.execute("BEGIN")
    database.execute("UPDATE messages SET data = zeroblob(5000)")
    shutil.copytree(bag, kept)
    database.close()
    assert (kept / f"{file.name}-journal").stat().st_size > 0
    source = open_source(kept)
    assert len(stamps(source)) == 5
    assert any("-journal" in r for r in source.remarks())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("drive.mcap", b""),
        ("drive.mcap", b"\x89MCAP0\r\n"),
        ("drive.mcap", b"la" * 5000),
        ("drive.mcap", b"\x89MCAP0\r\n\x01\x09\0\0\0\0\0\0\0\x04\0\0\0ros1\0"),
        ("drive.db3", b""),
        ("drive.db3", b"la" * 5000),
        ("drive.db3", b"SQLite format 3\0\x10\x00" + b"\0" * 10 + b"\0\0\0\x09" + b"\0" * 900),
    ],
)
def test_file_without_any_message_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"drive\.(mcap|db3).*(No message|holds no messages)"):
        open_source(tmp_path / name)


def test_unsupported_format_is_refused_and_not_salvaged(tmp_path):
    bag = write_bag(tmp_path / "bag", drive())
    metadata = bag / "metadata.yaml"
    metadata.write_text(
        metadata.read_text().replace("serialization_format: cdr", "serialization_format: xml")
    )
    with pytest.raises(InputError, match=r"xml.*not supported"):
        open_source(bag)
