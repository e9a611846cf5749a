"""What leaves a page and what stays."""

import pytest

from halosearch.report.redaction import redacted


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("cannot read /home/alice/data/x/img.png: bad", "cannot read …/img.png: bad"),
        ("/home/alice", "~"),
        ("C:/Users/bob/y.png", "…/y.png"),
        (r"C:\Users\bob\y.png", "…/y.png"),
        ("error:/home/alice/data/x.png", "error:…/x.png"),
        ("data=/mnt/inc/x.h", "data=…/x.h"),
        ("~alice/secret/x", "…/x"),
        ("worker on 10.0.0.3:6379 died", "worker on [address] died"),
        ("fe80::1 and 2001:db8::1", "[address] and [address]"),
        ("ray://head.corp:10001", "[address]"),
        ("s3://bucket/key", "[address]"),
        ("mysql+pymysql://bob:pw@h/db gone", "[address] gone"),
        ("me@host.example is away", "[address] is away"),
    ],
)
def test_folders_and_addresses_leave(text, left):
    assert redacted(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "score 1,024/2,048",
        "1/2 and 3/4",
        "images/s",
        "torch 2.13.0+cpu",
        "at 12:30:45",
        "s=96,b=6",
        "tensorflow/tpu README",
        "a…/x.py",
    ],
)
def test_everything_else_stays(text):
    assert redacted(text) == text
