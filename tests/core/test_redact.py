"""No credential, and no word of a caption, in what logs, records and messages say."""

import json

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.failures import explain
from pipeline.core.redact import failure, mask, redact, redact_all, unsigned

CANARY = "cAnArY0f5ecr3t"


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA0000000000000001:{}@bucket/a.warc.gz cannot be read",
        "https://user:{}@host.example/a@2x.png",
        "ftp://{}@host.example/a",
        "https://b.s3.amazonaws.com/a?X-Amz-Credential={0}&X-Amz-Signature={0}&part=3",
        "https://storage.googleapis.com/b/a?GoogleAccessId={0}&Expires=1&Signature={0}",
        "https://x.blob.core.windows.net/c/a?sv=2024&sig={}&se=1",
        "https://d1.cloudfront.net/a?Policy={0}&Signature={0}&Key-Pair-Id={0}",
        "https://api.example/a?key={0}&access_token={0}&api_key={0}&auth={0};session_key={0}",
        "aws_secret_access_key = {}",
        "spark.hadoop.fs.s3a.secret.key={}",
        "{{'key': 'x', 'secret': '{}'}}",
        '{{"client": {{"password": "{}"}}}}',
        "S3FileSystem(secret={}, token={})",
        "Authorization: Bearer {}",
        "authorization: AWS4-HMAC-SHA256 {}",
        "AccountKey={};EndpointSuffix=core.windows.net",
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_credentials_are_hidden(text: str) -> None:
    told = redact(text.format(*[CANARY] * 6))
    assert CANARY not in told and "AKIA0" not in told and "***" in told


@pytest.mark.parametrize(
    "text",
    [
        "unknown key download.timeout: did you mean timeout_s? allowed: timeout_s",
        "archive https://data.example/crawl/a@2x.warc.gz?part=3&design=2 is a folder",
        "/data/runs/tokens/secretariat.parquet, line 3: 'x y' is neither a domain nor a URL",
        "part-00001.parquet has 12 tokens: 3 of them twice",
        "download.contact = 'crawl@example.org'",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redact(text) == text


def test_values_of_the_environment_and_of_storage_options_are_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "plain+words/of-it")
    monkeypatch.setenv("MY_SERVICE_TOKEN", "short")
    monkeypatch.setenv("PWD", "/home/me/runs")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_FILE", "/home/me/google.json")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"key": "id-of-options", "anon": False})
    monkeypatch.setitem(
        fsspec.config.conf, "abfs", {"client_kwargs": {"account_key": "nested-account-key"}}
    )
    text = "plain+words/of-it at short id-of-options /home/me/google.json /home/me/runs/a nested-account-key"
    assert redact(text) == "*** at short *** /home/me/google.json /home/me/runs/a ***"


def test_data_is_hidden_by_name_too() -> None:
    data = {
        "fs.s3a.secret.key": "abc",
        "n": 3,
        "list": [{"token": "abc"}, "u://a:b@c/d"],
        "t": None,
    }
    assert redact_all(data) == {
        "fs.s3a.secret.key": "***",
        "n": 3,
        "list": [{"token": "***"}, "u://***@c/d"],
        "t": None,
    }


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_any_data_keeps_its_shape(data: object) -> None:
    assert json.loads(json.dumps(redact_all(data))) is not None or data is None
    once = redact_all(data)
    assert redact_all(once) == once


def test_a_url_signed_anew_names_the_same() -> None:
    first, second = (f"https://a:{n}@host/x.warc.gz?file=7&X-Amz-Signature={n}" for n in "12")
    assert first != second and unsigned(first) == unsigned(second)
    assert unsigned(first) != unsigned(first.replace("file=7", "file=8"))


CAPTION = 'A red dog & "his" ball, 빨간 개'


@pytest.mark.parametrize(
    "text",
    [
        f"ArrowInvalid: Could not convert '{CAPTION}' with type str: tried to convert to int64",
        f"[CAST_INVALID_INPUT] The value `{CAPTION}` cannot be cast to BIGINT",
        "ValueError: invalid literal for int() with base 10: 'Dog'",
        'UnicodeError: "A red dog"',
    ],
)
def test_what_libraries_quote_is_masked(text: str) -> None:
    told = explain(ValueError(text))
    assert "red dog" not in told and "Dog'" not in told and "characters>" in told


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'image_id'",
        "No such file or directory: '/data/my pictures/a b.tar'",
        "Cannot seek 's3://bucket/a.parquet'",
        "No module named 'transformers.models'",
        "can't pickle it, isn't it",
    ],
)
def test_names_and_paths_stay(text: str) -> None:
    assert mask(text) == text


def test_the_cause_in_a_task_is_told_also_when_a_library_names_it_otherwise() -> None:
    text = (
        "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n"
        "  File \"x.py\", line 1, in f\npyarrow.lib.ArrowInvalid: Failed to parse string: 'A dog'\n"
        "\norg.apache.spark.SparkException: Job aborted\n\tat java.base/java.lang.Thread.run\n"
    )
    wanted = "pyarrow.lib.ArrowInvalid: Failed to parse string: '<5 characters>'"
    assert explain(RuntimeError(text)) == wanted


def test_our_own_errors_are_told_whole_also_from_a_task() -> None:
    line = "list 'My list.csv' has no url column"
    assert explain(InputError(line)) == line
    remote = f'Job aborted\n  File "x.py", line 1, in f\npipeline.core.errors.InputError: {line}\n'
    assert explain(RuntimeError(remote)) == line


def test_a_failure_in_the_log_has_places_and_no_words() -> None:
    task = (
        f'Job aborted\n  File "/x/score.py", line 7, in embed\n    embed("a")\nKeyError: {CAPTION}'
    )
    try:
        raise RuntimeError(task)
    except RuntimeError as error:
        told = failure(error)
    assert told["error"] == "RuntimeError"
    assert told["frames"][-1] == "/x/score.py:7 embed"
    assert any("test_redact.py" in frame for frame in told["frames"])
    assert "red dog" not in json.dumps(told)
