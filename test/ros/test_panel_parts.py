"""Parts of the panel that need neither a graph nor a server: access, requests, and what pages are sent."""

import contextlib
import json
import platform
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
from dytrack_ros.msg import TrackStatus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    Log,
    ParameterDescriptor,
    ParameterType,
    ParameterValue,
)
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.panel import parameters, protocol
from dytrack_ros.nodes.panel.gate import Gate, is_loopback
from dytrack_ros.nodes.panel.jpeg_stream import PACKET_HEAD, pack
from dytrack_ros.nodes.panel.protocol import RequestError, log_message, results_message
from dytrack_ros.nodes.panel.ros_graph import Topics, what_is_missing
from dytrack_ros.nodes.parameters import TRACKER

# Who may talk to it


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_on_loopback_no_token_is_asked_for(host):
    assert is_loopback(host)
    gate = Gate(host)
    assert gate.token == ""
    assert gate.accepts_cookie(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "robot"])
def test_elsewhere_a_token_is_made_anew_each_time(host):
    first, second = Gate(host), Gate(host)
    assert len(first.token) >= 20
    assert first.token != second.token
    assert not first.accepts_cookie(None)
    assert not first.accepts_cookie("")
    assert not first.accepts_cookie(second.cookie)
    assert not first.accepts_cookie(first.token)  # the cookie is not the token
    assert first.accepts_cookie(first.cookie)


def test_a_token_that_is_set_counts_everywhere_and_outlives_a_restart():
    gate = Gate("127.0.0.1", "correct horse battery")
    assert not gate.accepts_cookie(None)
    assert gate.accepts_token("correct horse battery")
    for wrong in ("", "correct horse batterY", None, 7, ["correct horse battery"], "\ud800", "é" * 30):
        assert not gate.accepts_token(wrong)
    assert Gate("127.0.0.1", "correct horse battery").accepts_cookie(gate.cookie)
    with pytest.raises(ValueError, match="at least 12 ASCII characters, not 5"):
        Gate("0.0.0.0", "short")


@pytest.mark.parametrize(
    ("host", "origin", "words"),
    [
        ("127.0.0.1:8020", None, ""),
        ("127.0.0.1:8020", "http://127.0.0.1:8020", ""),
        ("localhost:9000", "http://localhost:9000", ""),  # through ssh -L 9000:localhost:8020
        ("[::1]:8020", "http://[::1]:8020", ""),
        ("10.0.0.7:8020", "http://10.0.0.7:8020", ""),
        ("robot.lan:8020", "http://robot.lan:8020", ""),
        ("ROBOT.lan", "http://robot.lan:80", ""),
        ("evil.example:8020", "http://evil.example:8020", "'evil.example' is unknown here"),  # DNS rebinding
        ("evil.example", None, "is unknown here"),
        ("127.0.0.1:8020", "http://evil.example", "comes from a page of"),
        ("127.0.0.1:8020", "http://127.0.0.1:80", "comes from a page of"),  # another server of this machine
        ("127.0.0.1:8020", "http://127.0.0.1:8020.evil.example", "comes from a page of"),
        ("127.0.0.1:8020", "file://127.0.0.1:8020", "comes from a page of"),
        ("127.0.0.1:8020", "null", "comes from a page of"),
        ("127.0.0.1:8020", "http://[", "comes from a page of"),
        ("127.0.0.1:8020", "", "comes from a page of"),
        (None, None, "no usable Host"),
        ("", None, "no usable Host"),
        ("user@127.0.0.1", None, "no usable Host"),
        ("127.0.0.1/x", None, "no usable Host"),
        ("127.0.0.1:notaport", None, "no usable Host"),
    ],
)
def test_hosts_and_origins(host, origin, words):
    reason = Gate("127.0.0.1", names=["Robot.lan"]).refusal(host, origin)
    assert words in reason
    assert bool(words) == bool(reason)


# What a page may ask


def test_requests_are_read():
    read = {
        '{"type":"look","looking":true,"width":640,"more":1}': {"type": "look", "looking": True, "width": 640},
        '{"type":"start","stamp":"1700000000123456789","box":[1,2.5,30,40]}': {
            "type": "start",
            "stamp": 1700000000123456789,
            "box": (1.0, 2.5, 30.0, 40.0),
        },
        '{"type":"enable","enabled":false}': {"type": "enable", "enabled": False},
        '{"type":"set","name":"exit.tau_1","value":0.5}': {"type": "set", "name": "exit.tau_1", "value": 0.5},
    }
    for text, request in read.items():
        assert protocol.parse(text) == request


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a JSON object"),
        ("[1]", "not [1]"),
        ("[" * 100_000, "must be a JSON object"),
        ("{}", "type must be one of look, shown, start, stop, enable, set"),
        ('{"type":["set"]}', "type must be one of"),
        ('{"type":"look","looking":1,"width":5}', "looking must be true or false, not 1"),
        ('{"type":"look","looking":true,"width":true}', "width must be an integer, not True"),
        ('{"type":"start","stamp":5,"box":[1,2,3,4]}', "stamp must be a text"),
        ('{"type":"start","stamp":"-5","box":[1,2,3,4]}', "stamp must be nanoseconds"),
        ('{"type":"start","stamp":"99999999999999999999","box":[1,2,3,4]}', "stamp must be nanoseconds"),
        ('{"type":"start","stamp":"5","box":[1,2,3]}', "box must be four finite numbers"),
        ('{"type":"start","stamp":"5","box":[1,2,3,NaN]}', "box must be four finite numbers"),
        ('{"type":"start","stamp":"5","box":[1,2,3,1e999]}', "box must be four finite numbers"),
        ('{"type":"start","stamp":"5","box":[1,2,3,1' + "0" * 400 + "]}", "box must be four finite numbers"),
        ('{"type":"set","name":"a","value":null}', "value must be a boolean, a finite number or a text"),
        ('{"type":"set","name":"a","value":"\\ud800"}', "value has characters that are not Unicode text"),
        ('{"type":"set","name":"a\\u0000","value":1}', "name has characters that are not Unicode text"),
        ('{"type":"set","name":"a","value":"' + "x" * 2000 + '"}', "at most 1024"),
    ],
)
def test_what_is_no_request_is_refused_with_what_is_allowed(text, words):
    with pytest.raises(RequestError) as refused:
        protocol.parse(text)
    assert words in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=5)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(["looking", "width", "stamp", "box", "enabled", "name", "value"]), JSON),
    st.sampled_from(["look", "shown", "start", "stop", "enable", "set", "other"]),
)
def test_nothing_that_a_page_sends_gets_through_unchecked(fields, kind):
    try:
        request = protocol.parse(json.dumps(fields | {"type": kind}))
    except RequestError:
        return
    if kind == "start":
        assert np.isfinite(request["box"]).all() and 0 <= request["stamp"] < protocol.MAX_STAMP_NS
    if kind == "set":
        for kind in parameters.KINDS.values():
            with contextlib.suppress(ValueError):  # no other error
                parameters.parameter_message(request["name"], kind, request["value"])


# Parameters


def descriptor(**fields):
    return ParameterDescriptor(name="a.b", description="What it is for.", **fields)


def test_forms_say_what_a_control_needs():
    half = FloatingPointRange(from_value=0.1, to_value=2.0)
    number = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.5)
    assert parameters.form(descriptor(floating_point_range=[half]), number) == {
        "name": "a.b",
        "kind": "double",
        "value": 0.5,
        "description": "What it is for.",
        "read_only": False,
        "choices": [],
        "acts_when": [],
        "from": 0.1,
        "to": 2.0,
    }
    whole = parameters.form(
        descriptor(integer_range=[IntegerRange(from_value=1, to_value=3, step=1)]),
        ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=2),
    )
    assert (whole["kind"], whole["from"], whole["to"]) == ("integer", 1, 3)
    text = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="off")
    word = parameters.form(descriptor(additional_constraints="camera | off", read_only=True), text)
    assert (word["choices"], word["read_only"], word["value"]) == (["camera", "off"], True, "off")
    others = ParameterValue(type=ParameterType.PARAMETER_DOUBLE_ARRAY, double_array_value=[1.0, 2.0])
    listed = parameters.form(descriptor(), others)
    assert (listed["kind"], listed["value"]) == ("other", "[1.0, 2.0]")


def test_every_parameter_that_acts_only_sometimes_names_others_and_their_choices():
    table = {parameter.name: parameter for parameter in TRACKER}
    for name, conditions in parameters.ACTS_WHEN.items():
        assert name in table
        for other, values in conditions:
            assert set(values) < set(table[other].choices)
            assert not name.startswith("exit.tau") or (other, values) == ("exit.policy", ("thresholds",))
    assert {"exit.tau_1", "exit.tau_2"} <= parameters.ACTS_WHEN.keys()
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=30.0)
    made = parameters.form(ParameterDescriptor(name="budget.rate_hz"), value)
    assert made["acts_when"] == [{"name": "budget.mode", "values": ["rate"]}]


def test_a_value_of_another_kind_is_refused():
    message = parameters.parameter_message("a", "double", 1)
    assert (message.value.type, message.value.double_value) == (ParameterType.PARAMETER_DOUBLE, 1.0)
    with pytest.raises(ValueError, match="can only be set when the tracker starts"):
        parameters.parameter_message("a", "other", 1)
    for kind, value in (
        ("integer", 1.5),
        ("integer", True),
        ("integer", 2**70),
        ("bool", 1),
        ("string", 1),
        ("double", "x"),
    ):
        with pytest.raises(ValueError, match=f"a must be {parameters.KIND_NAMES[kind]}, not"):
            parameters.parameter_message("a", kind, value)


# What pages are told


def test_pictures_are_scaled_and_carry_their_stamp():
    picture = np.full((90, 160, 3), (10, 200, 60), np.uint8)
    for max_width, shape in ((80, (45, 80)), (100, (56, 100)), (500, (90, 160))):
        packet = pack(1_700_000_000_123_456_789, picture, max_width, 90)
        assert PACKET_HEAD.unpack_from(packet) == (1_700_000_000_123_456_789, 160, 90)
        sent = cv2.imdecode(np.frombuffer(packet[PACKET_HEAD.size :], np.uint8), cv2.IMREAD_COLOR)
        assert sent.shape[:2] == shape
        np.testing.assert_allclose(sent.mean((0, 1)), (10, 200, 60), atol=4)
    assert PACKET_HEAD.size == 16 == struct.calcsize("<QII")


def test_results_hold_in_json():
    status = TrackStatus(
        state=TrackStatus.LOST,
        exit_index=2,
        exit_scores=[0.5, float("nan")],
        exit_thresholds=[0.25, 0.5],
        exit_thresholds_asked=[0.75, 0.5],
        decided_by=TrackStatus.BUDGET,
        image_age_ms=float("nan"),
    )
    status.header.stamp.sec, status.header.stamp.nanosec = 1_700_000_000, 123_456_789
    message = json.loads(json.dumps(results_message([status], [Detection2D(header=status.header)]), allow_nan=False))
    (told,) = message["statuses"]
    assert told["stamp"] == message["boxes"][0]["stamp"] == "1700000000123456789"
    assert (told["state"], told["scores"], told["age"]) == ("LOST", [0.5, None], None)
    assert (told["thresholds"], told["asked"], told["decided_by"]) == ([0.25, 0.5], [0.75, 0.5], "BUDGET")
    odd = results_message([TrackStatus(state=77, decided_by=88)], [])["statuses"][0]
    assert (odd["state"], odd["decided_by"]) == ("unknown (77)", "unknown (88)")


def test_only_warnings_are_passed_on():
    assert log_message(Log(level=20, msg="loading")) is None
    assert log_message(Log(level=30, msg="init refused")) == {"type": "log", "level": "warning", "text": "init refused"}


@pytest.mark.parametrize(
    ("others", "publishers", "silent_s", "unreadable", "words"),
    [
        (["/left/tracker_node"], None, 0.0, "", "no node /tracker_node; these trackers run: /left/tracker_node"),
        ([], [], 9.0, "", "no node publishes /image"),
        ([], ["/camera"], 9.0, "", "No image for 9 s on /image, which /camera publishes"),
        ([], ["/camera"], 0.0, "image encoding 'x' is unknown", "image encoding 'x' is unknown"),
        ([], ["/camera"], 0.5, "", ""),
    ],
)
def test_what_is_missing_says_why_and_what_to_do(others, publishers, silent_s, unreadable, words):
    topics = Topics("/image", False, "/init", "/init_reply", "/detection", "/status")
    topics = topics if publishers is not None else None
    said = what_is_missing("/tracker_node", topics, others, publishers or [], silent_s, unreadable)
    assert words in said
    assert bool(words) == bool(said)


# What it costs

COUNT_PAGE_FAULTS = """
import resource, sys
from dytrack_ros.nodes.panel.node import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for number in range(11):
    images = [bytearray(6_000_000) for _ in range(4)]
    if number == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del images
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library can be told")
def test_the_memory_of_images_is_kept_for_the_next_ones():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", COUNT_PAGE_FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("given back", "kept")
    }
    assert faults["kept"] < 0.1 * faults["given back"]
