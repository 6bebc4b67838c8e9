# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks make of wrk's reports: a figure is worth something only if it says what was measured."""

import pytest

from benchmarks import measures

REPORT = """\
Running 5s test @ http://127.0.0.1:9292/v1/images
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     7.03ms    1.20ms  20.10ms   80.00%
    Req/Sec     2.28k   100.00     2.50k    70.00%
  11420 requests in 5.01s, 12.50MB read
{errors}Requests/sec:   2279.44
Transfer/sec:      2.49MB
"""


def test_a_report():
    found = measures.parse_wrk(REPORT.format(errors=""))
    assert found == (11420, 2279.44, 12.5 * 2**20, 2.49 * 2**20, 0)


@pytest.mark.parametrize(
    ("line", "errors"),
    [("  Socket errors: connect 1, read 2, write 3, timeout 4\n", 10), ("  Non-2xx or 3xx responses: 7\n", 7)],
)
def test_errors_of_a_report(line, errors):
    assert measures.parse_wrk(REPORT.format(errors=line)).errors == errors


def test_what_is_no_report():
    with pytest.raises(RuntimeError):
        measures.parse_wrk("unable to connect to 127.0.0.1:9292 Connection refused\n")


@pytest.mark.parametrize(("size", "enough"), [(0, True), (1000, True), (1200, False)])
def test_responses_that_are_too_short_do_not_count(size, enough):
    found = measures.parse_wrk(REPORT.format(errors=""))
    if enough:
        measures._check_received("glance", "/", found, size)
    else:
        with pytest.raises(RuntimeError, match="11420 responses of 1200"):
            measures._check_received("glance", "/", found, size)
