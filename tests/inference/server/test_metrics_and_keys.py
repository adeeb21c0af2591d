"""What is counted, and who may ask."""

import re

import httpx
import openai
import pytest

from trueformer.inference.server.limits import ServerConfig
from trueformer.inference.server.metrics import Histogram

KEY = "s3cret-Key"


def test_metrics_are_prometheus_text_and_count_what_happened(server):
    response = httpx.get(f"{server.url}/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    sample = r'^trueformer_[a-z_]+(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? -?\d+(\.\d+)?$'
    for line in response.text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) trueformer_\w+ .+", line) or re.fullmatch(sample, line), line
    before = server.metrics()
    server.client.completions.create(model=server.name, prompt=[1, 2, 3], max_tokens=5, n=2, temperature=0)
    httpx.get(f"{server.url}/{'x' * 50}")
    after = server.metrics()

    def more(name: str) -> float:
        return after[f"trueformer_{name}"] - before.get(f"trueformer_{name}", 0)

    assert (more("prompt_tokens_total"), more("completion_tokens_total")) == (3, 10)
    assert more('requests_total{route="/v1/completions",status="200"}') == 1
    assert more('requests_total{route="other",status="404"}') == 1
    assert more("first_token_seconds_count") == 1
    assert more('request_seconds_bucket{le="+Inf"}') == more("request_seconds_count") >= 2
    assert more("cancelled_total") == 0
    assert (after["trueformer_slots"], after["trueformer_running"], after["trueformer_waiting"]) == (4, 0, 0)


def test_a_histogram_counts_a_value_under_each_bound_it_does_not_exceed():
    histogram = Histogram((1, 2.5))
    for value in (0.5, 1.0, 2.0, 9.0):
        histogram.add(value)
    assert list(histogram.lines("h")) == [
        'h_bucket{le="1"} 2',
        'h_bucket{le="2.5"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 12.500000",
        "h_count 4",
    ]


def test_with_a_key_only_its_holders_may_ask(serve):
    with serve(api_key=KEY) as server:
        with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer"):
            server.client.models.list()
        for given in (
            "",
            "Bearer",
            f"Bearer {KEY}x",
            f"Bearer {KEY[:-1]}",
            KEY,
            f"bearer {KEY.lower()}",
            "Bearer ü",
        ):
            for path in ("/v1/models", "/metrics", "/v1/nothing"):
                response = httpx.get(server.url + path, headers={"Authorization": given.encode()})
                assert response.status_code == 401, (given, path)
                assert response.headers["www-authenticate"] == "Bearer"
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert httpx.get(server.url).status_code == 200, "the page asks for the key itself"
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
        assert client.models.list().data[0].id == server.name
        headers = {"Authorization": f"Bearer {KEY}", "Origin": "https://elsewhere.example"}
        assert httpx.get(f"{server.url}/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "wrong", [{"api_key": ""}, {"api_key": "a b"}, {"api_key": "ü"}, {"timeout": 0}, {"max_body": 0}]
)
def test_limits_that_let_nothing_through_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        ServerConfig(**wrong)
