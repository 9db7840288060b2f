"""Several processes of one run, this one among them: what they sum, agree on and wait for."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ddpmcodec.errors import TrainingError
from ddpmcodec.training import Processes, processes

# Two runs, in the second of which this one goes first.
PARTNER = """
import os, sys, time
from pathlib import Path
import torch
from ddpmcodec.training import processes
for rank, port in ((1, sys.argv[1]), (0, sys.argv[2])):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": port}
    with processes("cpu") as where:
        print(where.sum(torch.tensor([1.0 + rank, 8.0])).tolist(), where.most([5.0 * rank, 1.0]))
        with where.one_goes_first():
            if where.first:
                time.sleep(0.2)
                Path(sys.argv[3]).touch()
            else:
                print(Path(sys.argv[3]).exists())
                Path(sys.argv[3]).unlink()
"""


def free_ports(count: int) -> list[str]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in opened]
    for one in opened:
        one.close()
    return ports


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of the first of two processes, as torchrun makes it."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_two_processes_sum_agree_and_wait_for_each_other(tmp_path: Path, two: None, monkeypatch: pytest.MonkeyPatch):
    ports, marker = free_ports(2), tmp_path / "downloaded"
    command = [sys.executable, "-c", PARTNER, *ports, str(marker)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as partner:
        try:
            monkeypatch.setenv("MASTER_PORT", ports[0])
            with processes("cpu") as where:
                assert (where.rank, where.count, where.first) == (0, 2, True)
                assert where.sum(torch.tensor([1.0, 2.0])).tolist() == [3.0, 10.0]
                assert where.most([4.0, 3.0]) == [5.0, 3.0]
                with where.one_goes_first():
                    marker.touch()
            assert not dist.is_initialized(), "a group that was made here ends here"

            for name, value in {"RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": ports[1]}.items():
                monkeypatch.setenv(name, value)
            dist.init_process_group("gloo")
            with processes("cpu") as where:
                assert (where.rank, where.first) == (1, False)
                assert where.sum(torch.tensor([1.0, 2.0])).tolist() == [2.0, 10.0]
                assert where.most([4.0, -3.0]) == [4.0, 1.0]
                with where.one_goes_first():
                    assert marker.exists(), "the other process of this machine has finished the block"
            assert dist.is_initialized(), "the caller's own group stays"
            said, errors = partner.communicate(timeout=60)
        finally:
            partner.kill()
    assert partner.returncode == 0, errors
    assert said.splitlines() == ["[3.0, 10.0] [5.0, 3.0]", "True", "[2.0, 10.0] [4.0, 1.0]"]


def test_alone_nothing_is_asked_of_anyone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes("cpu") as where, where.one_goes_first():
        assert not dist.is_initialized()
        assert where == Processes(0, 1, torch.device("cpu"))
        assert where.most([3.0, -1.0]) == [3.0, -1.0]
        values = torch.tensor([1.0])
        assert where.sum(values) is values


def test_each_process_has_the_gpu_of_its_number(two: None, monkeypatch: pytest.MonkeyPatch):
    tried: list[torch.device] = []
    chosen: list[torch.device] = []
    joined: list[str] = []
    monkeypatch.setenv("LOCAL_RANK", "5")
    monkeypatch.setattr(torch, "zeros", lambda size, device: tried.append(device))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(dist, "init_process_group", joined.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: joined.append("left"))
    with processes("cuda") as where:
        assert where.device == torch.device("cuda", 5)
    assert tried == chosen == [torch.device("cuda", 5)]
    assert joined == ["nccl", "left"]


def test_a_device_for_one_process_is_refused_to_several(two: None):
    with pytest.raises(TrainingError, match="'cpu:0' for 2 processes: expected cpu, or cuda, which gives each its own"):
        processes("cpu:0").__enter__()
    assert not dist.is_initialized()


@pytest.mark.parametrize(("device", "count", "found"), [("abacus", "1", "abacus"), ("cpu", "many", "many")])
def test_what_can_t_be_used_is_said(device: str, count: str, found: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(TrainingError, match=f"device '{device}' can't be used here: .*{found}"):
        processes(device).__enter__()
