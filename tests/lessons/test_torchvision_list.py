"""The list of torchvision's datasets agrees with the package it was read from."""

from __future__ import annotations

import inspect
import socket

import pytest
import torchvision
from packaging.version import Version
from torchvision import datasets

from cnnlab.lessons.datasets import torchvision_datasets

ENTRIES = {entry.name: entry for entry in torchvision_datasets()}


def test_it_lists_every_dataset_and_no_tools():
    tools = {"VisionDataset", "DatasetFolder", "ImageFolder", "LSUNClass", "FakeData"}
    classes = {name for name in datasets.__all__ if inspect.isclass(getattr(datasets, name))}
    assert set(ENTRIES) == classes - tools
    assert list(ENTRIES) == sorted(ENTRIES, key=str.lower)


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("MNIST", {"classification"}),
        ("CIFAR100", {"classification"}),
        ("ImageNet", {"classification"}),
        ("SVHN", {"classification"}),
        ("PCAM", {"classification"}),
        ("CocoDetection", {"boxes"}),
        ("Kitti", {"boxes"}),
        ("VOCDetection", {"boxes"}),
        ("WIDERFace", {"boxes"}),
        ("CelebA", {"classification", "boxes"}),
        ("OxfordIIITPet", {"classification", "segmentation"}),
        ("Cityscapes", {"segmentation"}),
        ("VOCSegmentation", {"segmentation"}),
        ("SBDataset", {"segmentation"}),
        ("CocoCaptions", {"captions"}),
        ("Flickr8k", {"captions"}),
        ("SBU", {"captions"}),
        ("LFWPairs", {"pairs"}),
        ("PhotoTour", {"pairs"}),
        ("Sintel", {"optical flow"}),
        ("FlyingChairs", {"optical flow"}),
        ("SintelStereo", {"stereo"}),
        ("CarlaStereo", {"stereo"}),
        ("Kinetics", {"classification", "video"}),
        ("MovingMNIST", {"video"}),
    ],
)
def test_tasks_are_told_right(name, tasks):
    assert set(ENTRIES[name].tasks) == tasks


@pytest.mark.parametrize("name", ["CIFAR10", "MNIST", "EMNIST", "CelebA", "Imagenette", "SEMEION"])
def test_what_can_be_downloaded_is_known(name):
    assert ENTRIES[name].downloads


@pytest.mark.parametrize("name", ["ImageNet", "CocoDetection", "StanfordCars", "LFWPeople"])
def test_what_cannot_be_downloaded_is_known(name):
    if name == "LFWPeople" and Version(torchvision.__version__) < Version("0.23"):
        pytest.skip("this torchvision still tries to download it")
    assert not ENTRIES[name].downloads
    assert "yourself" in str(ENTRIES[name])


def test_an_address_belongs_to_the_class_and_not_to_its_parent():
    assert not set(ENTRIES["KMNIST"].hosts) & set(ENTRIES["MNIST"].hosts)


def test_the_first_sentence_has_no_link_in_it():
    assert ENTRIES["CIFAR10"].about == "CIFAR10 Dataset"
    assert not [entry.name for entry in ENTRIES.values() if "http" in entry.about]


def test_a_search_wants_all_words():
    assert {entry.name for entry in torchvision_datasets("SEGMENTATION pet")} == {"OxfordIIITPet"}
    assert torchvision_datasets("no such dataset") == []


def test_nothing_touches_the_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert torchvision_datasets("flowers")
