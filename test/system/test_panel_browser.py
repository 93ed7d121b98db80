"""The page of dytrack_panel in a real Chromium, on a live graph of camera_node, tracker_node and dytrack_panel."""

import http.server
import threading
import time
from types import SimpleNamespace

import pytest
from live_graph import LiveGraph
from panel_browser import browser, drag_box, find_chromium
from panel_graph import HEIGHT, WIDTH, start_camera, start_panel, start_tracker
from rcl_interfaces.srv import GetParameters
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.messages import box_of

pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(not find_chromium(), reason="there is no Chromium: apt install chromium")

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
BOX = (200, 150, 120, 90)
TOKEN = "a token for tests"


@pytest.fixture(scope="module")
def live(tmp_path_factory, tiny_weights):
    """The graph, its panel, the panel's address, a browser, and every init that was heard, by stamp."""
    graph = LiveGraph(tmp_path_factory.mktemp("panel"))
    try:
        inits = {}
        graph.listen_to_tracker()
        graph.listen(Detection2D, "init", inits)
        start_camera(graph)
        start_tracker(graph, tiny_weights)
        panel, url = start_panel(graph)
        with browser() as chromium:
            yield SimpleNamespace(graph=graph, panel=panel, url=url, chromium=chromium, inits=inits)
    finally:
        graph.close()


@pytest.fixture
def page(live):
    """A page that shows pictures; whatever it complained about fails the test."""
    with opened(live, viewport=DESKTOP) as page:
        yield page


class opened:
    """A page in a browser window of its own."""

    def __init__(self, live, url=None, **window):
        self._live, self._url, self._window = live, url or live.url, window

    def __enter__(self):
        self._context = self._live.chromium.new_context(**self._window)
        page = self._context.new_page()
        self._complaints = []
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.on("console", lambda m: m.type == "error" and self._complaints.append(m.text))
        page.goto(self._url)
        page.wait_for_selector("#picture[data-stamp]")
        return page

    def __exit__(self, kind, *error):
        self._context.close()
        if kind is None:
            assert not self._complaints


def picture(page, name):
    """What is on screen: `stamp`, `state`, `box`, `boxStamp` or `size`."""
    return page.locator("#picture").get_attribute(f"data-{name}") or ""


def control(page, name):
    return page.locator(f'[id="parameter-{name}"]')


def parameter(live, name):
    (value,) = live.graph.call(
        GetParameters, "/tracker_node/get_parameters", GetParameters.Request(names=[name])
    ).values
    return {1: value.bool_value, 2: value.integer_value, 3: value.double_value, 4: value.string_value}[value.type]


def await_parameter(live, name, expected):
    live.graph.wait_until(lambda: parameter(live, name) == expected, f"{name} = {expected}")


def await_text(live, page, selector, words):
    live.graph.wait_until(lambda: words in (page.locator(selector).text_content() or ""), f"{words!r} in {selector}")


def target(page):
    """The name of the target that the page says is followed, empty for none."""
    words = page.locator("#state").text_content().split()
    return words[1] if words[0].isupper() else ""


def follow(live, page, box=BOX):
    """Drag a box, and wait until the page shows that this one is followed, and no former one.

    Returns the stamp that was on screen at the drag's begin, and the new target's name."""
    before = target(page)
    stamp = int(drag_box(page, box))
    live.graph.wait_until(lambda: stamp in live.inits, f"init of {stamp}, of {sorted(live.inits)}")
    live.graph.wait_until(lambda: target(page) not in ("", before), "new target on the page")
    live.graph.wait_until(lambda: picture(page, "box"), "box on the page")
    return stamp, target(page)


def test_pictures_appear_and_nothing_comes_from_elsewhere(live):
    asked = []
    context = live.chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(live.url)
    page.wait_for_selector("#picture[data-stamp]")
    first = picture(page, "stamp")
    live.graph.wait_until(lambda: picture(page, "stamp") != first, "another picture")
    assert picture(page, "size") == f"{WIDTH} {HEIGHT}"
    assert page.locator("#connection").text_content() == "connected"
    assert page.locator("#tracker").text_content() == "/tracker_node"
    assert asked and all(url.startswith((live.url, "data:")) for url in asked)
    # Something is drawn: the scene has many colours.
    colours = page.evaluate(
        """() => { const c = document.getElementById("picture"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height);
                   return new Set(new Uint32Array(d.data.buffer)).size; }"""
    )
    assert colours > 1000
    context.close()


def test_a_drag_starts_on_the_picture_that_was_on_screen_and_the_box_follows(live, page):
    stamp, _ = follow(live, page)
    assert box_of(live.inits[stamp]) == pytest.approx(BOX, abs=2)
    assert live.inits[stamp].header.frame_id == "camera"
    shown = {}

    def moved():
        told, box = page.evaluate(
            "() => { const d = document.getElementById('picture').dataset; return [d.boxStamp, d.box]; }"
        )
        if told and box:
            shown[int(told)] = tuple(map(float, box.split()))
        return len(set(shown.values())) >= 3

    live.graph.wait_until(moved, "box in three places")
    for told, box in shown.items():
        detection = live.graph.wait_until(lambda told=told: live.graph.detections.get(told), f"detection of {told}")
        assert box == pytest.approx(box_of(detection), abs=1e-3)
    await_text(live, page, "#state", "TRACKING target-")
    await_text(live, page, "#exit-now", "of 3")
    await_text(live, page, "#latency-now", "no budget")
    # Its outline is in the colour of the state, where the box is.
    green = page.evaluate(
        """() => { const c = document.getElementById("picture"), [x, y, w, h] = c.dataset.box.split(" ").map(Number);
                   const s = c.width / Number(c.dataset.size.split(" ")[0]), pen = c.getContext("2d");
                   const at = (x, y) => [...pen.getImageData(Math.round(x * s), Math.round(y * s), 1, 1).data].join();
                   return [at(x + w / 2, y + h), at(x, y + h / 2), at(x + w, y + h / 2)]; }"""
    )
    assert "0,158,115,255" in green


def test_while_a_box_is_drawn_the_picture_stands_still_and_escape_gives_up(live, page):
    count = len(live.inits)
    area = page.locator("#picture").bounding_box()
    page.mouse.move(area["x"] + 50, area["y"] + 50)
    page.mouse.down()
    held = picture(page, "stamp")
    page.mouse.move(area["x"] + 150, area["y"] + 120)
    started_s = time.monotonic()
    live.graph.wait_until(lambda: time.monotonic() - started_s > 0.6, "0.6 s")
    assert picture(page, "stamp") == held
    page.keyboard.press("Escape")
    page.mouse.up()
    live.graph.wait_until(lambda: picture(page, "stamp") != held, "live pictures again")
    assert len(live.inits) == count

    # Held for longer than the tracker keeps its images, the picture lives again, and says why.
    page.mouse.move(area["x"] + 50, area["y"] + 50)
    page.mouse.down()
    held = picture(page, "stamp")
    page.mouse.move(area["x"] + 150, area["y"] + 120)
    live.graph.wait_until(lambda: picture(page, "stamp") != held, "live pictures")
    assert "no longer keeps the picture" in page.locator("#notice").text_content()
    page.mouse.up()
    live.graph.wait_until(lambda: len(live.inits) == count + 1, "init")
    assert max(live.inits) > int(held)


def test_controls_change_parameters_and_show_changes_from_elsewhere(live, page):
    slider = control(page, "exit.tau_1-slider")
    slider.focus()
    slider.press("Home")
    await_parameter(live, "exit.tau_1", 0.0)
    assert control(page, "exit.tau_1").input_value() == "0"
    control(page, "exit.tau_1").fill("0.625")
    control(page, "exit.tau_1").press("Enter")
    await_parameter(live, "exit.tau_1", 0.625)
    assert slider.input_value() == "625"
    control(page, "budget.mode").select_option("rate")
    await_parameter(live, "budget.mode", "rate")
    control(page, "budget.mode").select_option("unlimited")
    await_parameter(live, "budget.mode", "unlimited")
    control(page, "lost.hide").check()
    await_parameter(live, "lost.hide", True)
    control(page, "lost.frames").fill("17")
    control(page, "lost.frames").press("Enter")
    await_parameter(live, "lost.frames", 17)

    live.graph.set_parameters("/tracker_node", exit__tau_1=0.25)
    live.graph.wait_until(lambda: control(page, "exit.tau_1").input_value() == "0.25", "change from elsewhere")
    assert slider.input_value() == "250"

    control(page, "lost.score").fill("0.9")  # above lost.uncertain_score
    control(page, "lost.score").press("Enter")
    await_text(live, page, ".parameter:has([id='parameter-lost.score']) .reason", "lost.score must be in 0.0 to")
    assert control(page, "lost.score").input_value() == "0"
    assert parameter(live, "lost.score") == 0.0


def test_every_parameter_is_there_with_its_description(live, page):
    from dytrack_ros.nodes.parameters import TRACKER

    live.graph.wait_until(lambda: page.locator(".parameter").count() >= len(TRACKER), "parameters")
    for row in TRACKER:
        element = control(page, row.name)
        assert page.locator(f".parameter:has([id='parameter-{row.name}'])").get_attribute("title") == row.description
        tag = element.evaluate("element => element.tagName + (element.type ? ':' + element.type : '')")
        kind = (
            "OUTPUT:output"
            if row.read_only
            else "SELECT:select-one"
            if row.choices
            else {
                bool: "INPUT:checkbox",
                int: "INPUT:number",
                float: "INPUT:number",
            }[type(row.default)]
        )
        assert (row.name, tag) == (row.name, kind)


def test_stop_and_reload(live, page):
    for _ in range(3):
        _, followed = follow(live, page)
        page.click("#stop")
        await_text(live, page, "#state", "no target")
        await_text(live, page, "#notice", f"Stopped following {followed}.")
        page.reload()
        page.wait_for_selector("#picture[data-stamp]")


def test_a_box_by_keyboard_alone(live, page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "picture"
    count = len(live.inits)
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowLeft", "Shift+ArrowDown", "Alt+ArrowUp"):
        page.keyboard.press(key)
    assert page.locator("#notice").text_content() == "Box of 150 by 130 at 250, 179; Enter starts."
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")  # there is no box any more
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    live.graph.wait_until(lambda: len(live.inits) > count, "init")
    assert len(live.inits) == count + 1
    assert box_of(live.inits[max(live.inits)]) == (250, 180, 150, 120)
    live.graph.wait_until(lambda: picture(page, "box"), "box on the page")
    page.click("#stop")


def test_on_a_phone(live):
    with opened(live, viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=3) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        area = page.locator("#picture").bounding_box()
        assert area["width"] > 350 and area["y"] + area["height"] < PHONE["height"]
        assert page.locator("#stop").bounding_box()["height"] >= 40
        touch = page.context.new_cdp_session(page)
        at = lambda x, y: [{"x": area["x"] + x * area["width"], "y": area["y"] + y * area["height"]}]  # noqa: E731
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": at(0.25, 0.25)})
        stamp = int(picture(page, "stamp"))
        for share in (0.4, 0.5):
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": at(share, share)})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        live.graph.wait_until(lambda: stamp in live.inits, "init by finger")
        assert box_of(live.inits[stamp]) == pytest.approx((160, 120, 160, 120), abs=3)
        live.graph.wait_until(lambda: picture(page, "box"), "box on the page")


def test_a_hidden_page_costs_no_pictures(live, page):
    graph = live.graph

    def hears():
        return "dytrack_panel" in [i.node_name for i in graph.client.get_subscriptions_info_by_topic("/image")]

    def hide(hidden):
        page.evaluate(
            "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            hidden,
        )

    graph.wait_until(hears, "subscription")
    hide(True)
    graph.wait_until(lambda: not hears(), "its end")
    hide(False)
    last = picture(page, "stamp")
    graph.wait_until(lambda: picture(page, "stamp") != last, "pictures again")


def test_a_page_of_another_site_gets_nothing(live):
    """A real browser on a page of another origin: neither a WebSocket nor a request with an answer."""

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>stranger</title>")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = live.chromium.new_page()
        page.goto(f"http://localhost:{server.server_port}/")
        outcome = page.evaluate(
            """async url => {
              const socket = new WebSocket(url.replace("http", "ws") + "socket/panel");
              const connection = await new Promise(done => {
                socket.onopen = () => done("open");
                socket.onerror = () => done("refused");
              });
              const read = await fetch(url + "session/state").then(() => "read", () => "blocked");
              return [connection, read];
            }""",
            live.url,
        )
        page.close()
        server.shutdown()
    assert outcome == ["refused", "blocked"]
    assert live.panel.exit_code is None


def test_the_token_is_asked_for_and_leaves_the_address_bar_and_the_page_comes_back_with_the_node(live):
    panel, url = start_panel(live.graph, host="0.0.0.0", token=TOKEN)
    port = int(url.split(":")[2].split("/")[0])
    here = f"http://127.0.0.1:{port}/"
    context = live.chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.goto(here)
    page.wait_for_selector("#login:not([hidden])")
    assert not page.locator("#main").is_visible()
    page.fill("#token", "not the right token")
    page.press("#token", "Enter")
    await_text(live, page, "#login-reason", "This is not the token")
    page.fill("#token", TOKEN)
    page.press("#token", "Enter")
    page.wait_for_selector("#picture[data-stamp]")
    context.close()

    context = live.chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.goto(f"{here}#token={TOKEN}")
    page.wait_for_selector("#picture[data-stamp]")
    assert page.url == here
    assert page.evaluate("history.length") <= 2
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert TOKEN not in cookie["value"]
    page.reload()  # the cookie is enough
    page.wait_for_selector("#picture[data-stamp]")

    panel.stop()
    await_text(live, page, "#connection", "does not answer; trying again")
    again, _ = start_panel(live.graph, port=port, host="0.0.0.0", token=TOKEN)
    await_text(live, page, "#connection", "connected")
    last = picture(page, "stamp")
    live.graph.wait_until(lambda: picture(page, "stamp") != last, "new pictures")
    context.close()
    again.stop()


def test_texts_stand_out_from_the_paper(live, page):
    """WCAG AA: a contrast of 4.5 for all colours of text, in both schemes."""
    names = ["paper", "raised", "ink", "faint", "accent", "tracking", "uncertain", "lost", "idle", "warn"]
    seen = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate(
            """names => { const style = getComputedStyle(document.documentElement);
                          return names.map(name => style.getPropertyValue(`--${name}`).trim()); }""",
            names,
        )
        seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        paper, raised, *texts = map(luminance, colours)
        for name, text in zip(names[2:], texts, strict=True):
            for ground in (paper, raised):
                low, high = sorted((ground, text))
                assert (high + 0.05) / (low + 0.05) >= 4.5, f"{name}, {scheme}"
    assert seen == {"rgb(255, 255, 255)", "rgb(17, 21, 26)"}


def luminance(colour):
    """Relative luminance of #rrggbb, as WCAG defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
